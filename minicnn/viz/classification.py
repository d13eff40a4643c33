"""The confusion matrix: which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRITTEN = 100  # classes, up to which the counts are written into the cells
_LONGEST = 24  # letters of a class's name


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return the picture of a confusion matrix of counts (k, k), rows true, columns predicted.

    Right answers are blue and wrong ones vermilion, each by its share of the true class (its row),
    and each on its own scale: the errors' reaches only to the largest of them, so they are seen
    beside a diagonal that is a hundred times as large. Empty cells are zeros.
    """
    matrix = _checked(matrix, classes)
    k = len(classes)
    total, right = int(matrix.sum()), int(np.trace(matrix))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(k, dtype=bool)

    cell = float(np.clip(6.0 / k, 0.2, 0.55)) if k <= _WRITTEN else 20.0 / k
    figure = empty(max(k * cell + 2.6, 4.8), max(k * cell + 1.6, 3.4))
    axes = figure.subplots()
    top = max(float(share[~diagonal].max()), 1e-12)
    errors = axes.imshow(
        np.ma.masked_array(share, diagonal), cmap=shades("white", VERMILION), vmin=0, vmax=top
    )
    axes.imshow(np.ma.masked_array(share, ~diagonal), cmap=shades("white", BLUE), vmin=0, vmax=1)
    bar = figure.colorbar(errors, ax=axes, shrink=0.8, aspect=30)
    bar.set_label("errors, share of the true class")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")

    axes.set_title(f"Accuracy {100 * right / total:.2f} %  ({right:,} of {total:,})", color=INK)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in classes]
    shown = np.arange(0, k, max(1, k // _WRITTEN))
    size = float(np.clip(40 * cell, 4, 10))
    flat = max(len(name) for name in names) * size * 0.6 < 72 * cell
    labels = [names[i] for i in shown]
    axes.set_xticks(shown, labels, rotation=0 if flat else 90, fontsize=size, parse_math=False)
    axes.set_yticks(shown, labels, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GREY, alpha=0.3, linewidth=0.4)
    axes.tick_params(which="minor", length=0)

    if k <= _WRITTEN:
        digits = len(str(matrix.max()))
        size = min(10.0, 72 * cell * 0.85 / (0.62 * max(digits, 2)))
        for i, j in np.argwhere((matrix > 0) | diagonal):
            dark = share[i, j] > (0.5 if i == j else 0.75 * top)
            axes.text(
                j,
                i,
                str(matrix[i, j]),
                ha="center",
                va="center",
                fontsize=size,
                color="white" if dark else INK,
                in_layout=False,  # it lies within its cell; measuring thousands takes long
            )
    return figure


def _checked(matrix: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    matrix, k = np.asarray(matrix), len(classes)
    if not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(
            f"confusion: matrix must hold counts, integers, got {matrix.dtype}. "
            "Use matrix.astype(np.int64)."
        )
    if k < 2 or matrix.shape != (k, k):
        raise ValueError(
            f"confusion: matrix has shape {matrix.shape}, but {k} class names need {(k, k)}, "
            "and at least 2 of them."
        )
    if (matrix < 0).any():
        raise ValueError("confusion: matrix has a negative count. It counts images.")
    if not matrix.any():
        raise ValueError("confusion: matrix counts no image. Evaluate on at least one.")
    return matrix

"""The confusion matrix: which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.fonts import lettering
from minicnn.viz.paper import BLUE, GREY, VERMILION, empty, ink_on, shades

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
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(k, dtype=bool)

    # Sizes in inches; letters in points, 72 to the inch, and 0.6 as wide as they are high.
    cell = float(np.clip(6.0 / k, 0.2, 1.0)) if k <= _WRITTEN else 20.0 / k
    every = -(-k // _WRITTEN)  # one name in so many
    drawn, font = lettering(classes)
    numbered = ", by number" if drawn != list(classes) else ""
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in drawn]
    names = names[::every]
    letter = min(36 * cell * every, 10.0)
    margin = max(len(name) for name in names) * 0.6 * letter / 72
    upright = margin > cell
    figure = empty(k * cell + margin + 2.2, k * cell + (margin if upright else 0.2) + 1.2)
    axes = figure.subplots()
    large = max(12.0, 1.2 * figure.get_figwidth())  # points: a large picture is seen from afar
    worst = float(share[~diagonal].max()) or 0.01  # no error at all: any scale
    wrong = axes.imshow(
        np.ma.masked_array(share, diagonal), cmap=shades("white", VERMILION), vmin=0, vmax=worst
    )
    right = axes.imshow(
        np.ma.masked_array(share, ~diagonal), cmap=shades("white", BLUE), vmin=0, vmax=1
    )
    axes.hlines(np.arange(1, k) - 0.5, -0.5, k - 0.5, color=GREY, alpha=0.3, linewidth=0.5)
    axes.vlines(np.arange(1, k) - 0.5, -0.5, k - 0.5, color=GREY, alpha=0.3, linewidth=0.5)
    bar = figure.colorbar(wrong, ax=axes, shrink=0.8, aspect=30, fraction=0.05, pad=0.02)
    bar.set_label("errors, share of the true class", fontsize=0.8 * large)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    bar.ax.tick_params(labelsize=0.8 * large)

    count, total = int(np.trace(matrix)), int(matrix.sum())
    axes.set_title(f"Accuracy {100 * count / total:.2f} %  ({count:,} of {total:,})", size=large)
    axes.set_xlabel(f"predicted{numbered}", fontsize=0.9 * large)
    axes.set_ylabel(f"true{numbered}", fontsize=0.9 * large)
    places = range(0, k, every)
    turn = 90 if upright else 0
    axes.set_xticks(
        places, names, rotation=turn, fontsize=letter, parse_math=False, fontfamily=font
    )
    axes.set_yticks(places, names, fontsize=letter, parse_math=False, fontfamily=font)
    axes.tick_params(length=0)

    if k <= _WRITTEN:
        digits = max(2, len(str(matrix.max())))
        letter = min(10.0, 0.85 * 72 * cell / (0.6 * digits))  # the longest count fits its cell
        colours = np.where(diagonal[..., None], right.to_rgba(share), wrong.to_rgba(share))
        for i, j in np.argwhere((matrix > 0) | diagonal):
            axes.text(
                j,
                i,
                str(matrix[i, j]),
                ha="center",
                va="center",
                fontsize=letter,
                color=ink_on(colours[i, j].tolist()),
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

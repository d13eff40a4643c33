"""Learning curves: loss and accuracy of the training and the validation images, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEEDED = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
_MARKED = 30  # epochs, up to which each is marked by a point


def curves(metrics: Mapping[str, Sequence[float]]) -> Figure:
    """Return the learning curves of a run, from one sequence for each column, equally long.

    The columns are epoch, train_loss, train_accuracy, validation_loss and validation_accuracy,
    accuracies between 0 and 1; with learning_rate a strip below shows it. Other columns are left
    out. A NaN or an infinity leaves a gap. The best epoch is that of the highest validation
    accuracy, the first of equals. The losses have a logarithmic scale where they span more than a
    power of ten.
    """
    columns = _columns(metrics)
    epoch = columns["epoch"]
    rate = columns.get("learning_rate")
    figure = empty(9.6, 4.2 if rate is None else 5.2)
    rows = [["loss", "accuracy"]] if rate is None else [["loss", "accuracy"], ["rate", "rate"]]
    panels = figure.subplot_mosaic(rows, height_ratios=[4, 1][: len(rows)])

    best = _best(columns["validation_accuracy"])
    _draw(panels["loss"], epoch, columns["train_loss"], columns["validation_loss"], best)
    panels["loss"].set_title("Loss", color=INK)
    losses = np.concatenate([columns["train_loss"], columns["validation_loss"]])
    finite = losses[np.isfinite(losses)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        panels["loss"].set_yscale("log")
        panels["loss"].yaxis.set_major_formatter("{x:g}")
    if finite.size < losses.size:
        panels["loss"].text(
            0.02, 0.02, "gaps: not finite", transform=panels["loss"].transAxes, color=GREY
        )

    train, validation = 100 * columns["train_accuracy"], 100 * columns["validation_accuracy"]
    _draw(panels["accuracy"], epoch, train, validation, best)
    panels["accuracy"].set_title("Accuracy", color=INK)
    panels["accuracy"].yaxis.set_major_formatter("{x:g} %")
    panels["accuracy"].legend(loc="lower right", frameon=False)
    if rate is not None:
        panels["rate"].plot(epoch, rate, color=INK, linewidth=1.2, marker=_marker(epoch))
        panels["rate"].set_ylabel("learning rate")
        _tidy(panels["rate"], epoch)
    return figure


def _columns(metrics: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Return the columns that are drawn, an infinity as NaN; raise unless they fit together."""
    missing = [name for name in _NEEDED if name not in metrics]
    if missing:
        raise ValueError(
            f"curves: the metrics lack {', '.join(missing)}. The columns are {', '.join(_NEEDED)} "
            "and, if wanted, learning_rate."
        )
    drawn = [name for name in (*_NEEDED, "learning_rate") if name in metrics]
    columns = {name: np.array(metrics[name], dtype=np.float64) for name in drawn}
    lengths = {name: column.size for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"curves: the columns must be equally long, got {lengths}.")
    if not columns["epoch"].size:
        raise ValueError("curves: there is no epoch to draw. Train for at least one.")
    for column in columns.values():
        column[~np.isfinite(column)] = np.nan
    return columns


def _best(accuracy: np.ndarray) -> int | None:
    return None if np.isnan(accuracy).all() else int(np.nanargmax(accuracy))


def _draw(
    axes: Axes, epoch: np.ndarray, train: np.ndarray, validation: np.ndarray, best: int | None
) -> None:
    """Draw one panel."""
    marker = _marker(epoch)
    axes.plot(epoch, train, color=BLUE, linestyle="--", marker=marker, label="training")
    axes.plot(epoch, validation, color=VERMILION, marker=marker, label="validation")
    if best is not None:
        axes.axvline(epoch[best], color=GREY, linewidth=1, linestyle=":", zorder=1)
        axes.plot(
            epoch[best],
            validation[best],
            color=VERMILION,
            markeredgecolor=INK,
            marker="*",
            markersize=14,
            linestyle="none",
            label=f"best epoch, {epoch[best]:g}: {validation[best]:.4g}",
        )
    _tidy(axes, epoch)


def _marker(epoch: np.ndarray) -> str:
    return "." if epoch.size <= _MARKED else ""


def _tidy(axes: Axes, epoch: np.ndarray) -> None:
    """Label the epochs by whole numbers and leave only the lines that help to read."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if epoch.size == 1:
        axes.set_xlim(epoch[0] - 1, epoch[0] + 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

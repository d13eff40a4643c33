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
    accuracy, of equals that of the lowest loss.

    So that the last epochs can be read beside the first, losses that span more than a power of ten
    have a logarithmic scale, and accuracies that reach 95 % one that is stretched towards 100 %.
    """
    columns = _columns(metrics)
    epoch, rate = columns["epoch"], columns.get("learning_rate")
    train, validation = 100 * columns["train_accuracy"], 100 * columns["validation_accuracy"]
    best = _best(validation, columns["validation_loss"])

    figure = empty(9.6, 4.4 if rate is None else 5.6)
    grid = figure.add_gridspec(
        1 if rate is None else 2, 2, height_ratios=[4] if rate is None else [4, 1]
    )
    loss, accuracy = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    _draw(loss, epoch, columns["train_loss"], columns["validation_loss"], best)
    _draw(accuracy, epoch, train, validation, best)
    _scale_loss(loss, np.concatenate([columns["train_loss"], columns["validation_loss"]]))
    _scale_accuracy(accuracy, np.concatenate([train, validation]))
    if rate is not None:
        strip = figure.add_subplot(grid[1, :])
        strip.plot(epoch, rate, color=INK, linewidth=1.2, marker=_marker(epoch))
        strip.set_ylabel("learning rate")
        _tidy(strip, epoch)

    handles, labels = accuracy.get_legend_handles_labels()
    if best is not None:
        labels[-1] = f"best epoch: {epoch[best]:g}, validation accuracy {validation[best]:.2f} %"
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
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
    for name in ("train_accuracy", "validation_accuracy"):
        if (columns[name] < 0).any() or (columns[name] > 1).any():
            raise ValueError(f"curves: {name} must lie between 0 and 1. Divide percents by 100.")
    for column in columns.values():
        column[~np.isfinite(column)] = np.nan
    return columns


def _best(accuracy: np.ndarray, loss: np.ndarray) -> int | None:
    known = np.flatnonzero(np.isfinite(accuracy))
    order = np.lexsort((loss[known], -accuracy[known]))  # by accuracy, then by loss; NaN last
    return int(known[order[0]]) if known.size else None


def _draw(
    axes: Axes, epoch: np.ndarray, train: np.ndarray, validation: np.ndarray, best: int | None
) -> None:
    """Draw both lines of a panel, and the star on the best epoch."""
    marker = _marker(epoch)
    axes.plot(epoch, train, color=BLUE, linestyle="--", marker=marker, label="training")
    axes.plot(epoch, validation, color=VERMILION, marker=marker, label="validation")
    if best is not None:
        axes.axvline(epoch[best], color=GREY, linewidth=1, linestyle=":", zorder=1)
        axes.plot(
            epoch[best],
            validation[best],
            color=VERMILION,
            marker="*",
            markersize=14,
            markeredgecolor=INK,
            linestyle="none",
            label="best epoch",
        )
    _tidy(axes, epoch)


def _scale_loss(axes: Axes, losses: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    notes = []
    finite = losses[np.isfinite(losses)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        notes.append("logarithmic")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    if finite.size < losses.size:
        notes.append("gaps: not finite")
    axes.set_title(f"Loss ({', '.join(notes)})" if notes else "Loss")


def _scale_accuracy(axes: Axes, percent: np.ndarray) -> None:
    finite = percent[np.isfinite(percent)]
    axes.set_title("Accuracy")
    if finite.size and finite.max() >= 95:
        axes.set_title("Accuracy (stretched towards 100 %)")
        ticks = np.array([0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100])
        low = max(0, np.searchsorted(ticks, finite.min()) - 1)
        ticks = ticks[low : np.searchsorted(ticks, finite.max()) + 1]
        axes.set_ylim(ticks[0], ticks[-1] + 0.02)
        # Even in the logarithm of the errors; 0.1 % more of them keep 100 % on the paper.
        axes.set_yscale(
            "function", functions=(lambda a: -np.log10(100.1 - a), lambda y: 100.1 - 10**-y)
        )
        axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter("{x:g} %")


def _marker(epoch: np.ndarray) -> str:
    return "." if epoch.size <= _MARKED else ""


def _tidy(axes: Axes, epoch: np.ndarray) -> None:
    """Label the epochs by whole numbers and leave only the lines that help to read."""
    from matplotlib.ticker import MaxNLocator

    margin = 0.04 * (epoch[-1] - epoch[0]) or 0.5
    axes.set_xlim(epoch[0] - margin, epoch[-1] + margin)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

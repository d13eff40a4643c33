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


def curves(metrics: Mapping[str, Sequence[float]], *, label_smoothing: float = 0.0) -> Figure:
    """Return the learning curves of a run, from one sequence for each column, equally long.

    The columns are epoch, train_loss, train_accuracy, validation_loss and validation_accuracy,
    accuracies between 0 and 1; with learning_rate a strip below shows it. Other columns are left
    out. A NaN or an infinity leaves a gap. The best epoch is that of the highest validation
    accuracy, of equals that of the lowest loss.

    Losses share a panel if they can be compared. With ``label_smoothing`` the training loss is that
    of smoothed targets and the validation loss is not, so each has a panel of its own. Losses that
    span more than a power of ten have a logarithmic scale. Accuracies run from 0 to 100 %; where
    they come above 90 % a second panel shows the last part of this axis, enlarged.
    """
    columns = _columns(metrics)
    epoch, rate = columns["epoch"], columns.get("learning_rate")
    train, validation = 100 * columns["train_accuracy"], 100 * columns["validation_accuracy"]
    losses = columns["train_loss"], columns["validation_loss"]
    best = _best(validation, losses[1])
    apart, zoom = label_smoothing > 0, _zoom(train, validation)

    figure = empty(9.6, (4.4 if rate is None else 5.6) + 1.2 * (apart or zoom is not None))
    outer = figure.add_gridspec(
        1 if rate is None else 2, 2, height_ratios=[4] if rate is None else [4, 1]
    )
    left = outer[0, 0].subgridspec(1 + apart, 1)
    right = outer[0, 1].subgridspec(1 + (zoom is not None), 1)
    if apart:
        upper, lower = figure.add_subplot(left[0]), figure.add_subplot(left[1])
        _draw(upper, epoch, losses[0], None, None)
        _draw(lower, epoch, None, losses[1], best)
        _scale_loss(upper, losses[0], f"Training loss, with label smoothing {label_smoothing:g}")
        _scale_loss(lower, losses[1], "Validation loss, without label smoothing")
    else:
        loss = figure.add_subplot(left[0])
        _draw(loss, epoch, *losses, best)
        _scale_loss(loss, np.concatenate(losses), "Loss")
    accuracy = figure.add_subplot(right[0])
    _draw(accuracy, epoch, train, validation, best)
    _percent(accuracy, 0.0, "Accuracy")
    if zoom is not None:
        enlarged = figure.add_subplot(right[1])
        _draw(enlarged, epoch, train, validation, best)
        _percent(enlarged, zoom, f"Accuracy, from {zoom:g} % on")
    if rate is not None:
        strip = figure.add_subplot(outer[1, :])
        strip.plot(epoch, rate, color=INK, linewidth=1.2, marker=_marker(epoch))
        strip.set_ylabel("learning rate")
        strip.yaxis.set_major_formatter(_number)
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
    axes: Axes,
    epoch: np.ndarray,
    train: np.ndarray | None,
    validation: np.ndarray | None,
    best: int | None,
) -> None:
    """Draw the lines of a panel, and the star on the best epoch."""
    marker = _marker(epoch)
    if train is not None:
        axes.plot(epoch, train, color=BLUE, linestyle="--", marker=marker, label="training")
    if validation is not None:
        axes.plot(epoch, validation, color=VERMILION, marker=marker, label="validation")
    if best is not None and validation is not None:
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


def _scale_loss(axes: Axes, losses: np.ndarray, title: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    notes = []
    finite = losses[np.isfinite(losses)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        notes.append("logarithmic")
        axes.set_yscale("log")
        decades = np.log10(finite.max() / finite.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 4 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(_number)
    if finite.size < losses.size:
        notes.append("gaps: not finite")
    axes.set_title(f"{title} ({', '.join(notes)})" if notes else title, fontsize=11)


def _number(value: float, _: object = None) -> str:
    """Return a tick's number as one reads it, with no factor at the end of the axis."""
    return f"{value:.10g}"


def _zoom(*percents: np.ndarray) -> float | None:
    """Return where the enlarged part of an accuracy's axis begins, None for no such part."""
    values = np.concatenate(percents)
    values = values[np.isfinite(values)]
    if not values.size or values.max() < 90:
        return None
    return next((low for low in (99.0, 98.0, 95.0) if np.median(values) >= low + 0.5), 90.0)


def _percent(axes: Axes, low: float, title: str) -> None:
    margin = 0.03 * (100 - low)
    axes.set_ylim(low, 100 + margin)  # a point at 100 % is seen whole
    axes.set_title(title, fontsize=11)
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

"""Plain plots: lines, and a matrix with its numbers written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.grid import finite
from minicnn.viz.paper import BLUE, INK, LINES, VERMILION, empty, ink_on, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = ("-", "--", "-.", ":")
_MARKED = 40  # points, up to which each is marked
Lines = Mapping[str, Sequence[float] | np.ndarray]


def lines(
    y: Lines,
    x: Sequence[float] | np.ndarray | None = None,
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
) -> Figure:
    """Return a line for each entry of ``y``, by its name in the legend.

    ``x`` are the places of the longest line's points, 0, 1, ... unless given; shorter lines take
    the first of them. NaN leaves a gap. Scales are "linear" or "log". Lines differ in colour and in
    stroke.
    """
    figure = empty(7.2, 4.2)
    draw_lines("lines", figure.subplots(), y, x, xlabel, ylabel, title, xscale, yscale)
    return figure


def gradient_flow(norms: Mapping[str, Mapping[str, float] | Sequence[float]]) -> Figure:
    """Return the size of the gradients by depth, a line for each network, on a logarithmic scale.

    Each network's entry lists its layers in the order of forward, as ``insight.gradient_norms``
    does, the first layer leftmost. Depth is relative, from 0 to 1, so that networks of different
    depth can be compared. A norm of 0, which has no logarithm, leaves a gap and is counted in the
    legend.
    """
    if not norms:
        raise ValueError("gradient_flow: there is no network to draw. Give at least one.")
    figure = empty(7.2, 4.2)
    axes = figure.subplots()
    for i, (name, of_network) in enumerate(norms.items()):
        values = of_network.values() if isinstance(of_network, Mapping) else of_network
        sizes = np.array(list(values), dtype=np.float64)
        if sizes.ndim != 1 or not sizes.size or (sizes < 0).any():
            raise ValueError(
                f"gradient_flow: {name} must list one norm, not negative, for each layer, got "
                f"{sizes.size} numbers of shape {sizes.shape}."
            )
        zeros = int((sizes == 0).sum())
        label = f"{name} ({sizes.size} layer{'s' * (sizes.size > 1)}" + (
            f", {zeros} of them 0)" if zeros else ")"
        )
        depth = np.linspace(0, 1, sizes.size) if sizes.size > 1 else np.array([0.5])
        _line(axes, i, depth, np.where(sizes > 0, sizes, np.nan), label)
    axes.set_yscale("log")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["first layer", "", "middle", "", "last layer"])
    axes.set_ylabel("size of the gradient (logarithmic)")
    axes.set_title("Gradients by depth", fontsize=11)
    _tidy(axes, len(norms))
    return figure


def matrix(
    values: np.ndarray,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    form: str = "{:.3g}",
) -> Figure:
    """Return a matrix (rows, columns) of numbers as coloured cells, written in where they fit.

    0 is white, positive numbers are vermilion, negative ones blue. Booleans are 0 and 1. ``form``
    is the format in which numbers are written.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"matrix: 2 axes, none of them empty, are needed, got {values.shape}.")
    finite("matrix", "values", values)
    for axis, given, count in (("rows", rows, len(values)), ("columns", columns, values.shape[1])):
        if given is not None and len(given) != count:
            raise ValueError(f"matrix: {len(given)} names of {axis} for {count} of them.")
    values = values.astype(np.float64)
    r, c = values.shape
    cell = float(np.clip(8.0 / max(r, c), 0.02, 0.55))
    written = [[form.format(v) for v in row] for row in values] if cell >= 0.16 else []
    longest = max((len(text) for row in written for text in row), default=0)
    letter = min(9.0, 72 * 0.9 * cell / (0.62 * longest)) if longest else 0.0
    beside = max((len(name) for name in rows or [""]), default=0) * 0.085
    across = max((len(name) for name in columns or [""]), default=0) * 0.085
    upright = across > cell
    figure = empty(
        max(c * cell + beside + 0.9, 3.2, 0.09 * len(title)),
        max(r * cell, 0.6) + 0.9 + (across if upright else 0),
    )
    axes = figure.subplots()
    limit = float(np.abs(values).max()) or 1.0
    shown = axes.imshow(
        values, cmap=shades(BLUE, "white", VERMILION), vmin=-limit, vmax=limit,
        interpolation="nearest",
    )  # fmt: skip
    colours = shown.to_rgba(values)
    if letter >= 4:
        for i, row in enumerate(written):
            for j, text in enumerate(row):
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=letter,
                    color=ink_on(colours[i, j].tolist()), in_layout=False,
                )  # fmt: skip
    if rows is not None:
        axes.set_yticks(range(r), rows, fontsize=8, parse_math=False)
    if columns is not None:
        turn = 90 if upright else 0
        axes.set_xticks(range(c), columns, fontsize=8, rotation=turn, parse_math=False)
    if rows is None and columns is None and r * c <= 400:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.set_title(title, fontsize=11)
    return figure


def draw_lines(
    op: str,
    axes: Axes,
    y: Lines,
    x: Sequence[float] | np.ndarray | None,
    xlabel: str,
    ylabel: str,
    title: str,
    xscale: str = "linear",
    yscale: str = "linear",
) -> None:
    """Draw what ``lines`` returns on axes that are there already."""
    if not y:
        raise ValueError(f"{op}: there is no line to draw. Give at least one.")
    for name, scale in (("xscale", xscale), ("yscale", yscale)):
        if scale not in ("linear", "log"):
            raise ValueError(f"{op}: {name} must be linear or log, got {scale!r}.")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in y.items()}
    longest = max(array.size for array in arrays.values())
    places = np.arange(longest) if x is None else np.asarray(x, dtype=np.float64)
    for name, array in arrays.items():
        if array.ndim != 1 or not array.size:
            raise ValueError(f"{op}: {name} must be a row of numbers, got shape {array.shape}.")
        if array.size > places.size:
            raise ValueError(f"{op}: {name} has {array.size} points, x has {places.size}.")
    for i, (name, array) in enumerate(arrays.items()):
        _line(axes, i, places[: array.size], array, name)
    axes.set_xscale(xscale)
    axes.set_yscale(yscale)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=11)
    _tidy(axes, len(arrays))


def _line(axes: Axes, number: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    style = _STYLES[(number + 2 * (number // len(LINES))) % len(_STYLES)]
    axes.plot(
        x, y, color=LINES[number % len(LINES)], linestyle=style, linewidth=1.6, label=label,
        marker="." if x.size <= _MARKED else "",
    )  # fmt: skip


def _tidy(axes: Axes, count: int) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if count > 1 or axes.get_lines()[0].get_label():
        legend = axes.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=3)
        if count > 4:  # beside the lines, where it hides none
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((1.02, 1.0))
        for text in legend.get_texts():
            text.set_parse_math(False)

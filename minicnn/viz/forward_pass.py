"""One image on its way through a network: the maps of every layer, and the answer as bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicnn import insight, ops
from minicnn.nn import Flatten, Module
from minicnn.viz.fonts import lettering
from minicnn.viz.grid import checked_images, finite
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HIGH = 2.6  # inches of the largest block
_STRIP = 0.14  # inches of a vector, which stands upright
_BARS = 1.2  # inches of a probability of 1
_BETWEEN = 0.34  # inches between two stages, where the arrow is
_GAP = 0.04  # inches between two maps
_MOST_MAPS = 16  # drawn of one stage
_MOST_BARS = 10  # classes, the most probable
_LONGEST = 14  # letters of a class's name


class _Stage(NamedTuple):
    """What leaves one layer, or a row of layers that keep the shape."""

    names: list[str]
    y: np.ndarray  # (c, h, w) or (k,)


def forward_pass(
    model: Module,
    x: np.ndarray,
    classes: Sequence[str] | None = None,
    *,
    image: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Return the figure of one image in ``model``: the image, each stage's maps, and bars.

    ``x`` is the network's input, (c, h, w) or (1, c, h, w); ``image`` (h, w) or (h, w, 3) is what
    is drawn for it, for example the pixels before normalisation; without it x is drawn, between its
    smallest and largest number. Layers that keep the shape are drawn with the layer before them:
    a convolution and its ReLU are one stage. Of a stage at most 16 maps are drawn, on one scale for
    each stage: vermilion is positive, blue negative, 0 white. Vectors are strips, from their first
    number at the top. The bars are probabilities by softmax, of all classes up to 10, else of the
    10 most probable.

    Children are drawn as a chain, in the order in which they run: parallel branches too.

    Raises ShapeError if x does not fit the network, ValueError if the output is no vector.
    """
    x = np.asarray(x)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(
            f"forward_pass: x must be one image, (c, h, w) or (1, c, h, w), got shape {x.shape}. "
            "Of a batch (n, c, h, w) take one: x[0]."
        )
    shown = None if image is None else np.asarray(image)[None]
    picture = _picture(x[0]) if shown is None else checked_images("forward_pass", shown)[0]
    *stages, last = _stages(model, x)
    if last.y.ndim != 1:
        raise ValueError(
            f"forward_pass: the network must give one number for each class, got shape "
            f"{last.y.shape}. Draw maps alone by feature_maps."
        )
    if classes is not None and len(classes) != last.y.size:
        raise ValueError(f"forward_pass: {len(classes)} names of classes for {last.y.size} scores.")
    names = [str(i) for i in range(last.y.size)] if classes is None else list(classes)
    return _draw(picture, stages, last, names, title)


def _stages(model: Module, x: np.ndarray) -> list[_Stage]:
    """Run the network; return what its children give, those that keep the shape joined."""
    children = dict(model.named_children())
    with insight.watching(model, *children) as seen:
        y = model(x)
    runs = [(use.order, name, use.y[0]) for name in children for use in seen[name].uses]
    runs.sort(key=lambda run: run[0])
    stages: list[_Stage] = []
    for _, name, out in runs:
        finite("forward_pass", f"the output of {name}", out)
        if isinstance(children[name], Flatten):
            continue
        if stages and stages[-1].y.shape == out.shape:
            called = name if children[name].parameters() else type(children[name]).__name__
            stages[-1] = _Stage([*stages[-1].names, called], out)
        elif out.ndim in (1, 3):
            stages.append(_Stage([name], out))
    if not stages or stages[-1].y.shape != y[0].shape:
        stages.append(_Stage(["output"], y[0]))
    return stages


def _picture(x: np.ndarray) -> np.ndarray:
    """Return (c, h, w) as (h, w) or (h, w, 3) between 0 and 1."""
    finite("forward_pass", "x", x)
    low, high = float(x.min()), float(x.max())
    scaled = (x - low) / ((high - low) or 1.0)
    return scaled.transpose(1, 2, 0) if len(x) == 3 else scaled.mean(axis=0)


# ---------------------------------------------------------------------------------------- drawing


def _draw(
    picture: np.ndarray, stages: list[_Stage], last: _Stage, names: list[str], title: str
) -> Figure:
    first = max((stage.y.shape[1] for stage in stages if stage.y.ndim == 3), default=1)
    sizes = [(_HIGH * 0.55 * picture.shape[1] / picture.shape[0], _HIGH * 0.55)]
    sizes += [_size(stage.y, first) for stage in stages]
    drawn, font = lettering(names)
    short = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in drawn]
    beside = 0.1 + 0.085 * max(map(len, short))
    sizes.append((beside + _BARS + 0.5, _HIGH))
    # Words above a block may be wider than the block: a strip then takes the words' width.
    words = [["image", _times(picture.shape[:2])], *map(_words, stages), _words(last)]
    rooms = [
        max(width, max(map(len, lines)) * 0.062)
        for (width, _), lines in zip(sizes, words, strict=True)
    ]
    total = sum(rooms) + _BETWEEN * (len(rooms) - 1)
    head, foot = 0.5 + 0.3 * bool(title), 0.1
    figure = empty(total + 0.3, _HIGH + head + foot)
    axes: Axes = figure.subplots()
    axes.set_xlim(0, total)
    axes.set_ylim(_HIGH + foot, -0.5)
    axes.set_aspect("equal")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=11)
    left = 0.0
    for i, (room, (width, high), lines) in enumerate(zip(rooms, sizes, words, strict=True)):
        middle, top = left + room / 2, (_HIGH - high) / 2
        axes.text(
            middle, -0.08, "\n".join(lines), ha="center", va="bottom", fontsize=8, color=INK,
            linespacing=1.15, parse_math=False,
        )  # fmt: skip
        at = middle - width / 2, top
        if i == 0:
            look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
            _show(axes, picture, (*at, width, high), **look)
        elif i <= len(stages):
            _maps(axes, stages[i - 1].y, at, (width, high))
        else:
            _bars(axes, last.y, short, font, at[0] + beside)
        if i:
            _arrow(axes, left - _BETWEEN + 0.07, left - 0.07)
        left += room + _BETWEEN
    return figure


def _words(stage: _Stage) -> list[str]:
    names = stage.names if len(stage.names) < 4 else [stage.names[0], "…", stage.names[-1]]
    drawn = stage.y.shape[0]
    if stage.y.ndim == 1:
        return [", ".join(names), f"{drawn} number{'s' * (drawn > 1)}"]
    of = f"{_MOST_MAPS} of {drawn}" if drawn > _MOST_MAPS else f"{drawn}"
    return [", ".join(names), f"{of} maps, {_times(stage.y.shape[1:])}"]


def _times(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def _size(y: np.ndarray, first: int) -> tuple[float, float]:
    """Return (width, height) in inches; smaller maps have smaller blocks, by far less."""
    if y.ndim == 1:
        return _STRIP, _HIGH * min(1.0, 0.35 + len(y) / 120 * 0.65)
    n, h, w = min(len(y), _MOST_MAPS), *y.shape[1:]
    rows, columns = _grid(n)
    high = _HIGH * (h / first) ** 0.3
    cell = (high - (rows - 1) * _GAP) / rows
    return columns * cell * w / h + (columns - 1) * _GAP, high


def _grid(n: int) -> tuple[int, int]:
    """Return (rows, columns) of n maps: full rows, and higher than wide where that can be."""
    columns = min(
        (c for c in range(1, n + 1) if n % c == 0),
        key=lambda c: abs(math.log(c / (0.6 * n) ** 0.5)),
    )
    if n / columns > 8:  # a prime number of maps: the last row is not full
        columns = math.ceil(math.sqrt(0.6 * n))
    return math.ceil(n / columns), columns


def _maps(axes: Axes, y: np.ndarray, at: tuple[float, float], size: tuple[float, float]) -> None:
    limit = float(np.abs(y).max()) or 1.0
    look = {"cmap": shades(BLUE, "white", VERMILION), "vmin": -limit, "vmax": limit}
    (left, top), (width, high) = at, size
    if y.ndim == 1:
        _show(axes, y[:, None], (left, top, width, high), **look)
        return
    rows, columns = _grid(min(len(y), _MOST_MAPS))
    wide, cell = (width + _GAP) / columns, (high + _GAP) / rows
    for channel, (i, j) in zip(y, itertools.product(range(rows), range(columns)), strict=False):
        box = left + j * wide, top + i * cell, wide - _GAP, cell - _GAP
        _show(axes, channel, box, **look)


def _show(
    axes: Axes, pixels: np.ndarray, box: tuple[float, float, float, float], **look: Any
) -> None:
    """Draw pixels into (left, top, width, height), with a frame; limits stay as they are."""
    left, top, width, high = box
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(
        pixels, extent=(left, left + width, top + high, top), interpolation="nearest", **look
    )
    right, bottom = left + width, top + high
    axes.plot(
        [left, right, right, left, left], [top, top, bottom, bottom, top], color=GREY,
        linewidth=0.5,
    )  # fmt: skip
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _bars(axes: Axes, scores: np.ndarray, names: list[str], font: list[str], left: float) -> None:
    p = scores.astype(np.float64)
    if (p < 0).any() or abs(p.sum() - 1) > 1e-3:  # else they are probabilities already
        p = ops.softmax.forward(p[None])[0][0]
    chosen = np.sort(np.argsort(-p, kind="stable")[:_MOST_BARS])
    step = _HIGH / len(chosen)
    best = int(p.argmax())
    for row, k in enumerate(chosen):
        colour = VERMILION if k == best else GREY
        middle = (row + 0.5) * step
        axes.barh(middle, _BARS * p[k], 0.7 * step, left, color=colour)
        axes.text(
            left - 0.07, middle, names[k], ha="right", va="center", fontsize=8, color=INK,
            fontfamily=font, parse_math=False, fontweight="bold" if k == best else "normal",
        )  # fmt: skip
        if k == best or p[k] >= 0.005:
            axes.text(
                left + _BARS * p[k] + 0.05, middle, f"{p[k]:.0%}", ha="left", va="center",
                fontsize=8, color=INK,
            )  # fmt: skip
    axes.plot([left, left], [0, _HIGH], color=INK, linewidth=0.8)


def _arrow(axes: Axes, begin: float, end: float) -> None:
    axes.annotate(
        "", (end, _HIGH / 2), (begin, _HIGH / 2),
        arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1.0},
    )  # fmt: skip

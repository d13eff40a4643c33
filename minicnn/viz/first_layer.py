"""The filters of a layer, as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.paper import BLUE, GREY, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.2  # between two filters, as a share of a filter's width
_NUMBER = 0.17  # inches that the number below a filter takes


def filters(weight: np.ndarray, *, by_channel: bool = False) -> Figure:
    """Return the filters (o, c, kh, kw) of a layer side by side, on one common scale.

    Three channels are shown as colour (red, green, blue): middle grey is 0, full white and full
    black are the largest weight and its negative. One channel runs from blue (negative) over white
    (0) to vermilion (positive). Of any other number of channels the mean is shown in the same way:
    it is how the filter answers an image whose channels are equal.

    ``by_channel`` shows every channel of every filter instead, for layers behind the first: a
    column for each filter, a row for each channel it reads, both numbered.
    """
    weight = _checked(weight)
    o, c, kh, kw = weight.shape
    colour = c == 3 and not by_channel
    if by_channel:
        rows, columns = c, o
        pictures = weight.transpose(1, 0, 2, 3).reshape(c * o, kh, kw)
    else:
        rows = math.ceil(o / (8 if o <= 64 else 16))
        columns = math.ceil(o / rows)
        pictures = weight.transpose(0, 2, 3, 1) if colour else weight.mean(axis=1)
    limit = float(np.abs(pictures).max()) or 1.0  # all zeros: any scale
    if colour:
        pictures = 0.5 + pictures / (2 * limit)

    gap = _GAP * kw
    wide = columns * (kw + gap) - gap
    inch = min(9.0 / wide, 1.6 / max(kw, kh))  # of one weight
    step = kh + gap + (0 if by_channel else _NUMBER / inch)
    high = rows * step - gap
    head = 1.4 * _NUMBER / inch if by_channel else 0.02 * wide  # where the columns' numbers stand
    beside = 0.3 * by_channel + (0.3 if colour else 1.3)
    figure = empty(max(inch * wide + beside, 3.0), inch * (high + head) + 0.6)
    axes = figure.subplots()
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        left, top = column * (kw + gap), row * step
        image = axes.imshow(
            picture,
            cmap=None if colour else shades(BLUE, "white", VERMILION),
            vmin=-limit,
            vmax=limit,
            extent=(left, left + kw, top + kh, top),
            interpolation="nearest",
        )
        frame = ([left, left + kw, left + kw, left, left], [top, top, top + kh, top + kh, top])
        axes.plot(*frame, color=GREY, linewidth=0.6)
        if not by_channel:
            middle = top + kh + 0.55 * _NUMBER / inch
            _write(axes, left + kw / 2, middle, str(number))
            continue
        if row == 0:
            _write(axes, left + kw / 2, -0.6 * _NUMBER / inch, str(column))
        if column == 0:
            _write(axes, -0.6 * _NUMBER / inch, top + kh / 2, str(row))
    axes.set_xlim(-1.4 * _NUMBER / inch if by_channel else -0.02 * wide, 1.02 * wide)
    axes.set_ylim(high + 0.01 * wide, -head)
    axes.set_axis_off()
    title = f"{o} filter{'s' * (o > 1)} of {kh} x {kw}"
    mean = "" if c in (1, 3) else f", mean of {c} channels"
    if by_channel:
        axes.set_title(f"{title}: a column for each filter, a row for each channel", fontsize=11)
    else:
        axes.set_title(f"First layer: {title}{mean}", fontsize=11)
    if not colour:
        share, aspect = 0.25 / (inch * wide), inch * high / 0.2  # the bar is 0.2 inches wide
        bar = figure.colorbar(image, ax=axes, fraction=share, pad=0.01, aspect=aspect)
        bar.set_label("weight", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return figure


def _write(axes: Axes, x: float, y: float, number: str) -> None:
    axes.text(x, y, number, ha="center", va="center", fontsize=7)


def _checked(weight: np.ndarray) -> np.ndarray:
    weight = np.asarray(weight)
    if weight.ndim != 4 or not weight.size:
        raise ValueError(
            f"filters: weight must have 4 axes (o, c, kh, kw), none of them empty, "
            f"got shape {weight.shape}."
        )
    if not np.isfinite(weight).all():
        raise ValueError(
            "filters: weight holds NaN or infinity; training diverged. "
            "A smaller learning rate often helps."
        )
    return weight.astype(np.float64)

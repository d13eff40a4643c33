"""The filters of the first layer, as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 0.2  # between two filters, as a share of a filter's width


def filters(weight: np.ndarray) -> Figure:
    """Return the filters (o, c, kh, kw) of a first layer side by side, on one common scale.

    Three channels are shown as colour (red, green, blue): middle grey is 0, full white and full
    black are the largest weight and its negative. One channel runs from blue (negative) over white
    (0) to vermilion (positive). Of any other number of channels the mean is shown in the same way:
    it is how the filter answers an image whose channels are equal.
    """
    weight = _checked(weight)
    o, c, kh, kw = weight.shape
    colour = c == 3
    pictures = weight.transpose(0, 2, 3, 1) if colour else weight.mean(axis=1)
    limit = float(np.abs(pictures).max()) or 1.0  # all zeros: any scale
    if colour:
        pictures = 0.5 + pictures / (2 * limit)

    rows = math.ceil(o / (8 if o <= 64 else 16))
    columns = math.ceil(o / rows)
    gap = _GAP * kw
    wide, high = columns * (kw + gap) - gap, rows * (kh + 2 * gap) - gap
    inch = min(9.0 / wide, 0.9 / min(kw, kh))  # of one weight
    figure = empty(max(inch * wide + 1.4, 4.0), max(inch * high + 0.9, 2.2))
    axes = figure.subplots()
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        left, top = column * (kw + gap), row * (kh + 2 * gap)
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
        axes.text(left + kw / 2, top + kh, str(number), ha="center", va="top", fontsize=7)
    axes.set_xlim(-gap / 2, wide + gap / 2)
    axes.set_ylim(high + gap / 2, -gap / 2)
    axes.set_axis_off()
    shown = "" if c in (1, 3) else f", mean of {c} channels"
    axes.set_title(f"First layer: {o} filters of {kh} x {kw}{shown}", color=INK, fontsize=11)
    if not colour:
        figure.colorbar(image, ax=axes, shrink=0.9, aspect=25, label="weight")
    return figure


def _checked(weight: np.ndarray) -> np.ndarray:
    weight = np.asarray(weight)
    if weight.ndim != 4 or not weight.size:
        raise ValueError(
            f"filters: weight must have 4 axes (o, c, kh, kw), none of them empty, "
            f"got shape {weight.shape}."
        )
    if not np.isfinite(weight).all():
        raise ValueError(
            "filters: weight holds NaN or infinity. Look for the step at which training diverged; "
            "a smaller learning rate often helps."
        )
    return weight.astype(np.float64)

"""Pictures with what the network saw of them and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.fonts import lettering
from minicnn.viz.paper import BLUE, GREY, empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = 10  # classes at most, the most probable
_LONGEST = 18  # letters of a name


def predictions(
    pictures: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    probabilities: np.ndarray,
    classes: Sequence[str],
    titles: Sequence[str],
) -> Figure:
    """Return a figure with a row for each picture: itself, what the network saw, and bars.

    ``pictures`` and ``seen`` are uint8 (h, w, 1 or 3) of any sizes, ``probabilities`` (n, k) with
    rows that sum to 1. Bars are of all classes, in their order, or of the 10 most probable.
    """
    n, p = len(pictures), np.asarray(probabilities, np.float64)
    if not n or len(seen) != n or len(titles) != n or p.shape != (n, len(classes)):
        raise ValueError(
            f"predictions: {n} pictures need as many images and titles, and probabilities "
            f"{(n, len(classes))}; got {len(seen)}, {len(titles)} and {p.shape}. Give at least one."
        )
    bars = min(len(classes), _BARS)
    figure = empty(8.0, max(1.9, 0.17 * bars + 0.5) * n)
    names, font = lettering([*classes])
    short = [c if len(c) <= _LONGEST else c[: _LONGEST - 1] + "…" for c in names]
    heads, font_of_heads = lettering([*titles])
    grid = figure.subplots(n, 3, squeeze=False, width_ratios=(1, 1, 1.6))
    for row, (axes, picture, image) in enumerate(zip(grid, pictures, seen, strict=True)):
        _image(axes[0], picture)
        head = heads[row] if len(heads[row]) <= 28 else "…" + heads[row][-27:]
        axes[0].set_title(head, fontsize=9, parse_math=False, fontfamily=font_of_heads)
        _image(axes[1], image)
        axes[1].set_title("what the network saw", fontsize=9)
        chosen = np.sort(np.argsort(-p[row], kind="stable")[:bars])
        best = int(p[row].argmax())
        at = np.arange(len(chosen))
        axes[2].barh(at, p[row, chosen], color=[BLUE if k == best else GREY for k in chosen])
        axes[2].set_yticks(at, [short[k] for k in chosen], parse_math=False, fontfamily=font)
        axes[2].invert_yaxis()
        axes[2].set_xlim(0, 1)
        axes[2].set_xticks([])
        axes[2].tick_params(length=0, labelsize=9)
        for side in ("top", "right", "bottom"):
            axes[2].spines[side].set_visible(False)
        axes[2].set_title(
            f"{short[best]}  {p[row, best]:.1%}", fontsize=9, parse_math=False, fontfamily=font
        )
    return figure


def _image(axes: Axes, pixels: np.ndarray) -> None:
    grey = pixels.shape[2] == 1
    axes.imshow(
        pixels[..., 0] if grey else pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])

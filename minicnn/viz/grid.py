"""Pictures side by side, each with some words above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.viz.fonts import lettering
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 9.0  # inches that all columns take together, at most
_GAP = 0.12  # inches between two pictures
_LINE = 0.15  # inches that a line of words takes
LETTER = 8.0  # points


def images(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str = "",
    side: float = 2.2,
) -> Figure:
    """Return images (n, h, w) or (n, h, w, c) in rows, each below its title.

    Grey or, with c = 3, red, green and blue; uint8, or floats of which 0 is black and 1 is white.
    Numbers outside of that are cut off. A title may have several lines. ``side`` is the
    longest side of an image in inches, at most: all columns together take no more than 9 inches.
    """
    pictures = checked_images("images", images)
    axes = sheet("images", pictures.shape, titles, columns, title, side=side)
    for place, picture in zip(axes.places, pictures, strict=True):
        axes.draw(picture, place)
    return axes.figure


def feature_maps(
    y: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str = "",
) -> Figure:
    """Return the channels of one image's feature maps (c, h, w) side by side, on one common scale.

    Without titles they are numbered. Positive numbers are vermilion, negative ones, as there are
    before a ReLU, blue, and 0 is white.
    """
    y = np.asarray(y)
    if y.ndim != 3 or not y.size:
        raise ValueError(
            f"feature_maps: y must have 3 axes (c, h, w), none of them empty, got shape {y.shape}. "
            "Of a batch (n, c, h, w) take one image: y[0]."
        )
    finite("feature_maps", "y", y)
    titles = titles or [str(i) for i in range(len(y))]
    axes = sheet("feature_maps", y.shape, titles, columns, title, bar=True)
    limit = float(np.abs(y).max()) or 1.0  # all zeros: any scale
    signed = bool((y < 0).any())
    colours = (BLUE, "white", VERMILION) if signed else ("white", VERMILION)
    look = {"cmap": shades(*colours), "vmin": -limit if signed else 0, "vmax": limit}
    for place, channel in zip(axes.places, y, strict=True):
        drawn = axes.draw(channel, place, **look)
    axes.bar(drawn, "activation")
    return axes.figure


# ------------------------------------------------------------------------- what other files share


class Sheet:
    """One pair of axes, in inches, on which pictures have their places."""

    def __init__(
        self,
        shape: tuple[int, ...],
        titles: Sequence[str] | None,
        columns: int | None,
        title: str,
        bar: bool,
        foot: float,
        side: float,
    ) -> None:
        n, h, w = shape[:3]
        self.titles = list(titles) if titles is not None else [""] * n
        lines = max(text.count("\n") + 1 if text else 0 for text in self.titles)
        letters = max(len(line) for text in self.titles for line in text.split("\n") or [""])
        needed = letters * 0.62 * LETTER / 72  # inches that the longest line takes
        columns = columns or _columns(n, h / w, needed)
        columns = min(columns, n)
        wide = min(_WIDE / columns - _GAP, side * min(1.0, w / h))
        self.wide, self.high = wide, wide * h / w
        self.step = max(wide, needed) + _GAP, self.high + foot + _GAP + lines * _LINE
        rows = math.ceil(n / columns)
        width, height = columns * self.step[0] - _GAP, rows * self.step[1] - _GAP
        self.figure = empty(
            max(width + 0.3 + 1.1 * bar, 3.0, 0.085 * len(title) + 0.3),
            height + 0.3 + 0.3 * bool(title),
        )
        self.axes: Axes = self.figure.subplots()
        self.axes.set_xlim(-0.02, width + 0.02)
        self.axes.set_ylim(height + 0.02, -0.02)
        self.axes.set_aspect("equal")
        self.axes.set_axis_off()
        if title:
            self.axes.set_title(title, fontsize=11)
        self.lines = lines
        self.size = width, height
        self.places = [
            (
                i % columns * self.step[0] + (self.step[0] - _GAP - wide) / 2,
                i // columns * self.step[1] + lines * _LINE,
            )
            for i in range(n)
        ]
        words, font = lettering(self.titles)
        for (left, top), text in zip(self.places, words, strict=True):
            self.axes.text(
                left + wide / 2, top - 0.06, text, ha="center", va="baseline", fontsize=LETTER,
                fontfamily=font, color=INK, parse_math=False, linespacing=1.1,
            )  # fmt: skip

    def draw(self, picture: np.ndarray, place: tuple[float, float], **look: Any) -> Any:
        """Draw a picture with its upper left corner at ``place``; return what matplotlib made."""
        left, top = place
        extent = (left, left + self.wide, top + self.high, top)
        limits = self.axes.get_xlim(), self.axes.get_ylim()
        look.setdefault("interpolation", "nearest")
        if picture.ndim == 2:
            look = {"cmap": "gray", "vmin": 0, "vmax": 1} | look
        drawn = self.axes.imshow(picture, extent=extent, **look)
        self.axes.plot(
            [left, left + self.wide, left + self.wide, left, left],
            [top, top, top + self.high, top + self.high, top],
            color=GREY, linewidth=0.6,
        )  # fmt: skip
        self.axes.set_xlim(limits[0][0], limits[0][1])
        self.axes.set_ylim(limits[1][0], limits[1][1])
        return drawn

    def bar(self, drawn: Any, label: str) -> None:
        """Add the scale of colours, 0.15 inches wide."""
        width, height = self.size
        high = min(height, 3.0)
        bar = self.figure.colorbar(
            drawn, ax=self.axes, fraction=0.15 / (width + 1), pad=0.02, shrink=high / height,
            aspect=high / 0.15,
        )  # fmt: skip
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)


def sheet(
    op: str,
    shape: tuple[int, ...],
    titles: Sequence[str] | None,
    columns: int | None,
    title: str,
    *,
    bar: bool = False,
    foot: float = 0.0,
    side: float = 2.2,
) -> Sheet:
    """Return the sheet for (n, h, w, ...) pictures; raise unless there are as many titles.

    ``foot`` are the inches left free below each picture; ``bar`` leaves room for the scale.
    """
    if titles is not None and len(titles) != shape[0]:
        raise ValueError(f"{op}: {len(titles)} titles for {shape[0]} pictures. Give one for each.")
    if columns is not None and columns < 1:
        raise ValueError(f"{op}: columns must be at least 1, got {columns}.")
    return Sheet(shape, titles, columns, title, bar, foot, side)


def checked_images(op: str, images: np.ndarray) -> np.ndarray:
    """Return (n, h, w) or (n, h, w, 3) floats from 0 to 1, or raise."""
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or not images.size or images.shape[3:] not in ((), (3,)):
        hint = ""
        if images.ndim == 4 and images.shape[1] in (1, 3):
            hint = " Channels go last: images.transpose(0, 2, 3, 1)."
        elif images.ndim == 2:
            hint = " A single image is a batch of one: image[None]."
        raise ValueError(
            f"{op}: images must be (n, h, w) or (n, h, w, c) with c of 1 or 3, none of them "
            f"empty, got shape {images.shape}.{hint}"
        )
    if images.dtype == np.uint8:
        return images / 255.0
    if images.dtype.kind != "f":
        raise TypeError(
            f"{op}: images must be uint8, or floats from 0 to 1, got {images.dtype}. "
            "Use images.astype(np.float32) / the largest value."
        )
    finite(op, "images", images)
    return np.clip(images, 0.0, 1.0).astype(np.float64)


def finite(op: str, name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{op}: {name} holds NaN or infinity, which have no colour.")


def _columns(n: int, aspect: float, needed: float) -> int:
    """Return how many columns make a sheet that is wider than high, and keep words apart."""
    columns = math.ceil(math.sqrt(1.8 * n * aspect))
    return max(1, min(columns, n, int(_WIDE / (max(needed, 0.45) + _GAP))))

"""Where in an image: maps of importance laid over it, and receptive fields drawn into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.viz.grid import checked_images, finite, sheet
from minicnn.viz.paper import BLUE, INK, LINES, VERMILION, empty, shades

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # top, left, bottom, right in pixels; the last ones within
_FAINT = 0.55  # how far the image is moved towards white below a map


def heatmaps(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    smooth: bool = False,
    title: str = "",
) -> Figure:
    """Return images in a column, and beside each its maps of importance, laid over it.

    ``images`` (n, h, w) or (n, h, w, c); each entry of ``maps`` (n, h', w'), of any size, stretched
    over the image; ``smooth`` interpolates. Each map has its own scale, from white at 0 to the
    full colour at its largest number: vermilion is positive, blue negative, as the key below says.
    Under its maps an image is pale, and light on dark becomes dark on light. Titles are those of
    the images.
    """
    from matplotlib.patches import Patch

    pictures = checked_images("heatmaps", images)
    n = len(pictures)
    if not maps:
        raise ValueError("heatmaps: there is no map to draw. Give at least one.")
    for name, values in maps.items():
        values = np.asarray(values)
        if values.ndim != 3 or len(values) != n or not values.size:
            raise ValueError(
                f"heatmaps: {name} must be (n, h, w), one map for each of {n} images, got shape "
                f"{values.shape}."
            )
        finite("heatmaps", name, values)
    if titles is not None and len(titles) != n:
        raise ValueError(f"heatmaps: {len(titles)} titles for {n} images. Give one for each.")
    columns = 1 + len(maps)
    words = []
    for i in range(n):
        words += [titles[i] if titles is not None else "", *(maps if i == 0 else [""] * len(maps))]
    if titles is None:
        words[0] = "image"
    page = sheet("heatmaps", (n * columns, *pictures.shape[1:3]), words, columns, title)
    for number, place in enumerate(page.places):
        i, column = divmod(number, columns)
        if column == 0:
            page.draw(pictures[i], place)
            continue
        values = np.asarray(list(maps.values())[column - 1][i], dtype=np.float64)
        page.draw(_faint(pictures[i]), place)
        page.draw(_coloured(values), place, interpolation="bilinear" if smooth else "nearest")
    keys = [Patch(color=VERMILION, label="raises the score")]
    if any((np.asarray(values) < 0).any() for values in maps.values()):
        keys.append(Patch(color=BLUE, label="lowers it"))
    page.figure.legend(
        handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=8,
        labelcolor=INK,
    )  # fmt: skip
    return page.figure


def heatmap(image: np.ndarray, values: np.ndarray, *, title: str = "", label: str = "") -> Figure:
    """Return one map (h', w') over one image (h, w) or (h, w, c), with the scale of its colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    (picture,) = checked_images("heatmap", np.asarray(image)[None])
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"heatmap: values must be (h, w), not empty, got shape {values.shape}.")
    finite("heatmap", "values", values)
    h, w = picture.shape[:2]
    figure = empty(5.0, max(2.0, 4.0 * h / w))
    axes = figure.subplots()
    axes.imshow(_faint(picture), cmap="gray", vmin=0, vmax=1)
    axes.imshow(_coloured(values), extent=(-0.5, w - 0.5, h - 0.5, -0.5), interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)
    limit = float(np.abs(values).max()) or 1.0
    signed = bool((values < 0).any())
    colours = (BLUE, "white", VERMILION) if signed else ("white", VERMILION)
    scale = ScalarMappable(Normalize(-limit if signed else 0, limit), shades(*colours))
    figure.colorbar(scale, ax=axes, shrink=0.8).set_label(label)
    return figure


def receptive_field(
    image: np.ndarray,
    boxes: Mapping[str, Box],
    effective: np.ndarray | None = None,
    *,
    title: str = "",
) -> Figure:
    """Return an image (h, w) or (h, w, c) with receptive fields drawn into it as rectangles.

    A box is (top, left, bottom, right), the first and the last pixel of each side, and may hang
    over the edge: what lies outside is padding. ``effective`` (h, w) is how strongly each pixel
    acts, shown as a shade over the image.
    """
    (picture,) = checked_images("receptive_field", np.asarray(image)[None])
    h, w = picture.shape[:2]
    for name, (top, left, bottom, right) in boxes.items():
        if bottom < top or right < left:
            raise ValueError(
                f"receptive_field: {name} is {(top, left, bottom, right)}, but a box is (top, left,"
                " bottom, right) and ends after it begins."
            )
    figure = empty(7.0, max(3.0, 5.0 * h / w))
    axes = figure.subplots()
    if effective is not None:
        effective = np.asarray(effective, dtype=np.float64)
        if effective.shape != (h, w):
            raise ValueError(
                f"receptive_field: effective must be {(h, w)} as the image, got {effective.shape}."
            )
        finite("receptive_field", "effective", effective)
        axes.imshow(_faint(picture), cmap="gray", vmin=0, vmax=1)
        axes.imshow(_coloured(effective), interpolation="nearest")
    else:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    edges = [(-0.5, -0.5, h - 0.5, w - 0.5)]
    for i, (name, (top, left, bottom, right)) in enumerate(boxes.items()):
        y, x = (top - 0.5, bottom + 0.5), (left - 0.5, right + 0.5)
        corners = [x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]]
        axes.plot(*corners, color="white", linewidth=3.4)
        label = f"{name}: {bottom - top + 1:g} x {right - left + 1:g}"
        stroke = ("-", "--", "-.", ":")[i % 4]
        axes.plot(*corners, color=LINES[i % len(LINES)], linewidth=2, linestyle=stroke, label=label)
        edges.append((y[0], x[0], y[1], x[1]))
    low, high = np.min(edges, axis=0), np.max(edges, axis=0)
    rim = 0.02 * max(h, w)
    axes.set_xlim(low[1] - rim, high[3] + rim)
    axes.set_ylim(high[2] + rim, low[0] - rim)
    axes.set_xlabel("column of pixels", fontsize=9)
    axes.set_ylabel("row of pixels", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_title(title, fontsize=11)
    if boxes:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8, labelcolor=INK,
            handlelength=3,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _faint(picture: np.ndarray) -> np.ndarray:
    """Return the image (h, w) or (h, w, 3) in grey, paler; a dark one as its negative."""
    grey = picture if picture.ndim == 2 else picture @ np.array([0.299, 0.587, 0.114])
    grey = 1 - grey if grey.mean() < 0.5 else grey
    return _FAINT + (1 - _FAINT) * grey


def _coloured(values: np.ndarray) -> np.ndarray:
    """Return (h, w, 4): the colour by the sign, as opaque as the number is large."""
    from matplotlib.colors import to_rgb

    share = values / (np.abs(values).max() or 1.0)
    colour = np.where(share[..., None] < 0, to_rgb(BLUE), to_rgb(VERMILION))
    return np.concatenate([colour, 0.9 * np.abs(share)[..., None]], axis=2)

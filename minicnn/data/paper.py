"""Finding the ink in a picture of paper: grey, shade, polarity, and what is not ink.

It uses only plain arithmetic on arrays: sums, medians, minima and maxima over windows, connected
components. So another language can compute exactly the same numbers.

Shapes
    pixels: (h, w), (h, w, 1) or (h, w, 3) uint8; all else: (h, w)
Derivation
    Light falls on paper of reflectance r and on ink of another, so a pixel of paper is light * r.
    The light changes slowly or, at the edge of a shadow, in one step. A stroke of dark ink is a
    narrow valley. A morphological closing (maximum over a window, then minimum over the same
    window) fills every valley narrower than the window, and leaves slopes and steps unchanged. So
    closing(g) estimates the paper without the ink, and density = |g - closing(g)| / closing(g) does
    not depend on the light. Light ink is a narrow ridge; the opening (minimum, then maximum)
    removes it in the same way.
Source
    Serra (1982), Image analysis and mathematical morphology (closing); Rec. ITU-R BT.601-7 (grey).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIDE = 400  # the longest side; larger pictures are averaged down to it
WINDOW = 0.35  # of the closing, as a part of the longest side: wider than any stroke
FLOOR = 16  # grey that is black to a camera
TILES = 4  # along a side, for the usual grey of the paper
LEAST = 0.1  # density of the faintest ink
NOISE = 6.0  # ink must be so many times denser than the noise
HALF = 0.45  # of full ink: denser is ink
BLACK = 0.4  # of the paper's grey: darker is a rim
RIM = 0.25  # of a side: how far a dark rim may reach into the picture
EDGE = 0.12  # of a side: a part that stays so near to the edge is not a digit
SLANT = 0.18  # tangent of the steepest ruled line, about 10 degrees
COVER = 0.7  # part of a row that a ruled line must cover
SEARCHES = 12  # passes over the picture; each finds all ruled lines of one slope
THIN = 0.03  # of the longest side: thickness of the thickest ruled line


class Ink(NamedTuple):
    """Where the ink is, on the picture made by ``shrink``."""

    density: np.ndarray  # (h, w) float64; 0 where something was removed
    mask: np.ndarray  # (h, w) bool
    full: float  # density of full ink
    lines: int  # ruled lines removed
    others: int  # removed parts: specks, and parts at the edge


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return (h, w) uint8: (19595 R + 38470 G + 7471 B + 32768) // 65536, as Pillow has it."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    r, g, b = (pixels[..., k].astype(np.int64) for k in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)


def shrink(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Return means over blocks of ``factor`` x ``factor`` pixels (float64), and ``factor``.

    ``factor`` is the least with which no side is longer than SIDE. Blocks at the end may be
    smaller.
    """
    factor = -(-max(image.shape) // SIDE)
    rows, columns = (np.arange(0, n, factor) for n in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, rows, 0, dtype=np.int64), columns, 1)
    heights, widths = (
        np.diff(np.append(starts, n))
        for starts, n in zip((rows, columns), image.shape, strict=True)
    )
    return sums / (heights[:, None] * widths), factor


def is_dark(image: np.ndarray) -> bool:
    """Return whether the ink is darker than the paper.

    Most of a picture is paper, so the median around a pixel is paper. The logarithms of the pixels
    (plus FLOOR, which keeps noise in the dark small) have a long tail on the side of the ink. The
    sign of the sum of the cubed differences from the median tells this side. The picture is divided
    into TILES x TILES tiles, and the median is taken over 3x3 neighbouring tiles. The outermost
    sixteenth of each side does not count, because a rim may be there.
    """
    h, w = image.shape
    image = np.log(image + FLOOR)
    ys, xs = ([round(n * k / TILES) for k in range(TILES + 1)] for n in (h, w))
    differences = np.zeros((h, w))
    for i in range(TILES):
        top, bottom = ys[max(i - 1, 0)], ys[min(i + 2, TILES)]
        for j in range(TILES):
            left, right = xs[max(j - 1, 0)], xs[min(j + 2, TILES)]
            tile = slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1])
            around = image[top:bottom, left:right]
            if image[tile].size:
                differences[tile] = image[tile] - np.median(around)
    inner = differences[h // 16 : h - h // 16, w // 16 : w - w // 16]
    return bool((inner**3).sum() <= 0)


def without_ink(image: np.ndarray, dark: bool) -> np.ndarray:
    """Return the paper alone: for dark ink the closing of ``image``, for light ink its opening.

    First a median of 3x3 pixels removes single specks. Outside of the picture, its outermost pixels
    are repeated as far as the windows reach.
    """
    from scipy import ndimage

    side = 2 * int(WINDOW * max(image.shape) / 2) + 1
    quiet = ndimage.median_filter(image, 3, mode="nearest")
    first, then = ndimage.maximum_filter, ndimage.minimum_filter
    if not dark:
        first, then = then, first
    half = side // 2
    paper = then(first(np.pad(quiet, half, "edge"), side, mode="nearest"), side, mode="nearest")
    return paper[half : half + image.shape[0], half : half + image.shape[1]]


def density(image: np.ndarray, paper: np.ndarray, dark: bool) -> np.ndarray:
    """Return how much ink covers each pixel, in units of this picture; paper is 0.

    For dark ink it is (paper - image) / paper, for light ink (image - paper) / (paper + FLOOR). The
    median over the picture comes from noise and is subtracted. If the longest side has 100 pixels
    or more, it is the mean over 3x3 pixels.
    """
    from scipy import ndimage

    d = (paper - image) / np.maximum(paper, 1) if dark else (image - paper) / (paper + FLOOR)
    if max(d.shape) >= 100:
        d = ndimage.uniform_filter(d, 3, mode="nearest")
    return d - np.median(d)


def full_ink(d: np.ndarray) -> float:
    """Return the density of full ink: that of the k-th densest pixel, k = 8 + pixels/4096."""
    k = min(8 + d.size // 4096, d.size)
    return float(np.partition(d, d.size - k, axis=None)[d.size - k])


def noise(d: np.ndarray) -> float:
    """Return the standard deviation of the paper's density, 1.4826 times its median deviation."""
    return 1.4826 * float(np.median(np.abs(d)))


# --------------------------------------------------------------------------- what is not ink


def rim(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right): how many rows and columns of each side are a dark rim.

    A pixel is dark if it is below BLACK times the brighter quarter of the picture. There is a rim
    if nine tenths of the outermost row are dark. It reaches inwards, to at most RIM of the side,
    while more than half of a row is dark. Its edge is soft, so 2 more rows are cut. Small pictures,
    below 64 pixels, are drawings and have no rim.
    """
    if min(image.shape) < 64:
        return 0, 0, 0, 0
    black = image < BLACK * float(np.quantile(image, 0.75))

    def depth(rows: np.ndarray) -> int:
        shares = rows[: int(RIM * len(rows))].mean(axis=1)
        if shares[0] < 0.9:
            return 0
        ends = np.flatnonzero(shares <= 0.5)
        return int(ends[0]) + 2 if ends.size else 0

    return depth(black), depth(black[::-1]), depth(black.T), depth(black.T[::-1])


def ruled_lines(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the pixels of ruled lines from left to right, and the number of lines.

    A line is y = y0 + slope * x. For each slope up to SLANT and each y0, the columns whose pixel on
    the line is dark are counted (Hough transform). A line must cover COVER of the columns and half
    of each outer tenth, and be at most THIN thick. Where it crosses a stroke, the dark run of the
    column is longer than the line is thick, and is kept.
    """
    h, w = mask.shape
    found = np.zeros_like(mask)
    lines = 0
    if w < 20 or h < 20:
        return found, lines
    thickest = THIN * max(h, w) + 1
    slopes = np.arange(-int(SLANT * w / 2), int(SLANT * w / 2) + 1) * (2 / w)
    left = mask.copy()
    for _ in range(SEARCHES):
        y, x = np.nonzero(left)
        if x.size < COVER * w:
            break
        best, slope = np.zeros(h, np.int64), 0.0
        for tangent in slopes:
            offset = np.floor(y - tangent * (x - w // 2) + 0.5).astype(np.int64)
            counts = np.bincount(offset[(offset >= 0) & (offset < h)], minlength=h)
            if counts.max() > best.max():
                best, slope = counts, float(tangent)
        if best.max() < COVER * w:
            break
        for y0 in np.argsort(-best, kind="stable")[: (best >= COVER * w).sum()]:
            on = np.floor(y0 + slope * (np.arange(w) - w // 2) + 0.5).astype(np.int64)
            columns = np.flatnonzero((on >= 0) & (on < h))
            columns = columns[left[on[columns], columns]]
            if columns.size < COVER * w:  # pixels of a line above were dark here too
                continue
            tops, bottoms = _runs(left, on, columns)
            thick = int(np.median(bottoms - tops))
            tenth = max(w // 10, 1)
            ends = (columns < tenth).sum(), (columns >= w - tenth).sum()
            whole = thick <= thickest and min(ends) >= tenth / 2
            for column, top, bottom in zip(columns, tops, bottoms, strict=True):
                if bottom - top <= thick + max(2, thick // 2):
                    left[top:bottom, column] = False
                    found[top:bottom, column] |= whole
                else:
                    left[on[column], column] = False
            lines += int(whole)
    return found, lines


def _runs(mask: np.ndarray, on: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and end of the dark run around row ``on`` in each column."""
    tops, bottoms = [], []
    for column in columns:
        dark = mask[:, column]
        top = bottom = int(on[column])
        while top > 0 and dark[top - 1]:
            top -= 1
        while bottom < len(dark) and dark[bottom]:
            bottom += 1
        tops.append(top)
        bottoms.append(bottom)
    return np.array(tops), np.array(bottoms)


class Part(NamedTuple):
    """A connected component, by eight neighbours."""

    label: int
    pixels: int
    top: int
    left: int
    bottom: int  # one past the end, as right
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def extent(self) -> int:
        return max(self.height, self.width)


def components(mask: np.ndarray) -> tuple[np.ndarray, list[Part]]:
    """Return (h, w) labels, 0 for paper, and the components from the largest extent down."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, np.ones((3, 3)))
    counts = np.bincount(labels.ravel(), minlength=n + 1)
    parts = [
        Part(k, int(counts[k]), rows.start, columns.start, rows.stop, columns.stop)
        for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1)
    ]
    return labels, sorted(parts, key=lambda part: (-part.extent, -part.pixels, part.label))


def find_ink(d: np.ndarray) -> Ink | None:
    """Return the ink of a picture by its density, or None if there is none.

    Ink is denser than HALF of full ink. Parts that are not ink (ruled lines, parts at the edge,
    specks) are removed, and full ink is measured again, until nothing more is removed. So faint ink
    is found even beside a black rim.
    """
    d = d.copy()
    lines = others = 0
    least = max(LEAST, NOISE * noise(d))
    while (full := full_ink(d)) >= least:
        mask = d > HALF * full
        across, n = ruled_lines(mask)
        down, m = ruled_lines(mask.T)
        wrong, lines = across | down.T, lines + n + m
        if not wrong.any():
            wrong, n = _at_the_edge_or_specks(mask)
            others += n
        if not wrong.any():
            return Ink(d, mask, full, lines, others)
        d[grown(wrong) & ~(mask & ~wrong)] = 0
    return None


def of_the_edge(image: np.ndarray) -> tuple[bool, np.ndarray]:
    """Return whether the paper is light, and its grey: the median of the edge."""
    ring = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    grey = float(np.median(ring))
    return grey >= 128, np.full(image.shape, grey)


def cloth(d: np.ndarray) -> Ink | None:
    """Return the parts that differ from paper of one grey; parts smaller than 0.1 are left out.

    ``density`` is the absolute difference, because cloth may be both darker and lighter.
    """
    d = np.abs(d)
    labels, parts = components(d > LEAST)
    large = [part for part in parts if part.extent >= 0.1 * max(d.shape)]
    if not large:
        return None
    mask = np.isin(labels, [part.label for part in large])
    return Ink(d, mask, max(full_ink(d), LEAST), 0, len(parts) - len(large))


def _at_the_edge_or_specks(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the pixels of parts that are at the edge or small, and the number of these parts.

    A part at the edge is not the digit if it keeps within EDGE of it, or if another part,
    not at the edge, is at least 0.3 as large. A speck is smaller than 0.02 of the picture.
    """
    h, w = mask.shape
    labels, parts = components(mask)
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) / n for n in (h, w))
    inwards = np.minimum(rows[:, None], columns)
    within = [p.extent for p in parts if min(p.top, p.left, h - p.bottom, w - p.right) > 0]
    wrong = []
    for part in parts:
        if part.extent < 0.02 * max(h, w):
            wrong.append(part.label)
        elif not min(part.top, part.left, h - part.bottom, w - part.right):
            own = inwards[part.top : part.bottom, part.left : part.right]
            here = labels[part.top : part.bottom, part.left : part.right] == part.label
            if own[here].max() < EDGE or (within and max(within) >= 0.3 * part.extent):
                wrong.append(part.label)
    return np.isin(labels, wrong) & mask, len(wrong)


def grown(mask: np.ndarray) -> np.ndarray:
    """Return the mask with all eight neighbours."""
    from scipy import ndimage

    return ndimage.binary_dilation(mask, np.ones((3, 3)))

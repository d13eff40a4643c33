"""Preparing a digit on paper as an image in the form of MNIST, or of a similar data set.

Shapes
    pixels: (h, w), (h, w, 1) or (h, w, 3) uint8, any size; image: (28, 28) uint8
Derivation
    MNIST's digits were drawn on paper and scanned in black and white. Each was cropped, resized to
    fit 20x20 pixels with its aspect ratio kept, by means over areas, which make edges grey, and
    placed into 28x28 with its centre of mass in the middle. (The published files confirm it: all
    70,000 digits are 19 or 20 pixels on their longer side, and round(centre of mass) is row 14,
    column 14.) The same is done here, step by step:

    1. ``paper.grey``, ``paper.shrink``: grey, at most 400 pixels wide and high
    2. ``paper.rim``: a dark rim of the photo is cut off
    3. ``paper.is_dark``: is the ink dark or light?
    4. ``paper.without_ink``, ``paper.density``: the paper's shade is divided out
    5. ``paper.find_ink``: the ink, without ruled lines, specks and parts at the edge
    6. ``_digit``: the parts of the digit, if it is one digit
    7. ``fit``: cropped, 20 pixels on the longer side, means over areas
    8. ``centre``: centre of mass in the middle of 28x28

    An image that has this form already is left unchanged, bit for bit.

    The other data sets differ from step 6 on. ``digits`` was resized to fit 32x32, in black and
    white, counted in blocks of 4x4, and then enlarged (by Pillow's bicubic interpolation, the only
    step that is not written out here). A thin pen is first widened to PEN pixels of 32, because
    area means of a thin line are never black. ``kmnist`` and ``fashion-mnist`` fill 28x28. A
    character of ``kmnist`` may have several parts. Clothes in ``fashion-mnist`` are not strokes, so
    the paper is the median of the picture's edge, and the shades of the cloth are kept.
Source
    LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document recognition,
    section III.A; ``minicnn.data.digits`` and ``mnist`` name those of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from minicnn.data import paper
from minicnn.data.dataset import DataError
from minicnn.data.digits import enlarged
from minicnn.shapes import check_choice

SIZE, BOX = 28, 20
COARSE = 8  # pixels of scikit-learn's digits
PEN = 4  # of 32 pixels: the least thickness of a stroke
TIE = 1e-9  # so that halves round up on every machine, whatever the last bits of a sum are
LOW, HIGH = 0.2, 0.8  # of full ink: where grey begins and ends
NEAR = 0.25  # of the digit's extent: the largest distance of a part of it
LARGE = 0.5  # of the larger one's height: a part as high as this is a second digit
SECOND = 0.2  # of the digit's extent: a distant part as large as this is not a speck


class DigitError(DataError):
    """The picture does not show exactly one digit; the message says what it shows."""


class PreparedDigit(NamedTuple):
    """The image, and what was done to the picture."""

    image: UInt8[np.ndarray, "28 28"]  # light on dark
    kept: bool  # the picture had the form of MNIST and is the image
    dark: bool  # whether the ink was darker than the paper
    box: tuple[int, int, int, int]  # top, left, bottom, right of the digit in the picture
    rim: bool  # whether a dark rim was cut off
    lines: int  # ruled lines removed
    specks: int  # other parts removed
    shade: float  # light on the darkest part of the paper, relative to the brightest part

    def __str__(self) -> str:
        if self.kept:
            return "left as it is"
        top, left, bottom, right = self.box
        done = [f"{'dark' if self.dark else 'light'} ink at rows {top} to {bottom - 1}, columns "
                f"{left} to {right - 1}"]  # fmt: skip
        if self.shade < 0.95:
            done.append("shade removed")
        if self.rim:
            done.append("dark rim cut off")
        for n, one in ((self.lines, "ruled line"), (self.specks, "speck")):
            if n:
                done.append(f"{n} {one}{'s' * (n > 1)} removed")
        return "; ".join(done)


def prepare_digit(pixels: UInt8[np.ndarray, "h w *c"], like: str = "mnist") -> PreparedDigit:
    """Return a picture of any size as an image in the form of the data set ``like``.

    ``like`` is one of FORMS. Raises DigitError, a DataError, if there is no digit or more than one;
    TypeError or ValueError if ``pixels`` are not a picture.
    """
    check_choice("prepare_digit", "like", like, tuple(FORMS))
    image = paper.grey(_checked(pixels))
    h, w = image.shape
    if FORMS[like](image):
        return PreparedDigit(image, True, False, (0, 0, h, w), False, 0, 0, 1.0)
    small, factor = paper.shrink(image)
    top, bottom, left, right = paper.rim(small)
    small = small[top : small.shape[0] - bottom, left : small.shape[1] - right]
    if like == "fashion-mnist":
        dark, sheet = paper.of_the_edge(small)
        found = paper.density(small, sheet, dark)
        ink = paper.cloth(found)
        if ink is not None and found[ink.mask].sum() < 0:  # light cloth on light paper
            dark = not dark
    else:
        dark = paper.is_dark(small)
        sheet = paper.without_ink(small, dark)
        ink = paper.find_ink(paper.density(small, sheet, dark))
    if ink is None:
        raise DigitError("no digit is visible: nothing stands out from the paper.")
    own, others = _digit(ink.mask) if like in ("mnist", "digits") else (ink.mask, 0)
    density = np.where(paper.grown(own), ink.density / ink.full, 0)
    if like == "fashion-mnist":
        density = np.clip(density, 0, 1)
    else:
        density = np.clip((density - LOW) / (HIGH - LOW), 0, 1)
    rows, columns = np.flatnonzero(density.any(axis=1)), np.flatnonzero(density.any(axis=0))
    box = (
        (int(rows[0]) + top) * factor,
        (int(columns[0]) + left) * factor,
        min((int(rows[-1]) + 1 + top) * factor, h),
        min((int(columns[-1]) + 1 + left) * factor, w),
    )
    cropped = density[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if like == "mnist":
        out = centre(fit(cropped))
    elif like == "digits":
        out = coarse(fit(widened(cropped), 4 * COARSE))
    else:
        out = framed(_whole(fit(cropped, SIZE)), SIZE)
    return PreparedDigit(
        out, False, dark, box, bool(top or bottom or left or right),
        ink.lines, ink.others + others, float(sheet.min() / max(sheet.max(), 1)),
    )  # fmt: skip


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8:
        raise TypeError(f"prepare_digit: pixels must be uint8, got {pixels.dtype}.")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(
            f"prepare_digit: pixels must have the shape (h, w), (h, w, 1) or (h, w, 3), got "
            f"{pixels.shape}."
        )
    if 0 in pixels.shape:
        raise ValueError(f"prepare_digit: there is no pixel in the shape {pixels.shape}.")
    return pixels


def has_the_form(image: np.ndarray) -> bool:
    """Return whether a grey image has MNIST's form already.

    28x28, light on a dark of exactly 0, 19 or 20 pixels on the longer side, nearly white somewhere,
    with the centre of mass at most 0.6 pixels from (14, 14).
    """
    if image.shape != (SIZE, SIZE) or image.max() < 200:
        return False
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    y, x = centre_of_mass(image)
    return bool(BOX - 1 <= extent <= BOX and max(abs(y - SIZE // 2), abs(x - SIZE // 2)) <= 0.6)


def fills_the_frame(image: np.ndarray) -> bool:
    """Return whether a grey image has the form of KMNIST and Fashion-MNIST already.

    28x28, light on dark: at least three of its corners are below 64.
    """
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    return image.shape == (SIZE, SIZE) and bool((corners < 64).sum() >= 3) and image.max() >= 64


def is_coarse(image: np.ndarray) -> bool:
    """Return whether a grey image has the form of scikit-learn's enlarged digits already.

    As ``fills_the_frame``, with ink in the first and the last row, and a fifth of it exactly 0.
    """
    return bool(
        fills_the_frame(image)
        and min(image[0].max(), image[-1].max()) >= 40
        and (image == 0).mean() >= 0.2
    )


# The data sets that pictures can be prepared for, and the test for their form.
FORMS = {
    "mnist": has_the_form,
    "digits": is_coarse,
    "kmnist": fills_the_frame,
    "fashion-mnist": fills_the_frame,
}


def centre_of_mass(image: np.ndarray) -> tuple[float, float]:
    """Return (row, column), weighted by the pixels, whose sum must be positive."""
    rows, columns = image.sum(axis=1, dtype=np.float64), image.sum(axis=0, dtype=np.float64)
    total = rows.sum()
    return (
        float(rows @ np.arange(len(rows)) / total),
        float(columns @ np.arange(len(columns)) / total),
    )


def _digit(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the pixels of the one digit, and how many parts do not belong to it.

    The largest part belongs to the digit. Another part is a second digit if it is at least LARGE
    times as high and lies beside, above or below the first. A part nearby belongs to the first
    digit. Raises DigitError for a second digit, and for a distant part of at least SECOND: it may
    be another digit, or a stroke that a glare has cut off.
    """
    labels, parts = paper.components(mask)
    own, others = [parts[0]], 0
    digits = 1
    first = parts[0]
    for part in parts[1:]:
        if part.height >= LARGE * first.height and _apart(first, part):
            digits += 1
        elif min(_gap(part, one) for one in own) <= NEAR * first.extent:
            own.append(part)
        elif part.extent >= SECOND * first.extent:
            raise DigitError(
                "beside the digit there is another mark, too large for a speck. Cut the picture to "
                "one digit; if light or glare has broken a stroke, take the picture again."
            )
        else:
            others += 1
    if digits > 1:
        raise DigitError(f"{digits} digits are visible, not one. Cut the picture to one digit.")
    return np.isin(labels, [part.label for part in own]) & mask, others


def _gap(a: paper.Part, b: paper.Part) -> int:
    """Return the distance of two boxes, along the axis where it is larger."""
    down = max(a.top, b.top) - min(a.bottom, b.bottom)
    across = max(a.left, b.left) - min(a.right, b.right)
    return max(down, across, 0)


def _apart(a: paper.Part, b: paper.Part) -> bool:
    """Return whether one box lies beside, above or below the other, with hardly an overlap."""
    across = min(a.right, b.right) - max(a.left, b.left)
    down = min(a.bottom, b.bottom) - max(a.top, b.top)
    return across < 0.2 * min(a.width, b.width) or down < 0


def fit(density: np.ndarray, box: int = BOX) -> np.ndarray:
    """Return (rows, columns), the longer side ``box``, the shorter in proportion, at least 1."""
    h, w = density.shape
    longest = max(h, w)
    rows, columns = (max(int(n * box / longest + 0.5), 1) for n in (h, w))
    return _weights(h, rows) @ density @ _weights(w, columns).T


def _weights(n: int, out: int) -> np.ndarray:
    """Return (out, n), rows of sum 1: means over areas to make smaller, bilinear to enlarge.

    Pixel i of ``out`` covers i * n/out to (i+1) * n/out. When enlarging, its middle lies between
    the middles of two pixels, and the nearer one has the larger weight. Beyond the outermost
    middle, only the outermost pixel counts.
    """
    weights = np.zeros((out, n))
    step = n / out
    for i in range(out):
        if step >= 1:
            for k in range(int(i * step), min(-int(-(i + 1) * step // 1), n)):
                weights[i, k] = max(min(k + 1, (i + 1) * step) - max(k, i * step), 0) / step
        else:
            middle = min(max((i + 0.5) * step - 0.5, 0), n - 1)
            k = min(int(middle), n - 2) if n > 1 else 0
            weights[i, k] += 1 - (middle - k)
            if n > 1:
                weights[i, k + 1] += middle - k
    return weights


def _whole(density: np.ndarray) -> np.ndarray:
    """Return uint8. The densest pixel becomes 255, even if the ink is faint, as of a thin pen."""
    return np.floor(density * (255 / density.max()) + 0.5 + TIE).astype(np.uint8)


def centre(density: np.ndarray) -> np.ndarray:
    """Return (28, 28) uint8 with the centre of mass at row 14, column 14, rounded."""
    h, w = density.shape
    image = _whole(density)
    y, x = centre_of_mass(image)
    top, left = (
        min(max(SIZE // 2 - int(np.floor(at + 0.5)), 0), SIZE - n) for at, n in ((y, h), (x, w))
    )
    out = np.zeros((SIZE, SIZE), np.uint8)
    out[top : top + h, left : left + w] = image
    return out


def framed(image: np.ndarray, side: int) -> np.ndarray:
    """Return (side, side) with ``image`` in the middle, on 0."""
    h, w = image.shape
    top, left = (side - h) // 2, (side - w) // 2
    out = np.zeros((side, side), image.dtype)
    out[top : top + h, left : left + w] = image
    return out


def widened(density: np.ndarray) -> np.ndarray:
    """Return strokes of at least PEN / 32 of the longer side, by a maximum over a window.

    A stroke of thickness t and length l has the area t * l and edges of length 2 * l. So t is twice
    the area, divided by the length of the edges.
    """
    from scipy import ndimage

    ink = np.pad(density >= density.max() / 2, 1)
    edges = (ink[1:] != ink[:-1]).sum() + (ink[:, 1:] != ink[:, :-1]).sum()
    missing = PEN / (4 * COARSE) * max(density.shape) - 2 * ink.sum() / edges
    half = int(missing / 2 + 0.5)
    if half <= 0:
        return density
    return ndimage.maximum_filter(np.pad(density, half), 2 * half + 1, mode="nearest")


def coarse(density: np.ndarray) -> np.ndarray:
    """Return (28, 28) uint8 of up to 32x32: black and white, counted in blocks, enlarged."""
    ink = framed(density >= density.max() / 2 - TIE, 4 * COARSE)
    counts = ink.reshape(COARSE, 4, COARSE, 4).sum(axis=(1, 3))
    return enlarged(np.floor(counts * (255 / 16) + 0.5).astype(np.uint8))

"""Winograd's convolution between two batch norms, band by band.

A band is some rows of tiles, of one image or of a few. Channels come last, so the pixels that it
writes lie in one piece of memory, and those that it reads, a row above and below more, in another.
What comes before and after the convolution is then a loop over such a piece, while that is in the
cache of the core that needs it, and not a pass over all images:

    forward   z = max(norm(x), 0)       over what the band reads, into a buffer that stays near
              y = z * weight            by the tiles of conv_winograd.py
              the moments of y          over what the band wrote
    backward  dy = the norm's gradient  over what the band reads, into a buffer
              z = max(norm(x), 0)       once more, into a buffer
              dweight += z * dy         by tiles
              dx = dy * turned weight   by tiles
              dx = 0 where z is 0       over what the band wrote, with the sums for the norm

So z and dy are never stored. Bands, and the ranges of bands that share the sums of a dweight,
depend on the shapes alone: results do not depend on the number of threads.

For 3x3 convolutions of stride 1 that keep the size, with channels that fill vectors. The
frequencies of a tile lie together, (tile, frequency, channel): to write 36 vectors that are far
from each other takes twice as long, for the addresses of so many pages are not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minicnn.backend import empty, nchw, nhwc
from minicnn.kernels import conv_winograd as winograd
from minicnn.kernels.panels import unpack
from minicnn.kernels.parallel import TASKS
from minicnn.kernels.simd import lanes_of
from minicnn.kernels.tile import ROWS
from minicnn.kernels.winograd_strips import LINE, run_backward, run_forward
from minicnn.kernels.winograd_transforms import GG, IN, ONES, OUT
from minicnn.kernels.winograd_weights import frequencies, times
from minicnn.ops import conv2d
from minicnn.windows import conv_windows

BAND = 2**17  # bytes that a band writes, unless a row of tiles is more
NEAR = 2**18  # bytes of frequencies that are worked on at a time
TILES = 32  # that are taken together at least: all weights are read for them


def suits(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
) -> bool:
    """Return whether the convolution is one that this file can do, and does fast."""
    if (
        not isinstance(x, np.ndarray)
        or x.ndim != 4
        or weight.shape[1:] != (x.shape[1], 3, 3)
        or not x.size
    ):
        return False
    if x.dtype.kind != "f" or any(a.dtype != x.dtype for a in (weight, bias) if a is not None):
        return False
    g = conv_windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    if (g.top, g.left, g.oh, g.ow) != (1, 1, g.h, g.w) or not winograd.eligible(g, groups):
        return False
    ways = conv2d.algorithm(x.shape, weight.shape, stride, padding, dilation, groups)
    lanes = lanes_of(x.dtype)
    return set(ways) == {"winograd"} and x.shape[1] % lanes == weight.shape[0] % lanes == 0


class _Cut(NamedTuple):
    """How the images (n, h, w) are cut."""

    rows: int  # of tiles in a band
    bands: int
    tiles: int  # that are taken together


def _cut(x: np.ndarray, channels: int) -> _Cut:
    n, c, h, w = x.shape
    high, wide = -(-h // OUT), -(-w // OUT)
    widest = max(c, channels)
    count = BAND // (OUT * w * widest * x.itemsize)
    count = max(1, min(max(count, -(-TILES // wide)), n * high // TASKS))
    tiles = max(TILES, NEAR // (IN * IN * (c + channels) * x.itemsize))
    tiles = max(ROWS, min(tiles, count * wide + ROWS - 1) // ROWS * ROWS)
    return _Cut(count, -(-n * high // count), tiles)


def _lines(
    center: np.ndarray, factor: np.ndarray, *others: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Return the center, factors and the shift of a map, (c,) each, as lines one below the other.

    The shift takes what the center loses where dtype is the shorter: the map is the same.
    """
    *factors, shift = factor, *others
    near = center.astype(dtype)
    shift = shift + factors[-1] * (near - center)
    rows = np.stack([near, *factors, shift]).astype(dtype)
    return np.tile(rows, max(1, LINE // near.size))


def forward(
    x: np.ndarray,
    before: tuple[np.ndarray, ...] | None,
    weight: np.ndarray,
    bias: np.ndarray | None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return y, and its mean and variance by channel.

    ``before`` is the center, scale and shift of the norm and ReLU that x goes through first.
    """
    o = weight.shape[0]
    cut = _cut(x, o)
    lines = _lines(*before, dtype=x.dtype) if before else np.empty((3, 0), x.dtype)
    start = np.zeros((IN * IN, o), x.dtype)
    if bias is not None:
        start += ONES[:, None] * bias
    moments = np.empty((cut.bands, 4, o))
    y = empty((x.shape[0], *x.shape[2:], o), x.dtype)
    run_forward(
        cut.bands, nhwc(x), lines, y, frequencies(weight, turn=False),
        start.reshape(-1), moments, cut.rows, cut.tiles,
    )  # fmt: skip
    return nchw(y), _merge(moments)


def _merge(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of all bands together (Chan, Golub & LeVeque, 1983)."""
    first, sums, squares, counts = moments.transpose(1, 0, 2)
    means, total = first + sums / counts, counts.sum(axis=0)
    mean = (counts * means).sum(axis=0) / total
    within, between = squares - sums**2 / counts, counts * (means - mean) ** 2
    return mean, np.maximum(within + between, 0).sum(axis=0) / total


class Gradients(NamedTuple):
    dx: np.ndarray
    dweight: np.ndarray | None
    sums: np.ndarray  # (2, c): of dx, and of dx * (x - center)


def backward(
    g: np.ndarray,
    y: np.ndarray,
    after: tuple[np.ndarray, ...],
    x: np.ndarray,
    before: tuple[np.ndarray, ...] | None,
    weight: np.ndarray,
    residual: np.ndarray | None,
    *,
    param_grad: bool = True,
) -> Gradients:
    """Return the gradients of forward, from ``g`` behind the norm that follows y.

    ``after`` is its center, scale, slope and shift: see batch_norm.slopes. Where there was a norm
    ``before``, dx is the gradient behind that, before which there was a ReLU; else ``residual`` is
    added to dx.
    """
    (n, c), o = x.shape[:2], weight.shape[0]
    cut = _cut(x, o)
    ranges = max(1, min(cut.bands, TASKS, 2**22 // (IN * IN * c * o)))
    lines = _lines(*before, dtype=x.dtype) if before else np.empty((3, 0), x.dtype)
    sums = np.empty((ranges, 2, lines.shape[1]))
    dweight = np.empty((ranges, IN * IN * c * o if param_grad else 0), x.dtype)
    dx = empty((n, *x.shape[2:], c), x.dtype)
    added = np.empty(0, x.dtype) if residual is None else nhwc(residual).reshape(-1)
    run_backward(
        ranges, nhwc(g), nhwc(y), _lines(*after, dtype=x.dtype), nhwc(x), lines, added,
        (frequencies(weight, turn=True), np.zeros(IN * IN * c, x.dtype)), (dx, dweight, sums),
        (cut.rows, cut.tiles),
    )  # fmt: skip
    whole = None
    if param_grad:
        panels = times(GG.T, dweight, c).reshape(1, 1, -1)
        whole = unpack(panels, weight.shape)
    sums = sums.sum(axis=0).reshape(2, -1, c).sum(axis=1)
    if before:
        sums[1] += sums[0] * (lines[0, :c] - before[0])  # as if by the center itself
    return Gradients(nchw(dx), whole, sums)

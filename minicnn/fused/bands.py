"""Winograd's convolution between two batch norms, band by band.

A band is some rows of tiles, of one image or of a few. Channels come last, so the pixels that it
writes lie in one piece of memory, and those that it reads, a row above and below more, in another.
What comes before and after the convolution is then a loop over such a piece, while that is in the
cache of the core that needs it, and not a pass over all images:

    forward   z = max(norm(x), 0)       over what the band reads, into a buffer that stays near
              y = z * weight            by winograd.py's tiles
              the moments of y          over what the band wrote
    backward  dy = the norm's gradient  over what the band reads, into a buffer
              z = max(norm(x), 0)       once more, into a buffer
              dweight += z * dy         by tiles
              dx = dy * turned weight   by tiles
              dx = 0 where z is 0       over what the band wrote, with the sums for the norm

So z and dy are never stored. Bands, and the ranges of bands that share the sums of a dweight,
depend on the shapes alone: results do not depend on the number of threads.

For 3x3 convolutions of stride 1 that keep the size, with channels that fill vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import prange

from minicnn.backend import empty, kernel, nchw, nhwc
from minicnn.ops import batch_norm, conv2d
from minicnn.ops.conv2d import winograd
from minicnn.ops.conv2d.direct import TASKS, unpack
from minicnn.ops.conv2d.strided import fresh1, fresh2, more1, more2
from minicnn.ops.conv2d.tile import ROWS, lanes_of
from minicnn.ops.conv2d.winograd import (
    GG,
    IN,
    ONE,
    OUT,
    _next,
    _transform_gradients,
    _transform_inputs,
    _transform_outputs,
    _write_patch,
)
from minicnn.windows import conv_windows

BAND = 2**17 # bytes that a band writes, unless a row of tiles is more
NEAR = 2**18  # bytes of frequencies
LINE = 512  # numbers in a line, about
FEW = 16  # lines that are summed before they enter a sum in float64


# ------------------------------------------------------------------------- over a piece of memory
# Numbers of a channel repeat along ``lines``, as the channels do along the memory.


@kernel(reorder=False)
def _normalise(x, lines, z):
    """z = max(scale * (x - center) + shift, 0)."""
    center, scale, shift = lines[0], lines[1], lines[2]
    width = center.size
    for j in range((x.size + width - 1) // width):
        row, out = x[j * width : (j + 1) * width], z[j * width : (j + 1) * width]
        for e in range(row.size):
            value = scale[e] * (row[e] - center[e]) + shift[e]
            out[e] = 0 if value <= 0 else value


@kernel(reorder=False)
def _differentiate(g, y, lines, dy):
    """dy = scale * g + slope * (y - center) + shift."""
    center, scale, slope, shift = lines[0], lines[1], lines[2], lines[3]
    width = center.size
    for j in range((g.size + width - 1) // width):
        grad, row = g[j * width : (j + 1) * width], y[j * width : (j + 1) * width]
        out = dy[j * width : (j + 1) * width]
        for e in range(grad.size):
            out[e] = scale[e] * grad[e] + slope[e] * (row[e] - center[e]) + shift[e]


@kernel(reorder=False)
def _moments(y, moments):
    """Write into moments (4, c) of each channel the first number, the sums of the differences from
    it and of their squares, and the count. The first is near the mean, so no digits are lost."""
    c = moments.shape[1]
    repeats = max(1, LINE // c)
    width = repeats * c
    sums, near = np.zeros((2, width)), np.zeros((2, width), y.dtype)
    first, total, squares = np.empty(width, y.dtype), near[0], near[1]
    for r in range(repeats):
        first[r * c : (r + 1) * c] = y[:c]
    lines = (y.size + width - 1) // width
    for j in range(lines):
        row = y[j * width : (j + 1) * width]
        for e in range(row.size):
            difference = row[e] - first[e]
            total[e] += difference
            squares[e] += difference * difference
        if j % FEW == FEW - 1 or j == lines - 1:
            _move(near, sums)
    moments[0], moments[1], moments[2], moments[3] = y[:c], 0, 0, y.size // c
    for r in range(repeats):
        for e in range(c):
            moments[1, e] += sums[0, r * c + e]
            moments[2, e] += sums[1, r * c + e]


@kernel(reorder=False)
def _mask_and_add(z, x, center, dx, sums):
    """dx = 0 where z is 0; add dx and dx * (x - center) into sums (2, line)."""
    width = center.size
    near = np.zeros((2, width), x.dtype)
    total, products = near[0], near[1]
    lines = (dx.size + width - 1) // width
    for j in range(lines):
        row, grad = x[j * width : (j + 1) * width], dx[j * width : (j + 1) * width]
        out = z[j * width : (j + 1) * width]
        for e in range(grad.size):
            grad[e] = 0 if out[e] <= 0 else grad[e]
        for e in range(grad.size):
            total[e] += grad[e]
            products[e] += grad[e] * (row[e] - center[e])
        if j % FEW == FEW - 1 or j == lines - 1:
            _move(near, sums)


@kernel
def _move(near, sums):
    """Add sums of a few lines to those in float64, and begin anew."""
    for i in range(near.shape[0]):
        few, all_ = near[i], sums[i]
        for e in range(few.size):
            all_[e] += few[e]
            few[e] = 0


@kernel
def _add(dx, residual):
    for e in range(dx.size):
        dx[e] += residual[e]


# --------------------------------------------------------------------------------- over the tiles


@kernel
def _reach(first, last, high, h, halo):
    """Return the rows of pixels, counted over all images, that rows of tiles reach."""
    lo = max(0, first % high * OUT - halo)
    hi = min(h, (last - 1) % high * OUT + OUT + halo)
    return first // high * h + lo, (last - 1) // high * h + hi


@kernel
def _aligned(size, dtype, lanes):
    """Return an empty vector that begins where a line of the cache does."""
    array = np.empty(size + lanes, dtype)
    return array[-(array.ctypes.data // array.itemsize) % lanes :]


@kernel
def _read(source, origin, h, w, c, t0, t1, v, step, lanes):
    """Transform the inputs of the tiles from t0 to t1 into v (tile, frequency, c).

    ``source`` is images (h, w, c) from the address ``origin`` on, ``step`` from tile to tile.
    """
    high, wide = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT - 1, j * OUT - 1
        for e in range(0, c, lanes):
            _transform_inputs(
                source, ((m * h + row) * w + column) * c + e - origin, w * c, c,
                -row, h - row, -column, w - column, v, t * step + e, IN * c, c,
            )  # fmt: skip
        m, i, j = _next(m, i, j, high, wide)


@kernel
def _convolve(source, origin, c, y, weights, start, first, last, v, freq, tiles, lanes):
    """Convolve the rows of tiles from ``first`` to ``last`` into y (n, h, w, o)."""
    h, w, o = y.shape[1:]
    high, wide = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
    step, out_step = IN * IN * c + lanes, IN * IN * o + lanes
    patch = np.empty(OUT * OUT * o, y.dtype)
    flat = y.reshape(-1)
    for t0 in range(first * wide, last * wide, tiles):
        t1 = min(t0 + tiles, last * wide)
        _read(source, origin, h, w, c, t0, t1, v, step, lanes)
        idle = (t0 - t1) % ROWS  # rows of registers without a tile
        v[(t1 - t0) * step : (t1 - t0 + idle) * step] = 0
        for f in range(IN * IN):
            for e in range(0, o, 2 * lanes):
                bs = min(2 * lanes, o - e)
                for t in range(0, t1 - t0, ROWS):
                    if bs > lanes:
                        fresh2(
                            freq, t * out_step + f * o + e, out_step, start, f * o + e,
                            v, t * step + f * c, step, 1, c, weights, (IN * IN * e + f * bs) * c, bs,
                        )  # fmt: skip
                    else:
                        fresh1(
                            freq, t * out_step + f * o + e, out_step, start, f * o + e,
                            v, t * step + f * c, step, 1, c, weights, (IN * IN * e + f * bs) * c, bs,
                        )  # fmt: skip
        m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
        for t in range(t1 - t0):
            row, column = i * OUT, j * OUT
            inside = row + OUT <= h and column + OUT <= w
            for e in range(0, o, lanes):
                _transform_outputs(
                    freq, t * out_step + e, IN * o, o, 0, IN, 0, IN,
                    flat if inside else patch,
                    ((m * h + row) * w + column) * o + e if inside else e,
                    (w if inside else OUT) * o, o,
                )  # fmt: skip
            if not inside:
                _write_patch(patch, o, y[m], row, column)
            m, i, j = _next(m, i, j, high, wide)


@kernel
def _add_weights(z, origin, h, w, c, dy, dy_origin, o, sums, first, last, v, d, tiles, lanes):
    """Add z times dy over the rows of tiles from ``first`` to ``last`` into sums (panels)."""
    high, wide = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
    step, out_step = IN * IN * c + lanes, IN * IN * o + lanes
    for t0 in range(first * wide, last * wide, tiles):
        t1 = min(t0 + tiles, last * wide)
        _read(z, origin, h, w, c, t0, t1, v, step, lanes)
        m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
        for t in range(t1 - t0):
            row, column = i * OUT, j * OUT
            for e in range(0, o, lanes):
                _transform_gradients(
                    dy, ((m * h + row) * w + column) * o + e - dy_origin, w * o, o,
                    0, h - row, 0, w - column, d, t * out_step + e, IN * o, o,
                )  # fmt: skip
            m, i, j = _next(m, i, j, high, wide)
        for f in range(IN * IN):
            for e in range(0, o, 2 * lanes):
                bs = min(2 * lanes, o - e)
                for row in range(0, c, ROWS):
                    at = (IN * IN * e + f * bs) * c + row * bs
                    if bs > lanes:
                        more2(
                            sums, at, bs, sums, 0, v, f * c + row, 1, step, t1 - t0,
                            d, f * o + e, out_step,
                        )  # fmt: skip
                    else:
                        more1(
                            sums, at, bs, sums, 0, v, f * c + row, 1, step, t1 - t0,
                            d, f * o + e, out_step,
                        )  # fmt: skip


# ------------------------------------------------------------------------------------- the kernels


@kernel
def _forward_task(band, x, lines, y, weights, start, moments, count, tiles, lanes):
    """One task of _forward."""
    n, h, w, c = x.shape
    high, o = (h + OUT - 1) // OUT, y.shape[3]
    first, last = band * count, min((band + 1) * count, n * high)
    source, origin = x.reshape(-1), 0
    if lines.shape[1]:
        lo, hi = _reach(first, last, high, h, 1)
        near = _aligned((hi - lo) * w * c, x.dtype, lanes)
        _normalise(source[lo * w * c : hi * w * c], lines, near)
        source, origin = near, lo * w * c
    v = _aligned(tiles * (IN * IN * c + lanes), x.dtype, lanes)
    freq = _aligned(tiles * (IN * IN * o + lanes), x.dtype, lanes)
    _convolve(source, origin, c, y, weights, start, first, last, v, freq, tiles, lanes)
    lo, hi = _reach(first, last, high, h, 0)
    _moments(y.reshape(-1)[lo * w * o : hi * w * o], moments[band])


@kernel(parallel=True)
def _forward(bands, x, lines, y, weights, start, moments, count, tiles, lanes):
    """Convolve x (n, h, w, c), normalised by ``lines`` (3, line) if there are any, into y.

    A band has ``count`` rows of tiles, and moments (bands, 4, o).
    """
    for band in prange(bands):
        _forward_task(np.int64(band), x, lines, y, weights, start, moments, count, tiles, lanes)


@kernel
def _backward_task(
    r, g, y, after, x, before, residual, weights, start, dweight, dx, sums, count, tiles, lanes
):
    """One task of _backward."""
    n, h, w, c = x.shape
    high, o = (h + OUT - 1) // OUT, y.shape[3]
    total, ranges = n * high, dweight.shape[0]
    bands = (total + count - 1) // count
    pixels, out = x.reshape(-1), dx.reshape(-1)
    dweight[r] = 0
    sums[r] = 0
    most = min(n * h, count * OUT + 2)  # rows of pixels that a band reads
    dy = _aligned(most * w * o, x.dtype, lanes)
    near = _aligned(most * w * c if before.shape[1] else 0, x.dtype, lanes)
    v = _aligned(tiles * (IN * IN * max(c, o) + lanes), x.dtype, lanes)
    freq = _aligned(tiles * (IN * IN * max(c, o) + lanes), x.dtype, lanes)
    grad, behind = g.reshape(-1), y.reshape(-1)
    for band in range(r * bands // ranges, (r + 1) * bands // ranges):
        first, last = band * count, min((band + 1) * count, total)
        lo, hi = _reach(first, last, high, h, 1)
        _differentiate(grad[lo * w * o : hi * w * o], behind[lo * w * o : hi * w * o], after, dy)
        z, origin = pixels, 0
        if before.shape[1]:
            _normalise(pixels[lo * w * c : hi * w * c], before, near)
            z, origin = near, lo * w * c
        _add_weights(
            z, origin, h, w, c, dy, lo * w * o, o, dweight[r], first, last, v, freq, tiles, lanes
        )  # fmt: skip
        _convolve(dy, lo * w * o, o, dx, weights, start, first, last, v, freq, tiles, lanes)
        lo, hi = _reach(first, last, high, h, 0)
        lo, hi = lo * w * c, hi * w * c
        if before.shape[1]:
            _mask_and_add(z[lo - origin :], pixels[lo:hi], before[0], out[lo:hi], sums[r])
        elif residual.size:
            _add(out[lo:hi], residual[lo:hi])


@kernel(parallel=True)
def _backward(
    tasks, g, y, after, x, before, residual, weights, start, dweight, dx, sums, count, tiles, lanes
):
    """Fill dx, dweight (ranges, panels) and sums (ranges, 2, line), each range from its bands."""
    for r in prange(tasks):
        _backward_task(
            np.int64(r), g, y, after, x, before, residual, weights, start, dweight, dx, sums,
            count, tiles, lanes,
        )  # fmt: skip


# -------------------------------------------------------------------------------------- interface


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
    if x.ndim != 4 or weight.shape[1:] != (x.shape[1], 3, 3) or not x.size:
        return False
    if x.dtype.kind != "f" or any(a.dtype != x.dtype for a in (weight, bias) if a is not None):
        return False
    g = conv_windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    if (g.top, g.left, g.oh, g.ow) != (1, 1, g.h, g.w) or not winograd.eligible(g, groups):
        return False
    ways = conv2d.algorithm(x.shape, weight.shape, stride, padding, dilation, groups)  # type: ignore[arg-type]
    lanes = lanes_of(x.dtype)
    return set(ways) == {"winograd"} and x.shape[1] % lanes == weight.shape[0] % lanes == 0


class _Cut(NamedTuple):
    """How the images (n, h, w) are cut."""

    count: int  # rows of tiles in a band
    bands: int
    tiles: int  # that are taken together


def _cut(x: np.ndarray, channels: int) -> _Cut:
    n, c, h, w = x.shape
    high, wide = -(-h // OUT), -(-w // OUT)
    widest = max(c, channels)
    count = BAND // (OUT * w * widest * x.itemsize)
    count = max(1, min(count, n * high // TASKS))
    tiles = NEAR // (IN * IN * (c + channels) * x.itemsize)
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
    rows = [batch_norm.as_line(row) for row in (near, *factors, shift)]
    return np.stack(rows).astype(dtype)


def forward(
    x: np.ndarray,
    before: tuple[np.ndarray, ...] | None,
    weight: np.ndarray,
    bias: np.ndarray | None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return y, and its mean and variance by channel.

    ``before`` is the center, scale and shift of the norm and ReLU that x goes through first.
    """
    o, lanes = weight.shape[0], lanes_of(x.dtype)
    cut = _cut(x, o)
    lines = _lines(*before, dtype=x.dtype) if before else np.empty((3, 0), x.dtype)
    start = np.zeros((IN * IN, o), x.dtype)
    if bias is not None:
        start += np.kron(ONE, ONE)[:, None] * bias
    moments = np.empty((cut.bands, 4, o))
    y = empty((x.shape[0], *x.shape[2:], o), x.dtype)
    _forward(
        cut.bands, nhwc(x), lines, y, winograd._frequencies(weight, turn=False),
        start.reshape(-1), moments, cut.count, cut.tiles, lanes,
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
    dweight: np.ndarray
    sums: np.ndarray  # (2, c): of dx, and of dx * (x - center)


def backward(
    g: np.ndarray,
    y: np.ndarray,
    after: tuple[np.ndarray, ...],
    x: np.ndarray,
    before: tuple[np.ndarray, ...] | None,
    weight: np.ndarray,
    residual: np.ndarray | None,
) -> Gradients:
    """Return the gradients of forward, from ``g`` behind the norm that follows y.

    ``after`` is its center, scale, slope and shift: see batch_norm.slopes. Where there was a norm
    ``before``, dx is the gradient behind that, before which there was a ReLU; else ``residual`` is
    added to dx.
    """
    (n, c), o, lanes = x.shape[:2], weight.shape[0], lanes_of(x.dtype)
    cut = _cut(x, o)
    ranges = max(1, min(cut.bands, TASKS, 2**22 // (IN * IN * c * o)))
    lines = _lines(*before, dtype=x.dtype) if before else np.empty((3, 0), x.dtype)
    sums = np.empty((ranges, 2, lines.shape[1]))
    dweight = np.empty((ranges, IN * IN * c * o), x.dtype)
    dx = empty((n, *x.shape[2:], c), x.dtype)
    added = np.empty(0, x.dtype) if residual is None else nhwc(residual).reshape(-1)
    _backward(
        ranges, nhwc(g), nhwc(y), _lines(*after, dtype=x.dtype), nhwc(x), lines, added,
        winograd._frequencies(weight, turn=True), np.zeros(IN * IN * c, x.dtype), dweight, dx,
        sums, cut.count, cut.tiles, lanes,
    )  # fmt: skip
    panels = winograd._times(GG.T, dweight, c).reshape(1, 1, -1)
    sums = sums.sum(axis=0).reshape(2, -1, c).sum(axis=1)
    if before:
        sums[1] += sums[0] * (lines[0, :c] - before[0])  # as if by the center itself
    return Gradients(nchw(dx), unpack(panels, weight.shape), sums)

"""The loops of fused/bands.py: over pieces of memory, over tiles, and over bands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.conv_winograd import _next, _write_patch
from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import ONE, TWO, lanes_in
from minicnn.kernels.simd_rows import Patch
from minicnn.kernels.tile import ROWS, fill
from minicnn.kernels.tile_at_steps import EvenLeft, EvenSums, Right, fresh, more
from minicnn.kernels.winograd_transforms import (
    IN,
    OUT,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)

LINE = 512  # numbers in a line, about
FEW = 16  # lines that are summed before they enter a sum in float64


# ------------------------------------------------------------------------- over a piece of memory
# Numbers of a channel repeat along ``lines``, as the channels do along the memory.


@inner(reorder=False)
def _normalise(x, lines, z):
    """z = max(scale * (x - center) + shift, 0)."""
    center, scale, shift = lines[0], lines[1], lines[2]
    width = center.size
    for j in range((x.size + width - 1) // width):
        row, out = x[j * width : (j + 1) * width], z[j * width : (j + 1) * width]
        for e in range(row.size):
            value = scale[e] * (row[e] - center[e]) + shift[e]
            out[e] = 0 if value <= 0 else value


@inner(reorder=False)
def _differentiate(g, y, lines, dy):
    """dy = scale * g + slope * (y - center) + shift."""
    center, scale, slope, shift = lines[0], lines[1], lines[2], lines[3]
    width = center.size
    for j in range((g.size + width - 1) // width):
        grad, row = g[j * width : (j + 1) * width], y[j * width : (j + 1) * width]
        out = dy[j * width : (j + 1) * width]
        for e in range(grad.size):
            out[e] = scale[e] * grad[e] + slope[e] * (row[e] - center[e]) + shift[e]


@inner(allocates=True, reorder=False)
def _moments(y, moments):
    """Write into moments (4, c) of each channel the first number, the sums of the differences from
    it and of their squares, and the count. The first is near the mean, so no digits are lost."""
    c = moments.shape[1]
    width = max(1, LINE // c) * c
    sums, near = np.zeros((2, width)), np.zeros((2, width), y.dtype)
    first, total, squares = np.empty(width, y.dtype), near[0], near[1]
    for e in range(width):
        first[e] = y[e % c]
    lines = (y.size + width - 1) // width
    for j in range(lines):
        row = y[j * width : (j + 1) * width]
        for e in range(row.size):
            difference = row[e] - first[e]
            total[e] += difference
            squares[e] += difference * difference
        if j % FEW == FEW - 1 or j == lines - 1:
            _move(near, sums)
    for e in range(c):
        moments[0, e], moments[1, e], moments[2, e], moments[3, e] = y[e], 0, 0, y.size // c
    for e in range(width):
        moments[1, e % c] += sums[0, e]
        moments[2, e % c] += sums[1, e]


@inner(allocates=True, reorder=False)
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


@inner
def _move(near, sums):
    """Add sums of a few lines to those in float64, and begin anew."""
    for i in range(near.shape[0]):
        few, all_ = near[i], sums[i]
        for e in range(few.size):
            all_[e] += few[e]
            few[e] = 0


@inner
def _add(dx, residual):
    for e in range(dx.size):
        dx[e] += residual[e]


# --------------------------------------------------------------------------------- over the tiles


@inner
def _reach(first, last, high, h, halo):
    """Return the rows of pixels, counted over all images, that rows of tiles reach."""
    lo = max(0, first % high * OUT - halo)
    hi = min(h, (last - 1) % high * OUT + OUT + halo)
    return first // high * h + lo, (last - 1) // high * h + hi


@inner(allocates=True)
def _aligned(size, dtype, lanes):
    """Return an empty vector that begins where a line of the cache does."""
    array = np.empty(size + lanes, dtype)
    return array[-(array.ctypes.data // array.itemsize) % lanes :]


class Strip(NamedTuple):
    """Pixels of a strip of images: pixel 0 of image 0 would lie at ``-origin``."""

    array: np.ndarray
    origin: int
    channels: int


class Room(NamedTuple):
    """What a thread works in: the frequencies of some tiles, before and after, and a patch."""

    v: np.ndarray
    products: np.ndarray
    patch: np.ndarray
    tiles: int  # that are taken together


@inner(inline=True)
def _tile(t, high, wide):
    """Return image, row and column of tile t."""
    return t // (high * wide), t // wide % high, t % wide


@inner
def _read(strip, size, t0, t1, v, lanes):
    """Transform the inputs of the tiles from t0 to t1, of images of this size, into v."""
    (h, w), c = size, strip.channels
    high, wide, step = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT, IN * IN * c + lanes
    m, i, j = _tile(t0, high, wide)
    for t in range(t1 - t0):
        row, column = i * OUT - 1, j * OUT - 1
        for e in range(0, c, lanes):
            first = ((m * h + row) * w + column) * c + e - strip.origin
            seen = Patch(first, w * c, c, -row, h - row, -column, w - column)
            transform_inputs(strip.array, seen, v, (t * step + e, IN * c, c))
        m, i, j = _next(m, i, j, high, wide)


@inner
def _convolve(strip, y, weights, start, rows, room, lanes):
    """Convolve some rows of tiles of a strip into y (n, h, w, o)."""
    h, w, o = y.shape[1:]
    high, wide, c = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT, strip.channels
    step, out_step = IN * IN * c + lanes, IN * IN * o + lanes
    v, products, patch, tiles = room
    flat = y.reshape(-1)
    for t0 in range(rows[0] * wide, rows[1] * wide, tiles):
        t1 = min(t0 + tiles, rows[1] * wide)
        _read(strip, (h, w), t0, t1, v, lanes)
        for f in range(IN * IN):
            for e in range(0, o, 2 * lanes):
                bs = min(2 * lanes, o - e)
                panel = (IN * IN * e + f * bs) * c
                sums = EvenSums(products, f * o + e, out_step)
                left, right = EvenLeft(v, f * c, step, 1), Right(weights, panel, bs)
                for t in range(0, t1 - t0, ROWS):
                    if bs > lanes:
                        fresh(sums, start, f * o + e, left, right, t, t1 - t0 - 1, c, TWO)
                    else:
                        fresh(sums, start, f * o + e, left, right, t, t1 - t0 - 1, c, ONE)
        m, i, j = _tile(t0, high, wide)
        for t in range(t1 - t0):
            row, column = i * OUT, j * OUT
            inside = row + OUT <= h and column + OUT <= w
            for e in range(0, o, lanes):
                whole = Patch(t * out_step + e, IN * o, o, 0, IN, 0, IN)
                at = ((m * h + row) * w + column) * o + e if inside else e
                place = at, (w if inside else OUT) * o, o
                transform_outputs(products, whole, flat if inside else patch, place)
            if not inside:
                _write_patch(patch, o, y[m], row, column, 0, o)
            m, i, j = _next(m, i, j, high, wide)


@inner
def _add_weights(strip, gradient, size, sums, rows, room, lanes):
    """Add a strip times the gradient of its outputs, over rows of tiles, into sums (panels)."""
    (h, w), c, o = size, strip.channels, gradient.channels
    high, wide = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
    step, out_step = IN * IN * c + lanes, IN * IN * o + lanes
    v, d, _, tiles = room
    for t0 in range(rows[0] * wide, rows[1] * wide, tiles):
        t1 = min(t0 + tiles, rows[1] * wide)
        _read(strip, size, t0, t1, v, lanes)
        m, i, j = _tile(t0, high, wide)
        for t in range(t1 - t0):
            row, column = i * OUT, j * OUT
            for e in range(0, o, lanes):
                at = ((m * h + row) * w + column) * o + e - gradient.origin
                seen = Patch(at, w * o, o, 0, h - row, 0, w - column)
                transform_gradients(gradient.array, seen, d, (t * out_step + e, IN * o, o))
            m, i, j = _next(m, i, j, high, wide)
        for f in range(IN * IN):
            for e in range(0, o, 2 * lanes):
                bs = min(2 * lanes, o - e)
                totals = EvenSums(sums, (IN * IN * e + f * bs) * c, bs)
                left, right = EvenLeft(v, f * c, 1, step), Right(d, f * o + e, out_step)
                for row in range(0, c, ROWS):
                    if bs > lanes:
                        more(totals, left, right, row, c - 1, t1 - t0, TWO)
                    else:
                        more(totals, left, right, row, c - 1, t1 - t0, ONE)


# ------------------------------------------------------------------------------------- the kernels


@shared
def run_forward(band, x, lines, y, weights, start, moments, count, tiles):
    """Convolve x (n, h, w, c), normalised by ``lines`` (3, line) if there are any, into y.

    A band has ``count`` rows of tiles, and moments (bands, 4, o).
    """
    (n, h, w, c), lanes = x.shape, lanes_in(x, ONE)
    high, o = (h + OUT - 1) // OUT, y.shape[3]
    first, last = band * count, min((band + 1) * count, n * high)
    source, origin = x.reshape(-1), 0
    if lines.shape[1]:
        lo, hi = _reach(first, last, high, h, 1)
        near = _aligned((hi - lo) * w * c, x.dtype, lanes)
        _normalise(source[lo * w * c : hi * w * c], lines, near)
        source, origin = near, lo * w * c
    v = _aligned(tiles * (IN * IN * c + lanes), x.dtype, lanes)
    products = _aligned(tiles * (IN * IN * o + lanes), x.dtype, lanes)
    room = Room(v, products, np.empty(OUT * OUT * o, x.dtype), tiles)
    _convolve(Strip(source, origin, c), y, weights, start, (first, last), room, lanes)
    lo, hi = _reach(first, last, high, h, 0)
    _moments(y.reshape(-1)[lo * w * o : hi * w * o], moments[band])


@shared
def run_backward(r, g, y, after, x, before, residual, weights, gradients, cut):
    """Fill dx, dweight (ranges, panels) and sums (ranges, 2, line), each range from its bands.

    ``weights`` and what their products begin with are one tuple, these ``gradients`` another. An
    empty dweight (ranges, 0) is not asked for. ``cut``: rows of tiles in a band, and how many tiles
    are taken together.
    """
    (n, h, w, c), lanes = x.shape, lanes_in(x, ONE)
    (weights, start), (dx, dweight, sums), (count, tiles) = weights, gradients, cut
    high, o = (h + OUT - 1) // OUT, y.shape[3]
    total, ranges = n * high, dweight.shape[0]
    bands = (total + count - 1) // count
    pixels, out = x.reshape(-1), dx.reshape(-1)
    fill(dweight[r])
    fill(sums[r, 0])
    fill(sums[r, 1])
    most = min(n * h, count * OUT + 2)  # rows of pixels that a band reads
    dy = _aligned(most * w * o, x.dtype, lanes)
    near = _aligned(most * w * c if before.shape[1] else 0, x.dtype, lanes)
    v = _aligned(tiles * (IN * IN * max(c, o) + lanes), x.dtype, lanes)
    products = _aligned(tiles * (IN * IN * max(c, o) + lanes), x.dtype, lanes)
    room = Room(v, products, np.empty(OUT * OUT * c, x.dtype), tiles)
    grad, behind = g.reshape(-1), y.reshape(-1)
    for band in range(r * bands // ranges, (r + 1) * bands // ranges):
        first, last = band * count, min((band + 1) * count, total)
        lo, hi = _reach(first, last, high, h, 1)
        _differentiate(grad[lo * w * o : hi * w * o], behind[lo * w * o : hi * w * o], after, dy)
        z, origin = pixels, 0
        if before.shape[1]:
            _normalise(pixels[lo * w * c : hi * w * c], before, near)
            z, origin = near, lo * w * c
        rows, gradient = (first, last), Strip(dy, lo * w * o, o)
        if dweight.size:
            _add_weights(Strip(z, origin, c), gradient, (h, w), dweight[r], rows, room, lanes)
        _convolve(gradient, dx, weights, start, rows, room, lanes)
        lo, hi = _reach(first, last, high, h, 0)
        lo, hi = lo * w * c, hi * w * c
        if before.shape[1]:
            _mask_and_add(z[lo - origin :], pixels[lo:hi], before[0], out[lo:hi], sums[r])
        elif residual.size:
            _add(out[lo:hi], residual[lo:hi])

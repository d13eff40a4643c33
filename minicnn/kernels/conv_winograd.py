"""Winograd's convolution F(4x4, 3x3) on all threads: tiles, their products, and the way back.

ops/conv2d/winograd.py has the derivation. The work of a task:

    some tiles    each with the 6 x 6 pixels that it sees, of all channels
    transformed   v[tile, frequency, c]: 36 numbers for each channel (winograd_transforms.py)
    multiplied    of each frequency, tiles x channels times channels x outputs: the tile of tile.py
    and back      4 x 4 outputs of each tile

The frequencies of a task stay in the cache in between.
"""

from __future__ import annotations

import math

import numpy as np

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels.epilogue import finish
from minicnn.kernels.panels import pack, steps_of, turned, unpack
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.simd import filled, lanes_of
from minicnn.kernels.simd_rows import Patch
from minicnn.kernels.tile import ROWS, Left, Right, Sums, copy, fill, product
from minicnn.kernels.winograd_transforms import (
    GG,
    IN,
    ONES,
    OUT,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)
from minicnn.windows import Windows

TILES = 64  # at most that are taken together
FEW = 32  # tiles are not cut, but their outputs
NEAR = 2**19  # bytes of frequencies that are worked on at a time: they should stay in the cache


# ---------------------------------------------------------------------------------------- kernels


@inner
def _read_patch(image, row, column, side, patch, width):
    """Copy a square of image (h, w, c) into patch, ``width`` to a pixel; zeros lie around it."""
    h, w = image.shape[:2]
    fill(patch[: side * side * width])
    for i in range(max(0, -row), min(side, h - row)):
        for j in range(max(0, -column), min(side, w - column)):
            copy(image[row + i, column + j], patch[(i * side + j) * width :])


@inner
def _write_patch(patch, width, image, row, column, first, end):
    """Copy a tile of outputs, ``width`` to a pixel, into image (h, w, c) as far as it reaches.

    They are those of the channels from ``first`` to ``end``.
    """
    h, w = image.shape[:2]
    for i in range(min(OUT, h - row)):
        for j in range(min(OUT, w - column)):
            copy(patch[(i * OUT + j) * width :], image[row + i, column + j][first:end])


@inner
def _next(m, i, j, high, wide):
    """Return the tile after the tile (i, j) of image m. (Divisions would take longer.)"""
    if j + 1 < wide:
        return m, i, j + 1
    if i + 1 < high:
        return m, i + 1, 0
    return m + 1, 0, 0


@inner
def _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes):
    """Transform the inputs of the tiles from t0 to t1 into v[rows[tile] + frequency * stride]."""
    h, w, c = x.shape[1:]
    flat, whole = x.reshape(-1), c == width  # else a vector would reach into the next pixel
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT - top, j * OUT - left
        if not whole:
            _read_patch(x[m], row, column, IN, patch, width)
        for e in range(0, width, lanes):
            seen = Patch(
                ((m * h + row) * w + column) * c + e if whole else e,
                (w if whole else IN) * width, width,
                -row if whole else 0, h - row if whole else IN,
                -column if whole else 0, w - column if whole else IN,
            )  # fmt: skip
            place = rows[t] + e, IN * stride, stride
            transform_inputs(flat if whole else patch, seen, v, place)
        m, i, j = _next(m, i, j, high, wide)


@inner
def _stride(width, lanes):
    """Return the distance of two frequencies, with ROWS tiles between them.

    A power of two would put all the frequencies into the same lines of the cache.
    """
    return ROWS * width + lanes


@inner(allocates=True)
def _rows(tiles, width, lanes):
    """Return the address of each tile: ROWS of them, all their frequencies, the next ROWS."""
    rows = np.empty(tiles, np.int64)
    for t in range(tiles):
        rows[t] = t // ROWS * (IN * IN * _stride(width, lanes)) + t % ROWS * width
    return rows


@inner(allocates=True)
def _multiples(count, step):
    """Return 0, step, 2*step ..."""
    multiples = np.empty(count, np.int64)
    for i in range(count):
        multiples[i] = i * step
    return multiples


@shared
def _correlate(
    task, x, y, top, left, weights, start, width, out_width, tiles, lanes, out, added, floor
):
    """Convolve x (n, h, w, c) into y (n, oh, ow, channels); ``tiles`` are taken together.

    weights are panels of (frequency, c, lanes), start is (frequency, o): what the sums begin with.
    The widths are c and o filled to whole vectors. ``out``: o, the first channel of y that is
    written, and into how many parts the panels are cut, each of which transforms x anew. ``added``
    (n, oh, ow, o), or empty, is added, and what is below ``floor`` becomes that.
    """
    n, oh, ow = y.shape[:3]
    c, (o, first, parts), low = x.shape[3], out, y.dtype.type(floor)
    block, part, panels = task // parts, task % parts, (out_width // lanes + 1) // 2
    e0 = part * panels // parts * 2 * lanes
    e1 = min(out_width, (part + 1) * panels // parts * 2 * lanes)
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    total = n * high * wide
    stride, out_stride = _stride(width, lanes), _stride(out_width, lanes)
    rows, places, cols = (
        _rows(tiles, width, lanes),
        _rows(tiles, out_width, lanes),
        _multiples(c, 1),
    )
    t0, t1 = block * tiles, min(total, (block + 1) * tiles)
    v = np.empty(tiles // ROWS * IN * IN * stride, x.dtype)
    freq = np.empty(tiles // ROWS * IN * IN * out_stride, x.dtype)
    patch = np.zeros(IN * IN * max(width, out_width), x.dtype)
    _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes)
    for e in range(e0, e1, 2 * lanes):
        bs = min(2 * lanes, out_width - e)
        for f in range(IN * IN):
            product(
                Sums(freq, f * out_stride + e, places, start, f * out_width + e, True),
                Left(v, f * stride, rows, cols, 0, c),
                Right(weights, (IN * IN * e + f * bs) * c, bs),
                0, t1 - t0, bs > lanes,
            )  # fmt: skip
    _write_tiles(
        freq, places, y, first, o, e0, e1, out_width, high, wide, t0, t1, patch, out_stride, lanes,
        added, low,
    )  # fmt: skip


@inner
def _write_tiles(
    freq, places, y, first, o, e0, e1, width, high, wide, t0, t1, patch, stride, lanes, added, low
):
    """Transform the products back, and write the channels from e0 to e1 of o, behind ``first``."""
    oh, ow, pitch = y.shape[1:]
    flat = y.reshape(-1)
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT, j * OUT
        inside = row + OUT <= oh and column + OUT <= ow and o == width
        at = ((m * oh + row) * ow + column) * pitch + first
        for e in range(e0, e1, lanes):
            whole = Patch(places[t] + e, IN * stride, stride, 0, IN, 0, IN)
            place = (
                at + e if inside else e,
                ow * pitch if inside else OUT * width,
                pitch if inside else width,
            )
            transform_outputs(freq, whole, flat if inside else patch, place)
        if not inside:
            _write_patch(patch[e0:], width, y[m], row, column, first + e0, first + min(o, e1))
        if added.size or low > -np.inf:
            for p in range(row, min(row + OUT, oh)):
                for q in range(column, min(column + OUT, ow)):
                    pixel = (m * oh + p) * ow + q
                    at = pixel * pitch + first + e0
                    finish(flat, at, added, pixel * o + e0, low, flat, at, min(o, e1) - e0)
        m, i, j = _next(m, i, j, high, wide)


@shared
def _correlate_weights(r, x, dy, sums, top, left, width, out_width, tiles, lanes):
    """Add x (n, h, w, c) times dy (n, oh, ow, o) into sums (ranges, panels): see _correlate."""
    n, oh, ow = dy.shape[:3]
    c, own = x.shape[3], sums[r]
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    total = n * high * wide
    blocks, ranges = (total + tiles - 1) // tiles, sums.shape[0]
    stride, out_stride = _stride(width, lanes), tiles * out_width + lanes
    rows, taps = _rows(tiles, width, lanes), _multiples(c, 1)
    narrow, broad = _multiples(c, lanes), _multiples(c, 2 * lanes)
    v = np.empty(tiles // ROWS * IN * IN * stride, x.dtype)
    d = np.empty(IN * IN * out_stride, x.dtype)
    patch = np.zeros(IN * IN * max(width, out_width), x.dtype)
    for block in range(r * blocks // ranges, (r + 1) * blocks // ranges):
        t0, t1 = block * tiles, min(total, (block + 1) * tiles)
        _read_tiles(x, top, left, high, wide, t0, t1, patch, width, v, rows, stride, lanes)
        _read_gradients(dy, high, wide, t0, t1, patch, out_width, d, tiles, out_stride, lanes)
        for f in range(IN * IN):
            for e in range(0, out_width, 2 * lanes):
                bs = min(2 * lanes, out_width - e)
                places = broad if bs > lanes else narrow
                product(
                    Sums(own, (IN * IN * e + f * bs) * c, places, d, 0, False),
                    Left(v, f * stride, taps, rows, 0, t1 - t0),
                    Right(d, f * out_stride + e * tiles, bs),
                    0, c, bs > lanes,
                )  # fmt: skip


@inner
def _read_gradients(dy, high, wide, t0, t1, patch, width, d, tiles, stride, lanes):
    """Transform the gradients of the tiles from t0 to t1 into d, panel by panel."""
    oh, ow, o = dy.shape[1:]
    flat, whole = dy.reshape(-1), o == width
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT, j * OUT
        if not whole:
            _read_patch(dy[m], row, column, OUT, patch, width)
        for e in range(0, width, lanes):
            panel = e - e % (2 * lanes)
            bs = min(2 * lanes, width - panel)
            seen = Patch(
                ((m * oh + row) * ow + column) * o + e if whole else e,
                (ow if whole else OUT) * width, width,
                0, oh - row if whole else OUT, 0, ow - column if whole else OUT,
            )  # fmt: skip
            place = panel * tiles + t * bs + e - panel, IN * stride, stride
            transform_gradients(flat if whole else patch, seen, d, place)
        m, i, j = _next(m, i, j, high, wide)


@shared
def _multiply(task, matrix, source, target, line):
    """Add matrix @ panel to target, for each panel and each range of source (ranges, panels).

    A panel has a row of ``line`` numbers, or what is left for the last, for each column of matrix.
    """
    rows = matrix.shape[0]
    first, part = task // TASKS * line, task % TASKS
    length = min(line, target.size // rows - first)
    lo, hi = part * length // TASKS, (part + 1) * length // TASKS
    numbers = np.empty(hi - lo, source.dtype)
    _multiply_part(matrix, source, target, numbers, first, length, lo, hi)


@inner
def _multiply_part(matrix, source, target, numbers, first, length, lo, hi):
    """Multiply the numbers from lo to hi of the rows of a panel that begins with ``first``."""
    rows, cols = matrix.shape
    for k in range(cols):
        at = first * cols + k * length
        copy(source[0, at + lo : at + hi], numbers)
        for r in range(1, source.shape[0]):
            more = source[r, at + lo : at + hi]
            for e in range(more.size):
                numbers[e] += more[e]
        for i in range(rows):
            factor, at = matrix[i, k], first * rows + i * length
            if factor != 0:
                sums = target[at + lo : at + hi]
                for e in range(sums.size):
                    sums[e] += factor * numbers[e]


# -------------------------------------------------------------------------------------- interface


def eligible(g: Windows, groups: int) -> bool:
    """Return whether the geometry is one that this file can do."""
    return (g.kh, g.kw, g.sh, g.sw, g.dh, g.dw, groups) == (3, 3, 1, 1, 1, 1, 1)


def _tiles_together(total: int, width: int, out_width: int, itemsize: int) -> int:
    """Return how many of the tiles are worked on together: whole tiles of registers."""
    room = NEAR // (IN * IN * (width + out_width) * itemsize)
    share = -(-total // TASKS)
    return max(ROWS, min(room, share + ROWS - 1, TILES) // ROWS * ROWS)


def tile_count(n: int, h: int, w: int) -> int:
    """Return how many tiles cover n images of h x w outputs."""
    return n * -(-h // OUT) * -(-w // OUT)


def frequencies(weight: np.ndarray, turn: bool) -> np.ndarray:
    """Return G u G^T for every kernel, in panels of (frequency, c, lanes).

    With ``turn``, by 180 degrees, inputs and outputs are exchanged too.
    """
    steps, order = steps_of(weight.shape, 1), np.arange(9)
    if turn:
        steps, order = turned(steps), order[::-1].copy()
    return times(GG, pack(weight, order, steps, 1), steps[4])


def times(matrix: np.ndarray, source: np.ndarray, c: int) -> np.ndarray:
    """Return the sum over ranges of matrix @ panel, for each panel of source (ranges, panels)."""
    rows, cols = matrix.shape
    line = 2 * lanes_of(source.dtype) * c
    size = source.shape[1] // cols
    target = np.zeros(rows * size, source.dtype)
    _multiply(-(-size // line) * TASKS, matrix.astype(source.dtype, "C"), source, target, line)
    return target


def start_of(bias: np.ndarray | None, o: int, dtype: np.dtype) -> np.ndarray:
    """Return what the sums of each frequency begin with, in whole vectors."""
    start = np.zeros((IN * IN, filled(o, dtype)), dtype)
    if bias is not None:
        start[:, :o] = ONES[:, None] * bias
    return start.reshape(-1)


def run(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    top: int,
    left: int,
    out: tuple[int, int],
    added: np.ndarray,
    floor: float,
) -> None:
    """Convolve x (n, h, w, c) into y (n, oh, ow, channels): see _correlate."""
    width, out_width = filled(x.shape[3], x.dtype), filled(out[0], x.dtype)
    total, lanes = tile_count(*y.shape[:3]), lanes_of(x.dtype)
    tiles, parts = _tiles_together(total, width, out_width, x.itemsize), 1
    if total <= FEW:  # then the weights, all of which are read for each block, take the time
        tiles, parts = max(1, -(-total // ROWS)) * ROWS, min(TASKS, -(-out_width // (2 * lanes)))
    _correlate(
        -(-total // tiles) * parts, x, y, top, left, weights, start, width, out_width, tiles,
        lanes, (*out, parts), added, floor,
    )  # fmt: skip


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    o = weight.shape[0]
    y = np.empty((x.shape[0], g.oh, g.ow, o), x.dtype)
    start, nothing = start_of(bias, o, x.dtype), np.empty(0, x.dtype)
    weights = frequencies(weight, turn=False)
    run(nhwc(x), y, weights, start, g.top, g.left, (o, 0), nothing, -math.inf)
    return nchw(y)


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    dx = np.empty((dy.shape[0], g.h, g.w, weight.shape[1]), dy.dtype)
    start, nothing = start_of(None, dx.shape[3], dy.dtype), np.empty(0, dy.dtype)
    weights = frequencies(weight, turn=True)
    run(nhwc(dy), dx, weights, start, 2 - g.top, 2 - g.left, (dx.shape[3], 0), nothing, -math.inf)
    return nchw(dx)


def weight_gradient(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> np.ndarray:
    (n, c), o, lanes = x.shape[:2], shape[0], lanes_of(x.dtype)
    width, out_width = filled(c, x.dtype), filled(o, x.dtype)
    total = tile_count(n, g.oh, g.ow)
    tiles = _tiles_together(total, width, out_width, x.itemsize)
    ranges = max(1, min(-(-total // tiles), TASKS, 2**22 // (36 * c * out_width)))
    sums = np.zeros((ranges, 36 * c * out_width), x.dtype)
    _correlate_weights(
        ranges, nhwc(x), nhwc(dy), sums, g.top, g.left, width, out_width, tiles, lanes
    )
    return unpack(times(GG.T, sums, c).reshape(1, 1, -1), shape)

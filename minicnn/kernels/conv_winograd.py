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
from typing import NamedTuple

import numpy as np

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels.epilogue import finish
from minicnn.kernels.panels import unpack
from minicnn.kernels.parallel import TASKS, shared
from minicnn.kernels.simd import ONE, filled, lanes_in, lanes_of
from minicnn.kernels.simd_rows import Patch
from minicnn.kernels.tile import ROWS, Left, Right, Sums, copy, fill, product
from minicnn.kernels.winograd_transforms import (
    GG,
    IN,
    OUT,
    transform_gradients,
    transform_inputs,
    transform_outputs,
)
from minicnn.kernels.winograd_weights import frequencies, start_of, times
from minicnn.windows import Windows

TILES = 64  # at most that are taken together
FEW = 32  # tiles are not cut, but their outputs
NEAR = 2**19  # bytes of frequencies that are worked on at a time: they should stay in the cache


# ---------------------------------------------------------------------------------------- kernels


class Tiles(NamedTuple):
    """Some of the tiles of all images, which are counted image by image and row by row."""

    high: int  # tiles of an image
    wide: int
    first: int
    end: int


class Frequencies(NamedTuple):
    """The frequencies of some tiles: frequency f of tile t lies at rows[t] + f * stride."""

    array: np.ndarray
    rows: np.ndarray
    stride: int
    width: int  # channels, in whole vectors


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
def _read_tiles(x, corner, tiles, patch, v, lanes):
    """Transform the inputs of some tiles. ``corner``: the padding at the top and the left of x."""
    h, w, c = x.shape[1:]
    high, wide, t0, t1 = tiles
    flat, whole = x.reshape(-1), c == v.width  # else a vector would reach into the next pixel
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT - corner[0], j * OUT - corner[1]
        if not whole:
            _read_patch(x[m], row, column, IN, patch, v.width)
        for e in range(0, v.width, lanes):
            seen = Patch(
                ((m * h + row) * w + column) * c + e if whole else e,
                (w if whole else IN) * v.width, v.width,
                -row if whole else 0, h - row if whole else IN,
                -column if whole else 0, w - column if whole else IN,
            )  # fmt: skip
            place = v.rows[t] + e, IN * v.stride, v.stride
            transform_inputs(flat if whole else patch, seen, v.array, place)
        m, i, j = _next(m, i, j, high, wide)


@inner(allocates=True)
def _frequencies(tiles, width, lanes, dtype):
    """Return room for those of so many tiles: of ROWS tiles all, then of the next ROWS.

    Between two frequencies lie ROWS tiles, and a vector: with a power of two, all the frequencies
    would fall into the same lines of the cache.
    """
    stride, rows = ROWS * width + lanes, np.empty(tiles, np.int64)
    for t in range(tiles):
        rows[t] = t // ROWS * (IN * IN * stride) + t % ROWS * width
    return Frequencies(np.empty(tiles // ROWS * IN * IN * stride, dtype), rows, stride, width)


@inner(allocates=True)
def _multiples(count, step):
    """Return 0, step, 2*step ..."""
    multiples = np.empty(count, np.int64)
    for i in range(count):
        multiples[i] = i * step
    return multiples


@shared
def _correlate(task, x, y, corner, weights, start, together, out, added, floor):
    """Convolve x (n, h, w, c) into y (n, oh, ow, channels), so many tiles ``together``.

    ``corner``: the padding at the top and the left of x. weights are panels of (frequency, c,
    lanes), start is (frequency, o) in whole vectors: what the sums begin with. ``out``: o, the
    first channel of y that is written, and into how many parts the panels are cut, each of which
    transforms x anew. ``added`` (n, oh, ow, o), or empty, is added, and what is below ``floor``
    becomes that.
    """
    n, oh, ow = y.shape[:3]
    c, lanes, (o, first, parts) = x.shape[3], lanes_in(x, ONE), out
    width, out_width = (c + lanes - 1) // lanes * lanes, start.size // (IN * IN)
    block, part, panels = task // parts, task % parts, (out_width // lanes + 1) // 2
    e0 = part * panels // parts * 2 * lanes
    e1 = min(out_width, (part + 1) * panels // parts * 2 * lanes)
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    end = min(n * high * wide, (block + 1) * together)
    tiles = Tiles(high, wide, block * together, end)
    v = _frequencies(together, width, lanes, x.dtype)
    sums = _frequencies(together, out_width, lanes, x.dtype)
    patch = np.zeros(IN * IN * max(width, out_width), x.dtype)
    _read_tiles(x, corner, tiles, patch, v, lanes)
    _multiply_tiles(
        v, weights, start, sums, _multiples(c, 1), end - block * together, e0, e1, lanes
    )
    _write_tiles(sums, y, (o, first, e0, e1), tiles, patch, added, y.dtype.type(floor), lanes)


@inner
def _multiply_tiles(v, weights, start, sums, cols, count, e0, e1, lanes):
    """Multiply each frequency of ``count`` tiles by the weights of the outputs from e0 to e1."""
    for e in range(e0, e1, 2 * lanes):
        bs = min(2 * lanes, sums.width - e)
        for f in range(IN * IN):
            at = f * sums.width + e
            product(
                Sums(sums.array, f * sums.stride + e, sums.rows, start, at, True),
                Left(v.array, f * v.stride, v.rows, cols, 0, cols.size),
                Right(weights, (IN * IN * e + f * bs) * cols.size, bs),
                0, count, bs > lanes,
            )  # fmt: skip


@inner
def _write_tiles(sums, y, out, tiles, patch, added, low, lanes):
    """Transform the products back, and write the channels from e0 to e1 of o, behind ``first``."""
    oh, ow, pitch = y.shape[1:]
    o, first, e0, e1 = out
    high, wide, t0, t1 = tiles
    width, stride = sums.width, sums.stride
    flat = y.reshape(-1)
    m, i, j = t0 // (high * wide), t0 // wide % high, t0 % wide
    for t in range(t1 - t0):
        row, column = i * OUT, j * OUT
        inside = row + OUT <= oh and column + OUT <= ow and o == width
        at = ((m * oh + row) * ow + column) * pitch + first
        for e in range(e0, e1, lanes):
            whole = Patch(sums.rows[t] + e, IN * stride, stride, 0, IN, 0, IN)
            place = (
                at + e if inside else e,
                ow * pitch if inside else OUT * width,
                pitch if inside else width,
            )
            transform_outputs(sums.array, whole, flat if inside else patch, place)
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
def _correlate_weights(r, x, dy, sums, corner, out_width, together):
    """Add x (n, h, w, c) times dy (n, oh, ow, o) into sums (ranges, panels): see _correlate."""
    n, oh, ow = dy.shape[:3]
    c, lanes = x.shape[3], lanes_in(x, ONE)
    high, wide = (oh + OUT - 1) // OUT, (ow + OUT - 1) // OUT
    total = n * high * wide
    blocks, ranges = (total + together - 1) // together, sums.shape[0]
    v = _frequencies(together, (c + lanes - 1) // lanes * lanes, lanes, x.dtype)
    # Those of dy lie panel by panel, a tile below the other: rows are the tiles of a panel.
    d = np.empty(IN * IN * (together * out_width + lanes), x.dtype)
    gradients = Frequencies(d, v.rows, together * out_width + lanes, out_width)
    patch = np.zeros(IN * IN * max(v.width, out_width), x.dtype)
    taps, places = _multiples(c, 1), (_multiples(c, lanes), _multiples(c, 2 * lanes))
    for block in range(r * blocks // ranges, (r + 1) * blocks // ranges):
        tiles = Tiles(high, wide, block * together, min(total, (block + 1) * together))
        _read_tiles(x, corner, tiles, patch, v, lanes)
        _read_gradients(dy, tiles, patch, gradients, together, lanes)
        _add_weights(v, gradients, sums[r], taps, places, tiles.end - tiles.first, together, lanes)


@inner
def _add_weights(v, gradients, sums, taps, places, count, together, lanes):
    """Add the products of ``count`` tiles to the sums of each frequency, panel by panel."""
    c = taps.size
    for f in range(IN * IN):
        for e in range(0, gradients.width, 2 * lanes):
            bs = min(2 * lanes, gradients.width - e)
            product(
                Sums(
                    sums, (IN * IN * e + f * bs) * c, places[1] if bs > lanes else places[0],
                    gradients.array, 0, False,
                ),
                Left(v.array, f * v.stride, taps, v.rows, 0, count),
                Right(gradients.array, f * gradients.stride + e * together, bs),
                0, c, bs > lanes,
            )  # fmt: skip


@inner
def _read_gradients(dy, tiles, patch, gradients, together, lanes):
    """Transform the gradients of some tiles, panel by panel."""
    oh, ow, o = dy.shape[1:]
    high, wide, t0, t1 = tiles
    width, stride = gradients.width, gradients.stride
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
            place = panel * together + t * bs + e - panel, IN * stride, stride
            transform_gradients(flat if whole else patch, seen, gradients.array, place)
        m, i, j = _next(m, i, j, high, wide)


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
        -(-total // tiles) * parts, x, y, (top, left), weights, start, tiles, (*out, parts), added,
        floor,
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
    (n, c), out_width = x.shape[:2], filled(shape[0], x.dtype)
    total = tile_count(n, g.oh, g.ow)
    tiles = _tiles_together(total, filled(c, x.dtype), out_width, x.itemsize)
    ranges = max(1, min(-(-total // tiles), TASKS, 2**22 // (36 * c * out_width)))
    sums = np.zeros((ranges, 36 * c * out_width), x.dtype)
    _correlate_weights(ranges, nhwc(x), nhwc(dy), sums, (g.top, g.left), out_width, tiles)
    return unpack(times(GG.T, sums, c).reshape(1, 1, -1), shape)

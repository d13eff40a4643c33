"""The gradient of a convolution, where of each window of a pool only the winners have any.

A patch is what a pixel of the convolution sees: kh rows of an image, each in one piece of kw * c
numbers. A tile of registers adds up some patches, of pixels that may lie anywhere:

    out[o0 + out_pieces[t], :] += sum over k of factor[k] * b[where[k] + pieces[t], :]

    for k = k0, k0 + step, ..., k0 + (count - 1) * step, and the vectors t that a patch is cut into

    dweight   Of each channel, the patches of the image at its winners, times their gradients.
    dx        Of each window, the weights of all its winners at once. What they see lies in the
              field of the whole window. With the weights in a frame of zeros

                  0 w w | w w 0    the second column of the window, the first
                  0 w w | w w 0
                  0 0 0 | 0 0 0

              each winner has weights for all of the field: it begins a row higher or lower in the
              frame, or takes another copy of it for another column.

Patches begin at any number. A vector as long as a line of the cache would nearly always reach into
a second line, which takes twice as long; one half as long does so every other time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.backend import empty, inner
from minicnn.kernels.simd import VECTOR_BYTES, Tile, at, filled, lanes_of
from minicnn.kernels.simd_rows import add_multiples, load_rows, starts, store_rows
from minicnn.windows import Windows

WIDTH = min(VECTOR_BYTES, 32)  # bytes of a vector here

SMALL_ROWS, LARGE_ROWS = 5, 10
SMALL, LARGE = Tile(SMALL_ROWS, WIDTH), Tile(LARGE_ROWS, WIDTH)  # a piece of a patch is a row


class Patches(NamedTuple):
    """Addresses for backward, of vectors in a padded image and in weights as rows of (s, c)."""

    high: int  # of the padded image
    wide: int
    margin: int  # numbers before it, where windows of the pool reach out of it
    room: int  # for all
    starts: np.ndarray  # of the first pixel of each window of the pool
    steps: np.ndarray  # from there to each pixel of the window; 0 for nobody
    patch: np.ndarray  # of what a pixel sees, in the image
    rows: np.ndarray  # and in a weight
    field: np.ndarray  # of what the pixels of a window see together, in the image
    framed: np.ndarray  # and in a weight within its frame
    size: int  # of such a weight of one channel
    shifts: np.ndarray  # where it begins for each pixel of the window; 0 for nobody


def suits(g: Windows, pool: Windows, wide: int) -> bool:
    """Whether patches spare work, in images of so many pixels in a row, and fields fit into these.

    The work is that of dx: for each window of the pool its field, else for each pixel its patch.
    In a field that is wider than a row, the end of a row and the next would be the same numbers,
    and a tile would write one over the other.
    """
    rows, columns = g.kh + (pool.kh - 1) * g.sh, g.kw + (pool.kw - 1) * g.sw
    return columns <= wide and pool.oh * pool.ow * rows * columns <= g.oh * g.ow * g.kh * g.kw


def addresses(
    g: Windows, pool: Windows, c: int, o: int, high: int, wide: int, dtype: np.dtype
) -> Patches:
    """Return the tables for o channels of an image that is padded to (high, wide, c)."""

    def vectors(rows: int, numbers: int, pitch: int) -> np.ndarray:
        """Return where the vectors begin that hold so many numbers of each row."""
        in_row = np.arange(0, numbers, lanes_of(dtype, WIDTH))
        return (np.arange(rows)[:, None] * pitch + in_row).reshape(-1)

    i, j = np.arange(pool.oh)[:, None], np.arange(pool.ow)
    u, v = np.arange(pool.kh)[:, None], np.arange(pool.kw)
    starts = (i * pool.sh - pool.top) * g.sh * wide + (j * pool.sw - pool.left) * g.sw
    margin = max(0, -starts[0, 0] * c)
    _, _, rows, pitch = _frame(g, pool, c, o, dtype)
    size, above = rows * pitch, (pool.kh - 1) * g.sh
    run, reach = g.kw * c, (g.kw + (pool.kw - 1) * g.sw) * c
    field = vectors(g.kh + above, reach, wide * c)
    last = max(high * wide * c, starts[-1, -1] * c + field[-1])
    return Patches(
        high,
        wide,
        margin,
        margin + last + 2 * lanes_of(dtype),
        starts.reshape(-1) * c,
        np.append((u * g.sh * wide + v * g.sw) * c, 0),
        vectors(g.kh, run, wide * c),
        vectors(g.kh, run, filled(run, dtype, WIDTH)),
        field,
        vectors(g.kh + above, reach, pitch),
        size,
        np.append((above - u * g.sh) * pitch + v * o * size, 0),
    )


def _frame(
    g: Windows, pool: Windows, c: int, o: int, dtype: np.dtype
) -> tuple[int, int, int, int]:  # fmt: skip
    """Return the shape of the weight with its frame: (columns of the pool, o, rows, (s, c))."""
    reach = (g.kw + (pool.kw - 1) * g.sw) * c
    return pool.kw, o, g.kh + 2 * (pool.kh - 1) * g.sh, filled(reach, dtype, WIDTH)


def framed(weight: np.ndarray, g: Windows, pool: Windows) -> np.ndarray:
    """Return weight as rows of (s, c) in a frame of zeros, once for each column of the pool."""
    o, c, kh, kw = weight.shape
    out = empty(_frame(g, pool, c, o, weight.dtype), weight.dtype)
    out[...] = 0
    above = (pool.kh - 1) * g.sh
    for column, copied in enumerate(out):
        before = column * g.sw * c
        copied[:, above : above + kh, before : before + kw * c] = _rows(weight)
    return out.reshape(-1)


def _rows(weight: np.ndarray) -> np.ndarray:
    """Return weight as (o, kh, (s, c))."""
    o, c, kh, kw = weight.shape
    return weight.transpose(0, 2, 3, 1).reshape(o, kh, kw * c)


@inner
def _add(out, factor, source, ks, first, tile):
    """Add to as many pieces as the tile has rows, from ``first`` on: see add_patches."""
    target, o0, out_pieces = out
    b, where, pieces = source
    k0, step, count = ks
    last = pieces.size - 1
    lines, place = starts(0, pieces, first, last, tile), starts(o0, out_pieces, first, last, tile)
    sums = load_rows(target, place, tile)
    for i in range(count):
        k = k0 + i * step
        sums = add_multiples(sums, at(factor, k), b, lines, at(where, k))
    store_rows(sums, target, place)


@inner
def add_patches(out, factor, source, ks):
    """Add patches, each times its factor[k], to ``out``: an array, the first number, and pieces.

    ``source``: an array, where patch k begins in it, and the pieces of a patch. ``ks``: the first
    k, the step to the next, and how many there are.
    """
    size = source[2].size
    for first in range(0, size, LARGE_ROWS):
        if size - first <= SMALL_ROWS:
            _add(out, factor, source, ks, first, SMALL)
        else:
            _add(out, factor, source, ks, first, LARGE)

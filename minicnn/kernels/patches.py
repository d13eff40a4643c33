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

import functools
from typing import NamedTuple

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backend import empty, inner
from minicnn.kernels.simd import VECTOR_BYTES, Code, filled, lanes_of
from minicnn.windows import Windows

WIDTH = min(VECTOR_BYTES, 32)  # bytes of a vector here

SMALL, LARGE = 5, 10  # pieces in a tile


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


def _add_in_python(
    out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count, *, most
):
    """Add to the pieces from ``first``, at most ``most`` of them, and none behind ``last``.

    All are read before any is written.
    """
    lanes, taken = lanes_of(out.dtype, WIDTH), range(first, min(first + most, last + 1))
    sums = [out[o0 + out_pieces[t] :][:lanes].copy() for t in taken]
    for k in range(k0, k0 + count * step, step):
        for t, total in zip(taken, sums, strict=True):
            total += factor[k] * b[where[k] + pieces[t] :][:lanes]
    for t, total in zip(taken, sums, strict=True):
        out[o0 + out_pieces[t] :][:lanes] = total


def _make(most: int):
    """Return the tile of so many pieces as LLVM vector code, callable from a kernel."""

    @intrinsic
    def add(context, out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count):
        n = types.intp
        signature = types.void(out, n, out_pieces, factor, b, where, pieces, n, n, n, n, n)

        def generate(context, builder, signature, args):
            code = Code(context, builder, signature, args, WIDTH)
            out, out_pieces, factor, b, where, pieces = (code.data(i) for i in (0, 2, 3, 4, 5, 6))
            o0, first, last, k0, step, count = (args[i] for i in (1, 7, 8, 9, 10, 11))
            # Pieces behind the last are the last again.
            taken = [builder.add(first, code.index(t)) for t in range(most)]
            taken = [builder.select(builder.icmp_signed("<", t, last), t, last) for t in taken]
            at = [builder.add(o0, code.entry(out_pieces, t)) for t in taken]
            lines = [builder.gep(b, [code.entry(pieces, t)]) for t in taken]
            # LLVM turns these slots into registers.
            sums = [cgutils.alloca_once_value(builder, code.load(out, i)) for i in at]
            with cgutils.for_range(builder, count, intp=code.index) as loop:
                k = builder.add(k0, builder.mul(loop.index, step))
                one, place = code.spread(code.entry(factor, k)), code.entry(where, k)
                for line, total in zip(lines, sums, strict=True):
                    more = code.fma(one, code.load(line, place), builder.load(total))
                    builder.store(more, total)
            for i, total in zip(at, sums, strict=True):
                code.store(builder.load(total), out, i)
            return context.get_dummy_value()

        return signature, generate

    return add


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _small = functools.partial(_add_in_python, most=SMALL)
    _large = functools.partial(_add_in_python, most=LARGE)
else:
    _small, _large = _make(SMALL), _make(LARGE)


@inner
def add_patches(out, o0, out_pieces, factor, b, where, pieces, k0, step, count):
    """Add ``count`` patches of b, each times its factor, to ``out``."""
    last = pieces.size - 1
    for first in range(0, pieces.size, LARGE):
        if pieces.size - first <= SMALL:
            _small(
                out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count
            )  # fmt: skip
        else:
            _large(
                out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count
            )  # fmt: skip

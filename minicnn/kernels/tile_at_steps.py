"""The tile of registers of tile.py, for rows and columns that lie at even steps.

    sums[row, :] += a[a0 + row*ar + k*ak] * b[b0 + k*bk, :]        for 8 rows, and each k < count

Without tables of addresses a short sum takes half the time, and the sums of winograd's frequencies
are short. ``fresh1`` and ``fresh2`` begin with ``start``, and ``more1`` and ``more2`` with what c
holds; the number is that of the vectors in a row. ``_tile_in_python`` says the same; the vector
code below it may be skipped.
"""

from __future__ import annotations

import functools

from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.tile import ROWS
from minicnn.kernels.vectors import Code, lanes_of


def _tile_in_python(
    c, c0, cr, start, s0, a, a0, ar, ak, count, b, b0, bk, *, vectors: int, fresh: bool
):
    width = vectors * lanes_of(c.dtype)
    for row in range(ROWS):
        out = c[c0 + row * cr : c0 + row * cr + width]
        sums = (start[s0 : s0 + width] if fresh else out).copy()
        for k in range(count):
            sums += a[a0 + row * ar + k * ak] * b[b0 + k * bk : b0 + k * bk + width]
        out[:] = sums


def _make_tile(vectors: int, fresh: bool):
    """Return the tile as LLVM vector code, callable from a kernel."""

    @intrinsic
    def tile(context, c, c0, cr, start, s0, a, a0, ar, ak, count, b, b0, bk):
        n = types.intp
        signature = types.void(c, n, n, start, n, a, n, n, n, n, b, n, n)

        def generate(context, builder, signature, args):
            code = Code(context, builder, signature, args)
            c, start, a, b = (code.data(i) for i in (0, 3, 5, 10))
            c0, cr, s0, a0, ar, ak, count, b0, bk = (args[i] for i in (1, 2, 4, 6, 7, 8, 9, 11, 12))
            lane = [code.index(v * code.lanes) for v in range(vectors)]

            def lines(array, first, step):
                found = [builder.gep(array, [first])]
                for _ in range(ROWS - 1):
                    found.append(builder.gep(found[-1], [step]))
                return found

            outs, numbers = lines(c, c0, cr), lines(a, a0, ar)
            start, b = builder.gep(start, [s0]), builder.gep(b, [b0])
            tile = [(p, v) for p in range(ROWS) for v in range(vectors)]
            # LLVM turns these slots into registers.
            sums = {place: cgutils.alloca_once(builder, code.vector) for place in tile}
            for p, v in tile:
                builder.store(code.load(start if fresh else outs[p], lane[v]), sums[p, v])
            with cgutils.for_range(builder, count, intp=code.index) as loop:
                line = builder.gep(b, [builder.mul(loop.index, bk)])
                column = builder.mul(loop.index, ak)
                factor = [code.load(line, e) for e in lane]
                for p in range(ROWS):
                    value = code.spread(code.entry(numbers[p], column))
                    for v in range(vectors):
                        total = code.fma(value, factor[v], builder.load(sums[p, v]))
                        builder.store(total, sums[p, v])
            for p, v in tile:
                code.store(builder.load(sums[p, v]), outs[p], lane[v])
            return context.get_dummy_value()

        return signature, generate

    return tile


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    fresh1 = functools.partial(_tile_in_python, vectors=1, fresh=True)
    fresh2 = functools.partial(_tile_in_python, vectors=2, fresh=True)
    more1 = functools.partial(_tile_in_python, vectors=1, fresh=False)
    more2 = functools.partial(_tile_in_python, vectors=2, fresh=False)
else:
    fresh1, fresh2 = _make_tile(1, fresh=True), _make_tile(2, fresh=True)
    more1, more2 = _make_tile(1, fresh=False), _make_tile(2, fresh=False)

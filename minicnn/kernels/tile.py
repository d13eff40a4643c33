"""A tile of registers: the one product that the compiled convolutions are made of.

                     lanes of a vector, once or twice       e.g. 16 float32 in 512 bits, or 2 x 16
                   +---------------------+
              k    |       b[k, :]       |   one load, or two, used for 8 rows
                   +---------------------+
        +-----+    +---------------------+
   row  |     |    |  sums[row, :],      |   sums[row, :] += a[rows[row] + cols[k]] * b[k, :]
  8 at  |     |    |  held in registers  |
 a time +-----+    +---------------------+   one scalar load, spread over the lanes

What is multiplied is decided by tables of addresses alone. ``_tile_in_python`` says what a tile
computes; the vector code below it does the same, and may be skipped.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backend import inner
from minicnn.kernels.vectors import Code, lanes_of

ROWS = 8  # of a tile: 8 x 2 sums leave registers for the operands; more would spill


def _tile_in_python(
    c, c0, places, start, s0, fresh, a, a0, rows, row, last, cols, k0, count, b, b0, bs, vectors
):
    """Compute ROWS rows of ``vectors`` vectors; rows behind the last are the last again:

    sums = start[s0 + lane] if fresh else c[c0 + places[row] + lane]
    c[c0 + places[row] + lane] = sums + sum_{k < count} a[a0 + rows[row] + cols[k0 + k]]
                                                      * b[b0 + k*bs + lane]
    """
    width = vectors * lanes_of(c.dtype)
    taken = [min(row + p, last) for p in range(ROWS)]
    at = [c0 + places[p] for p in taken]
    sums = [start[s0 : s0 + width].copy() if fresh else c[i : i + width].copy() for i in at]
    for k in range(count):
        factor = b[b0 + k * bs : b0 + k * bs + width]
        for p in range(ROWS):
            sums[p] += a[a0 + rows[taken[p]] + cols[k0 + k]] * factor
    for p in range(ROWS):
        c[at[p] : at[p] + width] = sums[p]


def _make_tile(vectors: int):
    """Return the tile as LLVM vector code, callable from a kernel."""

    @intrinsic
    def tile(
        context, c, c0, places, start, s0, fresh, a, a0, rows, row, last, cols, k0, count, b, b0, bs
    ):
        n = types.intp
        signature = types.void(
            c, n, places, start, n, n, a, n, rows, n, n, cols, n, n, b, n, n
        )  # fmt: skip

        def generate(context, builder, signature, args):
            code = Code(context, builder, signature, args)
            c, places, start, a, rows, cols, b = (code.data(i) for i in (0, 2, 3, 6, 8, 11, 14))
            c0, s0, fresh, a0, row, last, k0, count, b0, bs = (
                args[i] for i in (1, 4, 5, 7, 9, 10, 12, 13, 15, 16)
            )
            lane = [code.index(v * code.lanes) for v in range(vectors)]

            tile = [(p, v) for p in range(ROWS) for v in range(vectors)]
            taken = [builder.add(row, code.index(p)) for p in range(ROWS)]
            taken = [builder.select(builder.icmp_signed("<", t, last), t, last) for t in taken]
            at = [builder.add(c0, code.entry(places, t)) for t in taken]
            lines = [builder.gep(a, [builder.add(a0, code.entry(rows, t))]) for t in taken]
            # LLVM turns these slots into registers.
            sums = {place: cgutils.alloca_once(builder, code.vector) for place in tile}
            is_fresh = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))
            with builder.if_else(is_fresh) as (then, otherwise):
                with then:
                    first = [code.load(start, builder.add(s0, e)) for e in lane]
                    for p, v in tile:
                        builder.store(first[v], sums[p, v])
                with otherwise:
                    for p, v in tile:
                        builder.store(code.load(c, builder.add(at[p], lane[v])), sums[p, v])
            with cgutils.for_range(builder, count, intp=code.index) as loop:
                column = code.entry(cols, builder.add(k0, loop.index))
                line = builder.add(b0, builder.mul(loop.index, bs))
                factor = [code.load(b, builder.add(line, e)) for e in lane]
                for p in range(ROWS):
                    value = code.spread(code.entry(lines[p], column))
                    for v in range(vectors):
                        total = code.fma(value, factor[v], builder.load(sums[p, v]))
                        builder.store(total, sums[p, v])
            for p, v in tile:
                code.store(builder.load(sums[p, v]), c, builder.add(at[p], lane[v]))
            return context.get_dummy_value()

        return signature, generate

    return tile


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    tile1 = functools.partial(_tile_in_python, vectors=1)
    tile2 = functools.partial(_tile_in_python, vectors=2)
else:
    tile1, tile2 = _make_tile(1), _make_tile(2)


@inner
def product(c, c0, places, start, s0, fresh, a, a0, rows, lo, hi, cols, k0, count, b, b0, bs, wide):
    """Compute the rows from ``lo`` to ``hi``, tile by tile; two vectors to a row if ``wide``."""
    for row in range(lo, hi, ROWS):
        if wide:
            tile2(
                c, c0, places, start, s0, fresh, a, a0, rows, row, hi - 1, cols, k0, count, b, b0,
                bs,
            )  # fmt: skip
        else:
            tile1(
                c, c0, places, start, s0, fresh, a, a0, rows, row, hi - 1, cols, k0, count, b, b0,
                bs,
            )  # fmt: skip


@inner
def copy(source, target):
    """Copy as much as the shorter vector holds. (Assigning slices takes seconds to compile.)"""
    for e in range(min(source.size, target.size)):
        target[e] = source[e]


@inner
def fill(target):
    """Fill a vector with zeros."""
    for e in range(target.size):
        target[e] = 0

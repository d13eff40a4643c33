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

Numba's cache does not notice an edit of this file, only of those whose kernels use it: delete the
``__pycache__`` beside it after one.
"""

from __future__ import annotations

import functools

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backend import kernel

ROWS = 8  # of a tile: 8 x 2 sums leave registers for the operands; more would spill


def _vector_bytes() -> int:
    """Return the width of this processor's vectors. LLVM copes where there are none."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()


def lanes_of(dtype: np.dtype) -> int:
    """Return how many numbers a vector holds."""
    return VECTOR_BYTES // dtype.itemsize


def filled(size: int, dtype: np.dtype) -> int:
    """Return ``size`` rounded up to whole vectors."""
    return -(-size // lanes_of(dtype)) * lanes_of(dtype)


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
            def data(position):
                array = context.make_array(signature.args[position])
                return array(context, builder, args[position]).data

            c, places, start, a, rows, cols, b = (data(i) for i in (0, 2, 3, 6, 8, 11, 14))
            c0, s0, fresh, a0, row, last, k0, count, b0, bs = (
                args[i] for i in (1, 4, 5, 7, 9, 10, 12, 13, 15, 16)
            )
            scalar = context.get_data_type(signature.args[0].dtype)
            size = 4 if scalar == ir.FloatType() else 8
            lanes = VECTOR_BYTES // size
            vector = ir.VectorType(scalar, lanes)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            nothing = ir.Constant(vector, ir.Undefined)
            fma = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fma.v{lanes}f{8 * size}",
            )

            def entry(table, index):
                return builder.load(builder.gep(table, [index]))

            def pointer(array, index, v):
                index = builder.add(index, ir.Constant(index.type, v * lanes))
                return builder.bitcast(builder.gep(array, [index]), vector.as_pointer())

            def load(array, index, v):
                return builder.load(pointer(array, index, v), align=size)

            def spread(value):
                one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(one, nothing, first_lane)

            tile = [(p, v) for p in range(ROWS) for v in range(vectors)]
            taken = [builder.add(row, ir.Constant(row.type, p)) for p in range(ROWS)]
            taken = [builder.select(builder.icmp_signed("<", t, last), t, last) for t in taken]
            at = [builder.add(c0, entry(places, t)) for t in taken]
            lines = [builder.gep(a, [builder.add(a0, entry(rows, t))]) for t in taken]
            # LLVM turns these slots into registers.
            sums = {place: cgutils.alloca_once(builder, vector) for place in tile}
            is_fresh = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))
            with builder.if_else(is_fresh) as (then, otherwise):
                with then:
                    first = [load(start, s0, v) for v in range(vectors)]
                    for p, v in tile:
                        builder.store(first[v], sums[p, v])
                with otherwise:
                    for p, v in tile:
                        builder.store(load(c, at[p], v), sums[p, v])
            with cgutils.for_range(builder, count, intp=c0.type) as loop:
                column = entry(cols, builder.add(k0, loop.index))
                line = builder.add(b0, builder.mul(loop.index, bs))
                factor = [load(b, line, v) for v in range(vectors)]
                for p in range(ROWS):
                    value = spread(entry(lines[p], column))
                    for v in range(vectors):
                        total = builder.call(fma, [value, factor[v], builder.load(sums[p, v])])
                        builder.store(total, sums[p, v])
            for p, v in tile:
                builder.store(builder.load(sums[p, v]), pointer(c, at[p], v), align=size)
            return context.get_dummy_value()

        return signature, generate

    return tile


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    tile1 = functools.partial(_tile_in_python, vectors=1)
    tile2 = functools.partial(_tile_in_python, vectors=2)
else:
    tile1, tile2 = _make_tile(1), _make_tile(2)


@kernel
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


@kernel
def copy(source, target):
    """Copy as much as the shorter vector holds. (Assigning slices takes seconds to compile.)"""
    for e in range(min(source.size, target.size)):
        target[e] = source[e]


@kernel
def fill(target):
    """Fill a vector with zeros."""
    for e in range(target.size):
        target[e] = 0

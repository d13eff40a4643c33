"""The tile of registers of tile.py, for rows and columns that lie at even steps.

    sums[row, :] += a[a0 + row*ar + k*ak] * b[b0 + k*bk, :]        for 8 rows, and each k < count

Without tables of addresses a short sum takes half the time, and the sums of winograd's frequencies
are short. ``fresh1`` and ``fresh2`` begin with ``start``, and ``more1`` and ``more2`` with what c
holds; the number is that of the vectors in a row. ``_tile_in_python`` says the same; the vector
code below it may be skipped.

Numba's cache does not notice an edit of this file: see tile.py.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.ops.conv2d.tile import ROWS, VECTOR_BYTES, lanes_of


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
            def data(position):
                array = context.make_array(signature.args[position])
                return array(context, builder, args[position]).data

            c, start, a, b = (data(i) for i in (0, 3, 5, 10))
            c0, cr, s0, a0, ar, ak, count, b0, bk = (args[i] for i in (1, 2, 4, 6, 7, 8, 9, 11, 12))
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

            def pointer(line, v):
                at = builder.gep(line, [ir.Constant(c0.type, v * lanes)])
                return builder.bitcast(at, vector.as_pointer())

            def load(line, v):
                return builder.load(pointer(line, v), align=size)

            def spread(value):
                one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(one, nothing, first_lane)

            def lines(array, first, step):
                found = [builder.gep(array, [first])]
                for _ in range(ROWS - 1):
                    found.append(builder.gep(found[-1], [step]))
                return found

            outs, numbers = lines(c, c0, cr), lines(a, a0, ar)
            start, b = builder.gep(start, [s0]), builder.gep(b, [b0])
            tile = [(p, v) for p in range(ROWS) for v in range(vectors)]
            # LLVM turns these slots into registers.
            sums = {place: cgutils.alloca_once(builder, vector) for place in tile}
            for p, v in tile:
                builder.store(load(start if fresh else outs[p], v), sums[p, v])
            with cgutils.for_range(builder, count, intp=c0.type) as loop:
                line = builder.gep(b, [builder.mul(loop.index, bk)])
                column = builder.mul(loop.index, ak)
                factor = [load(line, v) for v in range(vectors)]
                for p in range(ROWS):
                    value = spread(builder.load(builder.gep(numbers[p], [column])))
                    for v in range(vectors):
                        total = builder.call(fma, [value, factor[v], builder.load(sums[p, v])])
                        builder.store(total, sums[p, v])
            for p, v in tile:
                builder.store(builder.load(sums[p, v]), pointer(outs[p], v), align=size)
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

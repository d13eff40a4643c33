"""The tile of registers where rows and columns lie at even steps: see tile.py."""
from __future__ import annotations
import functools
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from minicnn.ops.conv2d.tile import ROWS, VECTOR_BYTES, lanes_of

def make(vectors, fresh, unroll=1):
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
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{8 * size}")
            def number(v): return ir.Constant(c0.type, v)
            def pointer(base, v):
                return builder.bitcast(builder.gep(base, [number(v * lanes)]), vector.as_pointer())
            def load(base, v): return builder.load(pointer(base, v), align=size)
            def spread(value):
                one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
                return builder.shuffle_vector(one, nothing, first_lane)
            grid = [(p, v) for p in range(ROWS) for v in range(vectors)]
            def steps(base, first, step):
                at, found = builder.gep(base, [first]), []
                for p in range(ROWS):
                    found.append(at); at = builder.gep(at, [step])
                return found
            outs, lines = steps(c, c0, cr), steps(a, a0, ar)
            panel = builder.gep(b, [b0])
            s = builder.gep(start, [s0])
            sums = {place: cgutils.alloca_once(builder, vector) for place in grid}
            for p, v in grid:
                builder.store(load(s, v) if fresh else load(outs[p], v), sums[p, v])
            with cgutils.for_range(builder, count, intp=c0.type) as loop:
                k = builder.mul(loop.index, ak)
                line = builder.gep(panel, [builder.mul(loop.index, bk)])
                factor = [load(line, v) for v in range(vectors)]
                for p in range(ROWS):
                    value = spread(builder.load(builder.gep(lines[p], [k])))
                    for v in range(vectors):
                        builder.store(builder.call(fma, [value, factor[v], builder.load(sums[p, v])]), sums[p, v])
            for p, v in grid:
                builder.store(builder.load(sums[p, v]), pointer(outs[p], v), align=size)
            return context.get_dummy_value()
        return signature, generate
    return tile
fresh1, fresh2, more1, more2 = make(1, True), make(2, True), make(1, False), make(2, False)

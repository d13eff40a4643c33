"""What is done to the sums of a convolution on their way to the output, a vector at a time.

``finish`` adds, cuts off and stores; ``greatest`` takes the greatest of a window. What an output
has less than whole vectors is stored under a mask. ``_..._in_python`` says what each does; the
vector code below it does the same, and may be skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.simd import Code


def _finish_in_python(sums, s0, added, a0, low, y, y0, count):
    """y[y0 + e] = max(sums[s0 + e] + added[a0 + e], low) for e < count; NaN stays NaN.

    An empty ``added`` adds nothing.
    """
    z = sums[s0 : s0 + count]
    if added.size:
        z = z + added[a0 : a0 + count]
    y[y0 : y0 + count] = np.where(z < low, low, z)


def _greatest_in_python(x, x0, step, rows, columns, c0, c1, low, y, y0, count):
    """y[y0 + e] = max(low, x[x0 + i*step + columns[j] + e] over i < rows, c0 <= j < c1), e < count.

    NaN is greater than anything.
    """
    best = np.full(count, low, x.dtype)
    for i in range(rows):
        for j in range(c0, c1):
            new = x[x0 + i * step + columns[j] :][:count]
            best = np.where((new > best) | np.isnan(new), new, best)
    y[y0 : y0 + count] = best


class _Code(Code):
    """Vectors of which some lanes may be missing."""

    def vectors(self, count: Any) -> Any:
        """Loop over the vectors that hold ``count`` numbers."""
        last = self.builder.add(count, self.index(self.lanes - 1))
        return cgutils.for_range(
            self.builder, self.builder.sdiv(last, self.index(self.lanes)), intp=self.index
        )

    def mask(self, left: Any) -> Any:
        """Return which lanes there are where ``left`` numbers are left."""
        kind = ir.VectorType(self.index, self.lanes)
        return self.builder.icmp_signed(
            "<", ir.Constant(kind, list(range(self.lanes))), self.spread(left)
        )

    def masked(self, name: str, result: Any, *args: Any) -> Any:
        """Call llvm.masked.load or store."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(result, [arg.type for arg in args]),
            f"llvm.masked.{name}.v{self.lanes}f{8 * self.size}.p0",
        )
        return self.builder.call(function, args)

    def store_some(self, value: Any, data: Any, index: Any, left: Any) -> None:
        align = ir.Constant(ir.IntType(32), self.size)
        place = self.pointer(data, index)
        self.masked("store", ir.VoidType(), value, place, align, self.mask(left))

    def load_some(self, data: Any, index: Any, left: Any) -> Any:
        align = ir.Constant(ir.IntType(32), self.size)
        zero, place = ir.Constant(self.vector, [0.0] * self.lanes), self.pointer(data, index)
        return self.masked("load", self.vector, place, align, self.mask(left), zero)


@intrinsic
def _finish(context, sums, s0, added, a0, low, y, y0, count):
    n = types.intp
    signature = types.void(sums, n, added, n, sums.dtype, y, n, n)

    def generate(context, builder, signature, args):
        code = _Code(context, builder, signature, args)
        sums, more, y = (code.array(i) for i in (0, 2, 5))
        s0, a0, low, y0, count = (args[i] for i in (1, 3, 4, 6, 7))
        adds = builder.icmp_signed(">", more.nitems, code.index(0))
        limit = code.spread(low)
        with code.vectors(count) as loop:
            e = builder.mul(loop.index, code.index(code.lanes))
            left = builder.sub(count, e)
            z = cgutils.alloca_once(builder, code.vector)
            builder.store(code.load_some(sums.data, builder.add(s0, e), left), z)
            with builder.if_then(adds):
                total = builder.fadd(
                    builder.load(z), code.load_some(more.data, builder.add(a0, e), left)
                )
                builder.store(total, z)
            value = builder.load(z)
            less = builder.fcmp_ordered("<", value, limit)
            value = builder.select(less, limit, value)
            code.store_some(value, y.data, builder.add(y0, e), left)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _greatest(context, x, x0, step, rows, columns, c0, c1, low, y, y0, count):
    n = types.intp
    signature = types.void(x, n, n, n, columns, n, n, x.dtype, y, n, n)

    def generate(context, builder, signature, args):
        code = _Code(context, builder, signature, args)
        x, columns, y = (code.array(i).data for i in (0, 4, 8))
        x0, step, rows, c0, c1, low, y0, count = (args[i] for i in (1, 2, 3, 5, 6, 7, 9, 10))
        limit = code.spread(low)
        with code.vectors(count) as loop:
            e = builder.mul(loop.index, code.index(code.lanes))
            left = builder.sub(count, e)
            best = cgutils.alloca_once(builder, code.vector)
            builder.store(limit, best)
            with cgutils.for_range(builder, rows, intp=code.index) as row:
                line = builder.add(builder.add(x0, e), builder.mul(row.index, step))
                with cgutils.for_range(builder, builder.sub(c1, c0), intp=code.index) as column:
                    at = builder.load(builder.gep(columns, [builder.add(c0, column.index)]))
                    new = code.load_some(x, builder.add(line, at), left)
                    old = builder.load(best)
                    greater = builder.fcmp_ordered(">", new, old)
                    wins = builder.or_(greater, builder.fcmp_unordered("uno", new, new))
                    builder.store(builder.select(wins, new, old), best)
            code.store_some(builder.load(best), y, builder.add(y0, e), left)
        return context.get_dummy_value()

    return signature, generate


finish: Any
greatest: Any
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    finish, greatest = _finish_in_python, _greatest_in_python
else:
    finish, greatest = _finish, _greatest

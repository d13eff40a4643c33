"""Vector instructions of LLVM: what the tiles of registers are written with.

An ``intrinsic`` of Numba is a function that writes the instructions of its call. ``Code`` has those
that all of ours have in common: a vector read, written, spread from one number, and multiplied.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils


def _vector_bytes() -> int:
    """Return the width of this processor's vectors. LLVM copes where there are none."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()


def lanes_of(dtype: np.dtype, width: int = VECTOR_BYTES) -> int:
    """Return how many numbers a vector of ``width`` bytes holds."""
    return width // dtype.itemsize


def filled(size: int, dtype: np.dtype, width: int = VECTOR_BYTES) -> int:
    """Return ``size`` rounded up to whole vectors."""
    return -(-size // lanes_of(dtype, width)) * lanes_of(dtype, width)


class Code:
    """Writes instructions for vectors of what the first argument is an array of."""

    def __init__(
        self, context: Any, builder: Any, signature: Any, args: Any, width: int = VECTOR_BYTES
    ) -> None:
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.scalar = context.get_data_type(signature.args[0].dtype)
        self.size = 4 if self.scalar == ir.FloatType() else 8
        self.lanes = width // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.index = context.get_value_type(types.intp)

    def array(self, position: int) -> Any:
        """Return the structure of an argument that is an array."""
        make = self.context.make_array(self.signature.args[position])
        return make(self.context, self.builder, self.args[position])

    def data(self, position: int) -> Any:
        """Return the address of its first element."""
        return self.array(position).data

    def entry(self, table: Any, index: Any) -> Any:
        return self.builder.load(self.builder.gep(table, [index]))

    def pointer(self, data: Any, index: Any, kind: Any = None) -> Any:
        place = self.builder.gep(data, [index])
        return self.builder.bitcast(place, (kind or self.vector).as_pointer())

    def load(self, data: Any, index: Any) -> Any:
        return self.builder.load(self.pointer(data, index), align=self.size)

    def store(self, value: Any, data: Any, index: Any) -> None:
        self.builder.store(value, self.pointer(data, index), align=self.size)

    def spread(self, value: Any) -> Any:
        """Return a vector that has ``value`` in each lane."""
        kind, builder = ir.VectorType(value.type, self.lanes), self.builder
        nothing = ir.Constant(kind, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, nothing, first)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c, rounded once."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{self.lanes}f{8 * self.size}",
        )
        return self.builder.call(function, [a, b, c])

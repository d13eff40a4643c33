"""Vectors as values: what the tiles of registers are written with.

A kernel handles a vector as any other value:

    y = load(a, i, ONE)             the vector of array a that begins at index i
    store(y, a, i)
    rows = load_rows(a, starts, TWO)         as many vectors as a tile has rows

To Numba a ``Vector`` is a type like float32, and each function here writes the instructions of its
call: Numba calls such a function an intrinsic. Above each stands what it computes, as a lambda in
NumPy; under NUMBA_DISABLE_JIT the lambda is the function, so a kernel is written once.

A vector of ``TWO`` is twice as long as a register: LLVM uses two registers for it. Nothing
checks indexes here, and a negative index does not count from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, models, register_model, typeof_impl

from minicnn.numba_internals import cgutils, lower_constant

ROWS = 8  # vectors in a tile of registers: 8 x 2 sums leave registers for the operands


def _vector_bytes() -> int:
    """Return the width of the vectors of the processor that Numba compiles for.

    That is this one, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name another. Then LLVM shows
    which registers it takes for a long vector. LLVM copes with processors that have no vectors.
    """
    name, extra = config.CPU_NAME, config.CPU_FEATURES  # type: ignore[attr-defined]
    if name is None and extra is None:
        features = llvm.get_host_cpu_features()
        return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=name or llvm.get_host_cpu_name(), features=extra or ""
    )
    code = machine.emit_assembly(llvm.parse_assembly(_ADDITION))
    return 64 if "zmm" in code else 32 if "ymm" in code and "vfmadd" in code else 16


_ADDITION = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(ptr %p) {
  %x = load <16 x float>, ptr %p
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  store <16 x float> %y, ptr %p
  ret void
}
"""
VECTOR_BYTES = _vector_bytes()


def lanes_of(dtype: np.dtype, width: int = VECTOR_BYTES) -> int:
    """Return how many numbers a vector of ``width`` bytes holds."""
    return width // dtype.itemsize


def filled(size: int, dtype: np.dtype, width: int = VECTOR_BYTES) -> int:
    """Return ``size`` rounded up to whole vectors."""
    return -(-size // lanes_of(dtype, width)) * lanes_of(dtype, width)


class Tile:
    """How many rows a tile of registers has, and how many bytes a vector in each.

    A kernel is compiled for each tile that it is called with.
    """

    def __init__(self, rows: int, vector_bytes: int) -> None:
        self.rows, self.bytes = rows, vector_bytes

    def lanes(self, array: np.ndarray) -> int:
        """Return how many numbers of ``array`` a vector holds."""
        return self.bytes // array.itemsize


ONE, TWO = Tile(ROWS, VECTOR_BYTES), Tile(ROWS, 2 * VECTOR_BYTES)


# ------------------------------------------------------------------------------- types for Numba


class TileType(types.Type):
    def __init__(self, rows: int, vector_bytes: int) -> None:
        self.rows, self.bytes = rows, vector_bytes
        super().__init__(f"Tile({rows}, {vector_bytes})")


class Vector(types.Type):
    """``lanes`` numbers of a dtype, in one register or more."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@typeof_impl.register(Tile)
def _type_of_tile(value: Tile, context: Any) -> TileType:
    return TileType(value.rows, value.bytes)


@lower_constant(TileType)
def _constant_tile(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()  # the type says it all


register_model(TileType)(models.OpaqueModel)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        scalar = ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.lanes))


# ----------------------------------------------------------------------------------- instructions


def instruction(in_python: Callable) -> Callable:
    """Make an intrinsic of the function below, which computes what ``in_python`` does."""

    def make(write: Callable) -> Any:
        return in_python if config.DISABLE_JIT else intrinsic(write)  # type: ignore[attr-defined]

    return make


def _vector(array: Any, tile: TileType) -> Vector:
    return Vector(array.dtype, 8 * tile.bytes // array.dtype.bitwidth)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, of: Any = None) -> Any:
    """Return the address of array[index], of a number or of a vector ``of`` this LLVM type."""
    place = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(place, of.as_pointer()) if of else place


def _load(context: Any, builder: Any, kind: Any, array: Any, index: Any, of: Any = None) -> Any:
    align = kind.dtype.bitwidth // 8
    return builder.load(_address(context, builder, kind, array, index, of), align=align)


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector that has ``value`` in each lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, first)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    size = 32 if c.type.element == ir.FloatType() else 64
    kind, name = ir.FunctionType(c.type, [c.type] * 3), f"llvm.fma.v{c.type.count}f{size}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@instruction(lambda a, i: a[i])
def at(typing, a, i):
    """The number a[i]."""
    return a.dtype(a, types.intp), lambda context, builder, signature, args: _load(
        context, builder, a, *args
    )


@instruction(lambda a, i, tile: a[i : i + tile.lanes(a)].copy())
def load(typing, a, i, tile):
    """The vector of a that begins at i."""
    kind = _vector(a, tile)

    def generate(context, builder, signature, args):
        return _load(context, builder, a, args[0], args[1], context.get_value_type(kind))

    return kind(a, types.intp, tile), generate


# ----------------------------------------- rows of a tile: a tuple of vectors, another of indexes


def _starts_in_numpy(first: int, table: np.ndarray, row: int, last: int, tile: Tile) -> tuple:
    return tuple(first + table[min(row + p, last)] for p in range(tile.rows))


@instruction(_starts_in_numpy)
def starts(typing, first, table, row, last, tile):
    """first + table[row], first + table[row + 1] ...; rows behind the last are the last again."""
    kind = types.UniTuple(types.intp, tile.rows)

    def generate(context, builder, signature, args):
        first, entries, row, last = args[:4]
        found = []
        for p in range(tile.rows):
            i = builder.add(row, ir.Constant(row.type, p))
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            found.append(builder.add(first, _load(context, builder, table, entries, i)))
        return context.make_tuple(builder, kind, found)

    return kind(types.intp, table, types.intp, types.intp, tile), generate


@instruction(lambda first, step, tile: tuple(first + p * step for p in range(tile.rows)))
def steps(typing, first, step, tile):
    """first, first + step, first + 2*step ..."""
    kind = types.UniTuple(types.intp, tile.rows)

    def generate(context, builder, signature, args):
        found = [args[0]]
        for _ in range(tile.rows - 1):
            found.append(builder.add(found[-1], args[1]))
        return context.make_tuple(builder, kind, found)

    return kind(types.intp, types.intp, tile), generate


@instruction(lambda vector, tile: (vector,) * tile.rows)
def repeated(typing, vector, tile):
    """The same vector in each row."""
    kind = types.UniTuple(vector, tile.rows)
    return kind(vector, tile), lambda context, builder, signature, args: context.make_tuple(
        builder, kind, [args[0]] * tile.rows
    )


@instruction(lambda a, rows, tile: tuple(a[i : i + tile.lanes(a)].copy() for i in rows))
def load_rows(typing, a, rows, tile):
    """The vectors of a that begin at ``rows``."""
    one = _vector(a, tile)
    kind = types.UniTuple(one, rows.count)

    def generate(context, builder, signature, args):
        of = context.get_value_type(one)
        each = cgutils.unpack_tuple(builder, args[1])
        found = [_load(context, builder, a, args[0], i, of) for i in each]
        return context.make_tuple(builder, kind, found)

    return kind(a, rows, tile), generate


def _store_rows_in_numpy(vectors: tuple, a: np.ndarray, rows: tuple) -> None:
    for vector, i in zip(vectors, rows, strict=True):
        a[i : i + vector.size] = vector


@instruction(_store_rows_in_numpy)
def store_rows(typing, vectors, a, rows):
    """Write the vectors into a, from the indexes ``rows`` on."""

    def generate(context, builder, signature, args):
        each = (cgutils.unpack_tuple(builder, args[i]) for i in (0, 2))
        for vector, i in zip(*each, strict=True):
            place = _address(context, builder, a, args[1], i, vector.type)
            builder.store(vector, place, align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vectors, a, rows), generate


def _add_products_in_numpy(
    sums: tuple, a: np.ndarray, rows: tuple, e: int, factor: np.ndarray
) -> tuple:
    return tuple(total + a[i + e] * factor for total, i in zip(sums, rows, strict=True))


@instruction(_add_products_in_numpy)
def add_products(typing, sums, a, rows, e, factor):
    """sums[p] + a[rows[p] + e] * factor for each row p: a number times a vector."""

    def generate(context, builder, signature, args):
        totals, rows_ = (cgutils.unpack_tuple(builder, args[i]) for i in (0, 2))
        found = []
        for total, row in zip(totals, rows_, strict=True):
            line = _address(context, builder, a, args[1], row)  # the same for each e
            spread = _spread(builder, builder.load(builder.gep(line, [args[3]])), factor.lanes)
            found.append(_multiply_add(builder, spread, args[4], total))
        return context.make_tuple(builder, sums, found)

    return sums(sums, a, rows, types.intp, factor), generate


def _add_multiples_in_numpy(
    sums: tuple, number: float, a: np.ndarray, rows: tuple, e: int
) -> tuple:
    return tuple(
        total + number * a[i + e : i + e + total.size] for total, i in zip(sums, rows, strict=True)
    )


@instruction(_add_multiples_in_numpy)
def add_multiples(typing, sums, number, a, rows, e):
    """sums[p] + number * (the vector of a that begins at rows[p] + e) for each row p."""

    def generate(context, builder, signature, args):
        totals, rows_ = (cgutils.unpack_tuple(builder, args[i]) for i in (0, 3))
        of = context.get_value_type(sums.dtype)
        factor, found = _spread(builder, args[1], of.count), []
        for total, row in zip(totals, rows_, strict=True):
            line = builder.gep(_address(context, builder, a, args[2], row), [args[4]])
            vector = builder.load(
                builder.bitcast(line, of.as_pointer()), align=a.dtype.bitwidth // 8
            )
            found.append(_multiply_add(builder, factor, vector, total))
        return context.make_tuple(builder, sums, found)

    return sums(sums, a.dtype, a, rows, types.intp), generate


# ------------------------------------------------------------- for kernels that write LLVM by hand


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

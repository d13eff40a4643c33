"""Vectors as values: what the tiles of registers are written with.

A kernel handles a vector as any other value:

    y = load(a, i, ONE)                      the vector of array a that begins at index i
    z = select(y < x, x, y * 2 + x)          lane by lane
    store(z, a, i)

To Numba a ``Vector`` is a type like float32, and each function here writes the instructions of its
call: Numba calls such a function an intrinsic. Above each stands what it computes, as a lambda in
NumPy; under NUMBA_DISABLE_JIT the lambda is the function, so a kernel is written once.

A vector of ``TWO`` is twice as long as a register: LLVM uses two registers for it. Nothing
checks indexes here, and a negative index does not count from the end.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
    type_callable,
    typeof_impl,
)

from minicnn.numba_internals import cgutils, lower_constant

ROWS = 8  # of a tile: 8 x 2 sums. Six, which AVX2 has registers for, were no faster there.


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
define <16 x float> @probe(<16 x float> %x) {
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  ret <16 x float> %y
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


class Mask(types.Type):
    """Yes or no for each lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(f"Mask({lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        scalar = manager[kind.dtype].get_value_type()
        super().__init__(manager, kind, ir.VectorType(scalar, kind.lanes))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Mask) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), kind.lanes))


# ----------------------------------------------------------- operators, as NumPy's arrays have them


def _operator(symbol: Callable, name: str, result: Callable = lambda kind: kind) -> None:
    """Let the instruction of this name be the operator of two vectors, or of one and a number."""

    @type_callable(symbol)
    def _(context: Any) -> Callable:
        def typer(a: Any, b: Any) -> Any:
            if isinstance(a, Vector) and (a == b or isinstance(b, types.Number)):
                return result(a)
            return None

        return typer

    @lower_builtin(symbol, Vector, Vector)
    def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _write(builder, name, *args)

    @lower_builtin(symbol, Vector, types.Number)
    def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, given = signature.args
        number = context.cast(builder, args[1], given, kind.dtype)
        return _write(builder, name, args[0], spread_value(builder, number, kind.lanes))


def _write(builder: Any, name: str, a: Any, b: Any) -> Any:
    if name in ("fadd", "fsub", "fmul"):  # a product and a sum of it may be rounded once
        return getattr(builder, name)(a, b, flags=("contract",))
    if name == "!=":  # which NaN is to itself
        return builder.fcmp_unordered(name, a, b)
    return builder.fcmp_ordered(name, a, b)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
for _compares, _name in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ne, "!="),
):  # fmt: skip
    _operator(_compares, _name, lambda kind: Mask(kind.lanes))


@type_callable(operator.or_)
def _type_of_either(context: Any) -> Callable:
    return lambda a, b: a if isinstance(a, Mask) and a == b else None


@lower_builtin(operator.or_, Mask, Mask)
def _either(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.or_(*args)


# ----------------------------------------------------------------------------------- instructions


def instruction(in_python: Callable) -> Callable:
    """Make an intrinsic of the function below, which computes what ``in_python`` does."""

    def make(write: Callable) -> Any:
        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            return in_python
        written: Any = intrinsic(write)
        written.in_numpy = in_python
        return written

    return make


def _lanes(array: Any, tile: TileType) -> int:
    return 8 * tile.bytes // array.dtype.bitwidth


def vector_of(array: Any, tile: TileType) -> Vector:
    return Vector(array.dtype, _lanes(array, tile))


def address_of(
    context: Any, builder: Any, kind: Any, array: Any, index: Any, of: Any = None
) -> Any:
    """Return the address of array[index], of a number or of a vector ``of`` this LLVM type."""
    place = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(place, of.as_pointer()) if of else place


def load_from(context: Any, builder: Any, kind: Any, array: Any, index: Any, of: Any = None) -> Any:
    align = kind.dtype.bitwidth // 8
    return builder.load(address_of(context, builder, kind, array, index, of), align=align)


def spread_value(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector that has ``value`` in each lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, first)


@instruction(lambda a, tile: tile.lanes(a))
def lanes_in(typing, a, tile):
    """How many numbers of a are in a vector; the compiler knows it, as it does not a.itemsize."""
    number = _lanes(a, tile)
    return types.intp(a, tile), lambda context, builder, signature, args: ir.Constant(
        context.get_value_type(types.intp), number
    )


@instruction(lambda a, i: a[i])
def at(typing, a, i):
    """The number a[i]."""
    return a.dtype(a, types.intp), lambda context, builder, signature, args: load_from(
        context, builder, a, *args
    )


@instruction(lambda mask, a, b: np.where(mask, a, b))
def select(typing, mask, a, b):
    """a where the mask says yes, else b."""
    return a(mask, a, b), lambda context, builder, signature, args: builder.select(*args)


@instruction(lambda number, a, tile: np.full(tile.lanes(a), number, a.dtype))
def spread(typing, number, a, tile):
    """A vector as those of a, with the number in each lane."""
    return _spread_as(vector_of(a, tile), number, a, tile)


@instruction(lambda number, a, tile: np.full(tile.lanes(a), number, np.intp))
def spread_index(typing, number, a, tile):
    """The same with an integer, in lanes as wide as those of a."""
    lanes = vector_of(a, tile).lanes
    kind = Vector(types.int32 if a.dtype == types.float32 else types.int64, lanes)
    return _spread_as(kind, number, a, tile)


def _spread_as(kind: Vector, number: Any, a: Any, tile: Any) -> tuple:
    def generate(context, builder, signature, args):
        return spread_value(builder, context.cast(builder, args[0], number, kind.dtype), kind.lanes)

    return kind(number, a, tile), generate


def _store_in_numpy(vector: np.ndarray, a: np.ndarray, i: int) -> None:
    a[i : i + vector.size] = vector


@instruction(_store_in_numpy)
def store(typing, vector, a, i):
    """Write the vector into a, from index i on. Integers may be of another length there."""

    def generate(context, builder, signature, args):
        value, kind = args[0], ir.VectorType(context.get_data_type(a.dtype), vector.lanes)
        if value.type != kind:  # integers of another length
            longer = kind.element.width > value.type.element.width
            value = (builder.sext if longer else builder.trunc)(value, kind)
        place = address_of(context, builder, a, args[1], args[2], kind)
        builder.store(value, place, align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, a, types.intp), generate


@instruction(lambda a, i, tile: a[i : i + tile.lanes(a)].copy())
def load(typing, a, i, tile):
    """The vector of a that begins at i."""
    kind = vector_of(a, tile)

    def generate(context, builder, signature, args):
        return load_from(context, builder, a, args[0], args[1], context.get_value_type(kind))

    return kind(a, types.intp, tile), generate


# ------------------------------------------------- the last vector, of which some numbers are there


def _masked(builder: Any, name: str, result: Any, vector: Any, args: list) -> Any:
    """Call llvm.masked.load or store, which touches no memory where a lane is left out."""
    size = 32 if vector.element == ir.FloatType() else 64
    kind = ir.FunctionType(result, [arg.type for arg in args])
    name = f"llvm.masked.{name}.v{vector.count}f{size}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _first_lanes(builder: Any, left: Any, lanes: int) -> Any:
    """Return a mask that says yes to the first ``left`` lanes."""
    lane = ir.Constant(ir.VectorType(left.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", lane, spread_value(builder, left, lanes))


def _alignment(array: Any) -> Any:
    return ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)


def _load_some_in_numpy(a: np.ndarray, i: int, left: int, tile: Tile) -> np.ndarray:
    vector = np.zeros(tile.lanes(a), a.dtype)
    vector[:left] = a[i : i + min(left, vector.size)]
    return vector


@instruction(_load_some_in_numpy)
def load_some(typing, a, i, left, tile):
    """The vector of a that begins at i, of which ``left`` numbers are there; zeros behind them."""
    kind = vector_of(a, tile)

    def generate(context, builder, signature, args):
        of = context.get_value_type(kind)
        place = address_of(context, builder, a, args[0], args[1], of)
        mask, zero = _first_lanes(builder, args[2], of.count), ir.Constant(of, None)
        return _masked(builder, "load", of, of, [place, _alignment(a), mask, zero])

    return kind(a, types.intp, types.intp, tile), generate


def _store_some_in_numpy(vector: np.ndarray, a: np.ndarray, i: int, left: int) -> None:
    a[i : i + min(left, vector.size)] = vector[:left]


@instruction(_store_some_in_numpy)
def store_some(typing, vector, a, i, left):
    """Write the first ``left`` numbers of the vector into a, from index i on."""

    def generate(context, builder, signature, args):
        place = address_of(context, builder, a, args[1], args[2], args[0].type)
        mask = _first_lanes(builder, args[3], vector.lanes)
        found = [args[0], place, _alignment(a), mask]
        _masked(builder, "store", ir.VoidType(), args[0].type, found)
        return context.get_dummy_value()

    return types.void(vector, a, types.intp, types.intp), generate

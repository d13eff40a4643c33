"""Several vectors at once: the rows of a tile of registers, and patches of an image.

    rows = load_rows(a, starts, TWO)              as many vectors as a tile has rows
    rows = add_products(rows, a, places, k, b)    rows[p] + a[places[p] + k] * b
    store_rows(rows, a, starts)

To Numba the rows are a tuple of vectors, and their places a tuple of indexes. All are in registers
as long as there are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from minicnn.kernels.simd import (
    Tile,
    address_of,
    instruction,
    load_from,
    spread_value,
    vector_of,
)
from minicnn.numba_internals import cgutils


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    size = 32 if c.type.element == ir.FloatType() else 64
    kind, name = ir.FunctionType(c.type, [c.type] * 3), f"llvm.fma.v{c.type.count}f{size}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


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
            found.append(builder.add(first, load_from(context, builder, table, entries, i)))
        return context.make_tuple(builder, kind, found)

    return kind(types.intp, table, types.intp, types.intp, tile), generate


def _even_starts_in_numpy(first: int, step: int, row: int, last: int, tile: Tile) -> tuple:
    return tuple(first + min(row + p, last) * step for p in range(tile.rows))


@instruction(_even_starts_in_numpy)
def even_starts(typing, first, step, row, last, tile):
    """first + row*step, first + (row + 1)*step ...; rows behind the last are the last again."""
    kind = types.UniTuple(types.intp, tile.rows)

    def generate(context, builder, signature, args):
        first, step, row, last = args[:4]
        found = []
        for p in range(tile.rows):
            i = builder.add(row, ir.Constant(row.type, p))
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            found.append(builder.add(first, builder.mul(i, step)))
        return context.make_tuple(builder, kind, found)

    return kind(types.intp, types.intp, types.intp, types.intp, tile), generate


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
    one = vector_of(a, tile)
    kind = types.UniTuple(one, rows.count)

    def generate(context, builder, signature, args):
        of = context.get_value_type(one)
        each = cgutils.unpack_tuple(builder, args[1])
        found = [load_from(context, builder, a, args[0], i, of) for i in each]
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
            place = address_of(context, builder, a, args[1], i, vector.type)
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
            line = address_of(context, builder, a, args[1], row)  # the same for each e
            spread = spread_value(builder, builder.load(builder.gep(line, [args[3]])), factor.lanes)
            found.append(multiply_add(builder, spread, args[4], total))
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
        factor, found = spread_value(builder, args[1], of.count), []
        for total, row in zip(totals, rows_, strict=True):
            line = builder.gep(address_of(context, builder, a, args[2], row), [args[4]])
            vector = builder.load(
                builder.bitcast(line, of.as_pointer()), align=a.dtype.bitwidth // 8
            )
            found.append(multiply_add(builder, factor, vector, total))
        return context.make_tuple(builder, sums, found)

    return sums(sums, a.dtype, a, rows, types.intp), generate


# ------------------------------------------------- patches: some vectors of an image, side x side


class Patch(NamedTuple):
    """Where the vectors of a square lie in an array; those outside of an image are zeros."""

    first: int  # number of the first vector
    row: int  # numbers from there to the vector below
    column: int  # and to the one beside
    top: int  # the rows from top to bottom, and
    bottom: int
    left: int  # the columns from left to right, lie in the image
    right: int


def _load_column_in_numpy(a: np.ndarray, patch: Patch, j: int, tile: Tile) -> tuple:
    lanes, found = tile.lanes(a), []
    for i in range(tile.rows):
        inside = patch.top <= i < patch.bottom and patch.left <= j < patch.right
        place = patch.first + i * patch.row + j * patch.column
        found.append(a[place : place + lanes].copy() if inside else np.zeros(lanes, a.dtype))
    return tuple(found)


@instruction(_load_column_in_numpy)
def load_column(typing, a, patch, j, tile):
    """The vectors of column j of a patch, as many as the tile has rows."""
    one = vector_of(a, tile)
    kind = types.UniTuple(one, tile.rows)

    def generate(context, builder, signature, args):
        of = context.get_value_type(one)
        nothing = cgutils.global_constant(builder, "zeros", ir.Constant(of, None))
        members = cgutils.unpack_tuple(builder, args[1])
        first, row, column, top, bottom, left, right = (
            context.cast(builder, member, given, types.intp)
            for member, given in zip(members, patch, strict=True)
        )
        in_column = _within(builder, args[2], left, right)
        place, found = builder.add(first, builder.mul(args[2], column)), []
        for i in range(tile.rows):
            inside = builder.and_(
                in_column, _within(builder, ir.Constant(row.type, i), top, bottom)
            )
            there = address_of(context, builder, a, args[0], place, of)
            read = builder.select(inside, there, nothing)
            found.append(builder.load(read, align=a.dtype.bitwidth // 8))
            place = builder.add(place, row)
        return context.make_tuple(builder, kind, found)

    return kind(a, patch, types.intp, tile), generate


def _within(builder: Any, i: Any, first: Any, end: Any) -> Any:
    after = builder.icmp_signed(">=", i, first)
    return builder.and_(after, builder.icmp_signed("<", i, end))


@instruction(lambda columns: tuple(zip(*columns, strict=True)))
def transposed(typing, columns):
    """Of some columns of vectors, the rows."""
    row = types.UniTuple(columns.dtype.dtype, columns.count)
    kind = types.UniTuple(row, columns.dtype.count)

    def generate(context, builder, signature, args):
        each = [
            cgutils.unpack_tuple(builder, one) for one in cgutils.unpack_tuple(builder, args[0])
        ]
        rows = [context.make_tuple(builder, row, list(one)) for one in zip(*each, strict=True)]
        return context.make_tuple(builder, kind, rows)

    return kind(columns), generate

"""The winner of a window of max pooling, and its gradient: some channels at a time, as vectors.

``_choose_in_python`` and ``_give_in_python`` say what is computed; the vector code below them does
the same, and may be skipped. Windows are lists of addresses, so that any shape of window will do.

Numba's cache does not notice an edit of this file, only of that whose kernels use it: delete the
``__pycache__`` beside it after one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.ops.conv2d.tile import VECTOR_BYTES

CHUNK = VECTOR_BYTES // 8  # channels that are taken at a time


def _choose_in_python(z, e, members, taps, first, end, nobody, best, place, at):
    """Of CHUNK channels, write the greatest of some pixels, and which it is, after ReLU.

    It is the first of equals, but the last of NaN; ``nobody`` where ReLU lets nothing through.
    """
    greatest = np.full(CHUNK, -np.inf, z.dtype)
    which = np.full(CHUNK, nobody)
    for i in range(first, end):
        new = z[members[i] + e :][:CHUNK]
        wins = (new > greatest) | (new != new)
        greatest, which = np.where(wins, new, greatest), np.where(wins, taps[i], which)
    dead = greatest <= 0
    best[at : at + CHUNK] = np.where(dead, 0, greatest)
    place[at : at + CHUNK] = np.where(dead, nobody, which)


def _give_in_python(dy, place, at, members, taps, first, end, nobody, dz, e, sums):
    """Add the gradients of CHUNK channels to those pixels that won, and all to the sums."""
    gradient, won = dy[at : at + CHUNK], place[at : at + CHUNK]
    sums[e : e + CHUNK] += np.where(won == nobody, 0, gradient)
    for i in range(first, end):
        target = dz[members[i] + e :][:CHUNK]
        target += np.where(won == taps[i], gradient, 0)


class _Vectors:
    """What both need to write their instructions: CHUNK numbers, or as many bytes."""

    def __init__(self, context, builder, signature, args) -> None:
        self.context, self.builder, self.signature, self.args = context, builder, signature, args

    def data(self, position):
        array = self.context.make_array(self.signature.args[position])
        return array(self.context, self.builder, self.args[position]).data

    def kinds(self, dtype):
        """Return the vector of numbers, that of integers as wide, and that of bytes."""
        scalar = self.context.get_data_type(dtype)
        integer = ir.IntType(32 if scalar == ir.FloatType() else 64)
        return [ir.VectorType(kind, CHUNK) for kind in (scalar, integer, ir.IntType(8))]

    def pointer(self, array, index, kind):
        return self.builder.bitcast(self.builder.gep(array, [index]), kind.as_pointer())

    def spread(self, value, kind):
        """Return a vector with an integer in each lane."""
        if kind.element.width < value.type.width:
            value = self.builder.trunc(value, kind.element)
        nothing = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), CHUNK), [0] * CHUNK)
        return self.builder.shuffle_vector(one, nothing, lanes)


@intrinsic
def _choose_in_vectors(context, z, e, members, taps, first, end, nobody, best, place, at):
    n = types.intp
    signature = types.void(z, n, members, taps, n, n, n, best, place, n)

    def generate(context, builder, signature, args):
        v = _Vectors(context, builder, signature, args)
        z, members, taps, best, place = (v.data(i) for i in (0, 2, 3, 7, 8))
        e, first, end, nobody, at = (args[i] for i in (1, 4, 5, 6, 9))
        numbers, integers, bytes_ = v.kinds(signature.args[0].dtype)
        size, nobody = integers.element.width // 8, v.spread(nobody, integers)
        greatest = cgutils.alloca_once_value(builder, ir.Constant(numbers, [-math.inf] * CHUNK))
        which = cgutils.alloca_once_value(builder, nobody)
        with cgutils.for_range_slice(builder, first, end, ir.Constant(end.type, 1)) as (i, _):
            pixel = builder.add(builder.load(builder.gep(members, [i])), e)
            new, old = (
                builder.load(v.pointer(z, pixel, numbers), align=size),
                builder.load(greatest),
            )
            wins = builder.or_(
                builder.fcmp_ordered(">", new, old), builder.fcmp_unordered("uno", new, new)
            )
            tap = v.spread(builder.load(builder.gep(taps, [i])), integers)
            builder.store(builder.select(wins, new, old), greatest)
            builder.store(builder.select(wins, tap, builder.load(which)), which)
        value, zero = builder.load(greatest), ir.Constant(numbers, [0.0] * CHUNK)
        dead = builder.fcmp_ordered("<=", value, zero)
        value = builder.select(dead, zero, value)
        won = builder.trunc(builder.select(dead, nobody, builder.load(which)), bytes_)
        builder.store(value, v.pointer(best, at, numbers), align=size)
        builder.store(won, v.pointer(place, at, bytes_), align=1)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _give_in_vectors(
    context, dy, place, at, members, taps, first, end, nobody, dz, e, sums
):  # fmt: skip
    n = types.intp
    signature = types.void(dy, place, n, members, taps, n, n, n, dz, n, sums)

    def generate(context, builder, signature, args):
        v = _Vectors(context, builder, signature, args)
        dy, place, members, taps, dz, sums = (v.data(i) for i in (0, 1, 3, 4, 8, 10))
        at, first, end, nobody, e = (args[i] for i in (2, 5, 6, 7, 9))
        numbers, integers, bytes_ = v.kinds(signature.args[0].dtype)
        size, zero = integers.element.width // 8, ir.Constant(numbers, [0.0] * CHUNK)
        gradient = builder.load(v.pointer(dy, at, numbers), align=size)
        won = builder.load(v.pointer(place, at, bytes_), align=1)

        def add(target, one):
            builder.store(builder.fadd(builder.load(target, align=size), one), target, align=size)

        lost = builder.icmp_unsigned("==", won, v.spread(nobody, bytes_))
        add(v.pointer(sums, e, numbers), builder.select(lost, zero, gradient))
        with cgutils.for_range_slice(builder, first, end, ir.Constant(end.type, 1)) as (i, _):
            pixel = builder.add(builder.load(builder.gep(members, [i])), e)
            tap = v.spread(builder.load(builder.gep(taps, [i])), bytes_)
            own = builder.select(builder.icmp_unsigned("==", won, tap), gradient, zero)
            add(v.pointer(dz, pixel, numbers), own)
        return context.get_dummy_value()

    return signature, generate


choose: Any
give: Any
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    choose, give = _choose_in_python, _give_in_python
else:
    choose, give = _choose_in_vectors, _give_in_vectors

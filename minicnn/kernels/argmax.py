"""The winner of a window of max pooling: some channels at a time, as vectors.

    choose            the greatest pixel, and which it is
    choose_positive   the same after ReLU: where it lets nothing through, it is 0, and nobody

``_choose_in_python`` says what is computed; the vector code below it does the same, and may be
skipped. Windows are lists of addresses, so that any shape of window will do.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.simd import VECTOR_BYTES, Code

CHUNK = VECTOR_BYTES // 8  # channels that are taken at a time


def _choose_in_python(z, e, members, taps, first, end, nobody, best, place, at, *, positive):
    """Of CHUNK channels, write the greatest of some pixels, and which it is.

    It is the first of equals, but the last of NaN. ``nobody`` is who wins while none is greater
    than minus infinity, and, of ``positive`` numbers alone, than 0.
    """
    greatest = np.full(CHUNK, -np.inf, z.dtype)
    which = np.full(CHUNK, nobody)
    for i in range(first, end):
        new = z[members[i] + e :][:CHUNK]
        wins = (new > greatest) | (new != new)
        greatest, which = np.where(wins, new, greatest), np.where(wins, taps[i], which)
    if positive:
        dead = greatest <= 0
        greatest, which = np.where(dead, 0, greatest), np.where(dead, nobody, which)
    best[at : at + CHUNK] = greatest
    place[at : at + CHUNK] = which


def _make(positive: bool) -> Any:
    @intrinsic
    def choose(context, z, e, members, taps, first, end, nobody, best, place, at):
        return _choose_in_vectors(z, members, taps, best, place, positive)

    return choose


def _choose_in_vectors(z: Any, members: Any, taps: Any, best: Any, place: Any, positive: bool):
    """Return the signature, and what writes the instructions."""
    n = types.intp
    signature = types.void(z, n, members, taps, n, n, n, best, place, n)

    def generate(context, builder, signature, args):
        width = CHUNK * signature.args[0].dtype.bitwidth // 8
        code = Code(context, builder, signature, args, width)
        z, members, taps, best, place = (code.data(i) for i in (0, 2, 3, 7, 8))
        e, first, end, nobody, at = (args[i] for i in (1, 4, 5, 6, 9))
        wide, bytes_ = ir.IntType(8 * code.size), ir.VectorType(ir.IntType(8), CHUNK)

        def spread(value):
            return code.spread(value if value.type == wide else builder.trunc(value, wide))

        nobody = spread(nobody)
        greatest = cgutils.alloca_once_value(builder, ir.Constant(code.vector, [-math.inf] * CHUNK))
        which = cgutils.alloca_once_value(builder, nobody)
        with cgutils.for_range_slice(builder, first, end, ir.Constant(end.type, 1)) as (i, _):
            new = code.load(z, builder.add(code.entry(members, i), e))
            old = builder.load(greatest)
            wins = builder.or_(
                builder.fcmp_ordered(">", new, old), builder.fcmp_unordered("uno", new, new)
            )
            tap = spread(code.entry(taps, i))
            builder.store(builder.select(wins, new, old), greatest)
            builder.store(builder.select(wins, tap, builder.load(which)), which)
        value, won = builder.load(greatest), builder.load(which)
        if positive:
            zero = ir.Constant(code.vector, [0.0] * CHUNK)
            dead = builder.fcmp_ordered("<=", value, zero)
            value, won = builder.select(dead, zero, value), builder.select(dead, nobody, won)
        code.store(value, best, at)
        builder.store(builder.trunc(won, bytes_), code.pointer(place, at, bytes_), align=1)
        return context.get_dummy_value()

    return signature, generate


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    choose = functools.partial(_choose_in_python, positive=False)
    choose_positive = functools.partial(_choose_in_python, positive=True)
else:
    choose, choose_positive = _make(False), _make(True)

"""The winner of a window of max pooling: some channels at a time, as vectors.

``_choose_in_python`` says what is computed; the vector code below it does the same, and may be
skipped. Windows are lists of addresses, so that any shape of window will do.

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

from minicnn.ops.conv2d.vectors import VECTOR_BYTES, Code

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


@intrinsic
def _choose_in_vectors(context, z, e, members, taps, first, end, nobody, best, place, at):
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
        value, zero = builder.load(greatest), ir.Constant(code.vector, [0.0] * CHUNK)
        dead = builder.fcmp_ordered("<=", value, zero)
        won = builder.select(dead, nobody, builder.load(which))
        code.store(builder.select(dead, zero, value), best, at)
        builder.store(builder.trunc(won, bytes_), code.pointer(place, at, bytes_), align=1)
        return context.get_dummy_value()

    return signature, generate


choose: Any = (
    _choose_in_python if config.DISABLE_JIT else _choose_in_vectors  # type: ignore[attr-defined]
)

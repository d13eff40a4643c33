"""A tile of registers for sums of patches: a few of many pixels, each with a patch of its own.

A patch is what a pixel of a convolution sees: kh rows of an image, each in one piece. Cut into
vectors, all patches have the same pieces:

    out[o0 + out_pieces[t], :] += sum over k of factor[k] * b[where[k] + pieces[t], :]

    for k = k0, k0 + step, ..., k0 + (count - 1) * step

With b an image that is the gradient of a weight, from the pixels that get a gradient at all; with b
the weights, and ``out`` an image, it is what such pixels add to the gradient of the image.
``_add_in_python`` says the same; the vector code below it may be skipped.

Numba's cache does not notice an edit of this file, only of that whose kernels use it: delete the
``__pycache__`` beside it after one.
"""

from __future__ import annotations

import functools

from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backend import kernel
from minicnn.ops.conv2d.vectors import Code, lanes_of

SMALL, LARGE = 5, 10  # pieces in a tile


def _add_in_python(
    out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count, *, most
):
    """Add to the pieces from ``first``, at most ``most`` of them, and none behind ``last``."""
    lanes = lanes_of(out.dtype)
    for t in range(first, min(first + most, last + 1)):
        sums = out[o0 + out_pieces[t] :][:lanes]
        for k in range(k0, k0 + count * step, step):
            sums += factor[k] * b[where[k] + pieces[t] :][:lanes]


def _make(most: int):
    """Return the tile of so many pieces as LLVM vector code, callable from a kernel."""

    @intrinsic
    def add(context, out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count):
        n = types.intp
        signature = types.void(out, n, out_pieces, factor, b, where, pieces, n, n, n, n, n)

        def generate(context, builder, signature, args):
            code = Code(context, builder, signature, args)
            out, out_pieces, factor, b, where, pieces = (code.data(i) for i in (0, 2, 3, 4, 5, 6))
            o0, first, last, k0, step, count = (args[i] for i in (1, 7, 8, 9, 10, 11))
            # Pieces behind the last are the last again: all are read before any is written.
            taken = [builder.add(first, code.index(t)) for t in range(most)]
            taken = [builder.select(builder.icmp_signed("<", t, last), t, last) for t in taken]
            at = [builder.add(o0, code.entry(out_pieces, t)) for t in taken]
            lines = [builder.gep(b, [code.entry(pieces, t)]) for t in taken]
            # LLVM turns these slots into registers.
            sums = [cgutils.alloca_once_value(builder, code.load(out, i)) for i in at]
            with cgutils.for_range(builder, count, intp=code.index) as loop:
                k = builder.add(k0, builder.mul(loop.index, step))
                one, place = code.spread(code.entry(factor, k)), code.entry(where, k)
                for line, total in zip(lines, sums, strict=True):
                    more = code.fma(one, code.load(line, place), builder.load(total))
                    builder.store(more, total)
            for i, total in zip(at, sums, strict=True):
                code.store(builder.load(total), out, i)
            return context.get_dummy_value()

        return signature, generate

    return add


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _small = functools.partial(_add_in_python, most=SMALL)
    _large = functools.partial(_add_in_python, most=LARGE)
else:
    _small, _large = _make(SMALL), _make(LARGE)


@kernel
def add_patches(out, o0, out_pieces, factor, b, where, pieces, k0, step, count):
    """Add ``count`` patches of b, each times its factor, to ``out``."""
    last = pieces.size - 1
    for first in range(0, pieces.size, LARGE):
        if pieces.size - first <= SMALL:
            _small(
                out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count
            )  # fmt: skip
        else:
            _large(
                out, o0, out_pieces, factor, b, where, pieces, first, last, k0, step, count
            )  # fmt: skip

"""Gradients of another shape, and errors whose text tells the cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minicnn.objects import said
from minicnn.shapes import ShapeError
from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence
from minicnn.testing.derivatives import DOUBLE

if TYPE_CHECKING:
    from minicnn.testing.check import Check

EMPTY = (
    "the gradient is empty: a slice [p:-p] with p = 0 takes nothing, since -0 is 0. Write "
    "[p : p + size]: padding may be 0."
)
NOT_RESHAPED = (
    "it is not reshaped back: forward flattens or reshapes {name}; use reshape({name}.shape)."
)
AXIS_KEPT = (
    "keepdims=True keeps an axis of size 1 that {name} does not have, as in a shape (1, C) where "
    "(C,) is meant; or a sum is missing over an axis that has size 1 here."
)
AXIS_LOST = (
    "an axis of size 1 is lost: keepdims=True is missing in a sum, or a squeeze takes one too many."
)
SUM_MISSING = "a sum is missing over an axis that forward spread it along."
SUMMED = "a sum too many: an axis of {name} is gone."
LEFT_OVER = (
    "elements at the end that no window reaches are left out: the stride does not divide. Begin "
    "with zeros of the shape of the argument."
)
PADDING_KEPT = (
    "the padding is not cut off: the gradient is that of the padded {name}. Take the part inside."
)
REVERSED = "all axes are reversed: .T of an array of more than two axes."


def of_shape(check: Check, i: int) -> str | None:
    """Return the likely cause of a gradient of the wrong shape, if its numbers confirm it."""
    array, gradient, name = check.arrays[i], check.gradients[i], check.subject.names[i]
    assert array is not None
    assert gradient is not None
    said = of_shapes(gradient.shape, array.shape)
    if gradient.size == 0 and array.size:
        return EMPTY
    mended = list(_mended(gradient, array.shape))
    if not mended or array.size > 2000 or not np.isfinite(check.y).all():
        return said.format(name=name) if said else None
    numeric = _numeric(check, i)
    if numeric is None:
        return said.format(name=name) if said else None
    for cause, gradient_as_meant in mended:
        known = np.isfinite(numeric)
        size = max(np.abs(numeric[known]).max(initial=0), 1e-30)
        exact = 1e-5 if check.precision is DOUBLE else 2e-2
        gap = np.abs(gradient_as_meant - numeric)[known]
        if gap.size and gap.max() <= exact * size:
            return cause.format(name=name)
    return None


def _mended(gradient: np.ndarray, shape: tuple[int, ...]):
    """Yield possible intended gradients of the right shape, each with its text."""
    g = gradient
    if g.ndim > 1 and g.T.shape == shape:
        yield (texts.TRANSPOSED if g.ndim == 2 else REVERSED), g.T
    if g.ndim > 2 and g.swapaxes(-1, -2).shape == shape:
        yield texts.SWAPPED, g.swapaxes(-1, -2)
    if g.ndim > 2 and g.swapaxes(0, 1).shape == shape:
        yield texts.TRANSPOSED, g.swapaxes(0, 1)
    if g.size == int(np.prod(shape)):
        if [s for s in g.shape if s != 1] == [s for s in shape if s != 1]:
            yield (AXIS_KEPT if g.ndim > len(shape) else AXIS_LOST), g.reshape(shape)
        yield NOT_RESHAPED, g.reshape(shape)
    if g.ndim > len(shape):
        extra = g.ndim - len(shape)
        if g.shape[extra:] == shape:
            yield SUM_MISSING, g.sum(axis=tuple(range(extra)))
        for axis in range(g.ndim):
            if extra == 1 and g.sum(axis=axis).shape == shape:
                yield SUM_MISSING, g.sum(axis=axis)
    if g.ndim == len(shape):
        if all(a == b or b == 1 for a, b in zip(g.shape, shape, strict=True)):
            axes = tuple(k for k in range(g.ndim) if g.shape[k] != shape[k])
            yield SUM_MISSING, g.sum(axis=axes, keepdims=True)
        if all(a <= b for a, b in zip(g.shape, shape, strict=True)):
            whole = np.zeros(shape)
            whole[tuple(slice(0, s) for s in g.shape)] = g
            yield LEFT_OVER, whole
        more = [a - b for a, b in zip(g.shape, shape, strict=True)]
        if all(m >= 0 and m % 2 == 0 for m in more) and any(more):
            inside = tuple(slice(m // 2, m // 2 + b) for m, b in zip(more, shape, strict=True))
            yield PADDING_KEPT, g[inside]


def _numeric(check: Check, i: int) -> np.ndarray | None:
    """Return the gradient by differences, NaN where not measured."""
    nothing = np.zeros(0, int)
    kept = check.gradients
    array = check.arrays[i]
    assert array is not None
    check.gradients = (*kept[:i], np.zeros(array.shape), *kept[i + 1 :])
    try:
        return Evidence(check, i, nothing, nothing, True).numeric
    except Exception:
        return None
    finally:
        check.gradients = kept


def of_shapes(got: tuple[int, ...], needed: tuple[int, ...]) -> str | None:
    """Return the likely cause of a wrong shape, from the shapes alone."""
    if len(got) > len(needed):
        return SUM_MISSING
    if len(got) == len(needed):
        if len(got) >= 2 and got == (*needed[:-2], needed[-1], needed[-2]):
            return texts.SWAPPED if len(got) > 2 else texts.TRANSPOSED
        if all(g <= n for g, n in zip(got, needed, strict=True)):
            return LEFT_OVER
    return None


def of_exception(error: BaseException) -> str | None:
    """Return the likely cause of an error raised by forward or backward."""
    if isinstance(error, ShapeError):
        return None  # its text has the remedy
    if isinstance(error, SystemExit):
        return "it ends the process; take exit() and sys.exit() out of forward and backward."
    return texts.INPUT_WRITTEN if "read-only" in said(error) else None

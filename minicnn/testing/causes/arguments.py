"""The gradient of another call: an argument forgotten, flipped, or confused with another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    texts.FLIPPED: lambda a: a[..., ::-1, ::-1],
    texts.SWAPPED: lambda a: a.swapaxes(-1, -2),
    texts.TRANSPOSED: lambda a: a.swapaxes(0, 1),
}


def _others(e: Evidence) -> list[tuple[int, str, np.ndarray]]:
    return [
        (j, name, a)
        for j, (name, a) in enumerate(zip(e.check.subject.names, e.check.arrays, strict=True))
        if j != e.i and a is not None and a.dtype.kind == "f" and a.size
    ]


def forgotten(e: Evidence) -> str | None:
    """A parameter that is missing from the gradient, as if it were 1."""
    for j, name, a in _others(e):
        if (a == 1).all():
            continue
        expected = e.with_argument(j, np.ones_like(a))
        if expected is not None and e.fits(expected):
            return texts.FORGOTTEN.format(other=name)
    return None


def exchanged(e: Evidence) -> str | None:
    """One argument used instead of another of the same shape: x for w."""
    for j, name, a in _others(e):
        if a.shape != e.array.shape:
            continue
        expected = e.with_argument(j, e.array)
        if expected is not None and e.fits(expected):
            return texts.SWAPPED_ARGUMENTS.format(one=e.name, other=name)
        moved = _at(e, a)
        if moved is not None and e.fits(moved):
            return texts.SWAPPED_ARGUMENTS.format(one=name, other=e.name)
    for j, name, a in _others(e):
        for k, other, b in _others(e):
            if j != k and a.shape == b.shape:
                expected = e.with_argument(j, b)
                if expected is not None and e.fits(expected):
                    return texts.SWAPPED_ARGUMENTS.format(one=other, other=name)
    return None


def _at(e: Evidence, array: np.ndarray) -> np.ndarray | None:
    """Return the gradient by differences at another value of the argument itself."""
    arrays = (*e.check.arrays[: e.i], np.asarray(array), *e.check.arrays[e.i + 1 :])
    try:
        y = e.check.value(arrays)
    except Exception:
        return None
    if y.shape != e.y.shape or not np.isfinite(y).all():
        return None
    return e.replay(e.check.value, arrays, e.dy)


def output_for_input(e: Evidence) -> str | None:
    """The derivative at y instead of at x."""
    if e.y.shape != e.array.shape:
        return None
    expected = _at(e, e.y)
    if expected is not None and e.fits(expected):
        return texts.OUTPUT_FOR_INPUT.format(name=e.name)
    return None


def turned_weight(e: Evidence) -> str | None:
    """The gradient of x with the kernel flipped, or the matrix not transposed."""
    for j, name, a in _others(e):
        for turn, function in TURNS.items():
            if a.ndim < 2 or (a.ndim == 2 and turn != texts.TRANSPOSED):
                continue
            turned = function(a)
            if turned.shape != a.shape or np.array_equal(turned, a):
                continue
            expected = e.with_argument(j, turned.copy())
            if expected is not None and e.fits(expected):
                return texts.TURNED_WEIGHT.format(other=name, turn=turn)
    return None


def turned(e: Evidence) -> str | None:
    """The gradient itself is flipped."""
    for cause, turn in TURNS.items():
        if e.numeric.ndim < 2 or (e.numeric.ndim == 2 and cause != texts.TRANSPOSED):
            continue
        if e.fits(turn(e.smooth)):
            return cause
    return None

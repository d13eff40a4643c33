"""Gradients that are wrong by an amount: too large, too small, zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence
from minicnn.testing.conventions import Subject
from minicnn.testing.derivatives import DOUBLE


def small(e: Evidence) -> str | None:
    """An error only a little larger than rounding: no pattern can be trusted."""
    known = np.isfinite(e.smooth)
    if not known.any() or not np.isfinite(e.gradient).all():
        return None
    error = np.abs(e.gradient - e.smooth)[known].max() / e.scale
    limit = 1e-4 if e.check.precision is DOUBLE else 5e-3
    return texts.SMALL.format(error=error) if 0 < error < limit else None


def infinite(e: Evidence) -> str | None:
    bad = ~np.isfinite(e.gradient)
    if not bad.any() or np.isinf(e.numeric[bad]).any():
        return None
    value = "NaN" if np.isnan(e.gradient[bad]).any() else "an infinite gradient"
    return texts.INFINITE.format(value=value)


def zero(e: Evidence) -> str | None:
    return None if e.gradient.any() else texts.ZERO


def skip(e: Evidence) -> str | None:
    """A missing branch that passes dy on unchanged."""
    return texts.SKIP if e.dy.shape == e.gradient.shape and e.fits(e.smooth - e.dy) else None


def times(e: Evidence) -> str | None:
    return factor(e.gradient, e.smooth, numbers_of(e.check.subject, e.y.shape), e.exact)


def factor(
    ours: np.ndarray, true: np.ndarray, numbers: Mapping[str, float], exact: float = 1e-5
) -> str | None:
    """Return the factor by which ``ours`` is wrong, if it is one number for all elements."""
    known = np.isfinite(true)
    a, b = ours[known], true[known]
    if not a.size or not b.any() or not a.any() or not np.isfinite(a).all():
        return None
    k = float((a * b).sum() / (b * b).sum())
    if abs(k + 1) < exact / 10 and np.abs(a + b).max() <= exact * np.abs(a).max():
        return texts.SIGN
    if abs(k - 1) < exact / 10 or np.abs(a - k * b).max() > exact * np.abs(a).max():
        return None
    shown = f"{k:.6g}" if exact < 1e-4 else f"{k:.3g}"
    names = [name for name, number in numbers.items() if abs(number / k - 1) < exact]
    if names:
        return f"it is {shown} times what it should be, perhaps {' or '.join(names[:2])}."
    # With few numbers, one is always a multiple of the other.
    return f"it is {shown} times what it should be." if np.count_nonzero(b) > 3 else None


def numbers_of(subject: Subject, y_shape: tuple[int, ...]) -> dict[str, float]:
    """Return possible wrong factors, with their descriptions."""
    found: dict[str, float] = {}
    shapes = {
        name: a.shape for name, a in zip(subject.names, subject.arrays, strict=True)
        if a is not None
    }  # fmt: skip
    shapes["y"] = y_shape
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            found.setdefault(f"the size of axis {axis} of {name}", size)
        found.setdefault(f"the number of elements of {name}", int(np.prod(shape)))
        if len(shape) > 1:
            rest = int(np.prod(shape)) // max(shape[1], 1)
            found.setdefault(f"the number of elements of {name} in each channel", rest)
    for name, value in subject.options.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value:
            found.setdefault(name, value)
            if 0 < value < 1:
                found.setdefault(f"1 - {name}", 1 - value)
    counts = {f"({name} - 1) / {name}": (v - 1) / v for name, v in found.items() if v > 1}
    inverse = {f"1 / ({name})": 1 / v for name, v in found.items() if v}
    squares = {f"1 / ({name})^2": 1 / v**2 for name, v in found.items() if v}
    every = inverse | found | counts | squares
    return {name: v for name, v in every.items() if v != 1}

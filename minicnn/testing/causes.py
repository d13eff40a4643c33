"""Which mistake makes a gradient wrong in this way?

Most mistakes of hand-written backprop leave a pattern: a constant factor, a kernel turned around,
one of several contributions missing. Each test below knows one pattern; the first that fits is
named. A cause is likely, never certain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.shapes import ShapeError
from minicnn.testing.equivalents import Equivalent
from minicnn.testing.subjects import Arrays, Subject

INPUT_WRITTEN = "an operation in place (x += ..., x[mask] = 0, out=x); work on a copy."
UPSTREAM_WRITTEN = (
    "an operation in place on dy (dy[mask] = 0, dy *= ...). Others still need dy: in a sum it is "
    "handed to every branch. Make a new array."
)
CACHE_USED_UP = "backward changes an array in the cache; work on a copy of it."
STALE = (
    "a stale cache: backward reads what the latest forward left behind (self.x = x), or an array "
    "that it has reused. Return what backward needs from forward, as the cache."
)
OVERWRITES = (
    "grad = ... where grad += ... is needed: a parameter that is used twice receives the sum."
)
DTYPE = (
    "the dtype changed: an array made without dtype= (np.zeros, np.arange), or a NumPy float64 "
    "scalar in the arithmetic. Make it of x.dtype."
)
RANDOM = (
    "a random number without a generator that was passed in, or a state that forward changes and "
    "then uses."
)
OVERFLOW = (
    "overflow: exp of a large number, then inf/inf or inf - inf. Subtract the greatest first: "
    "softmax does not change by it."
)
UPSTREAM_IGNORED = (
    "the upstream gradient is ignored: backward gives the same for another dy. By the chain rule "
    "every term is multiplied by dy."
)
TIES_TO_ALL = (
    "at ties the gradient is given to all equals, so that it counts several times. It belongs to "
    "one of them, the first."
)
TIES_SHARED = (
    "at ties the gradient is shared among the equals; like torch, give it to one of them, the "
    "first."
)
ACCUMULATION = (
    "a missing accumulation: where windows overlap (or an index occurs twice) only one of the "
    "contributions arrives. Use += , or np.add.at for index arrays."
)
SWAPPED = "height and width are swapped."
FLIPPED = "the kernel is flipped: convolution where correlation is meant, or the reverse."
TRANSPOSED = "the first two axes are swapped: a transposition is missing, or one too many."
MISPLACED = (
    "the right amounts at the wrong places: an index that forgets stride, dilation or padding, or "
    "a reshape that mixes axes."
)
PARTIAL = "a sum leaves out an axis (or takes one entry of it): only a part of the terms arrives."
MEAN = (
    "a mean, a maximum or a normaliser is treated as a constant: adding a constant to {name} "
    "changes nothing in forward, but backward says it does. Differentiate through it too."
)
VARIANCE = (
    "a variance or a norm is treated as a constant: scaling {name} about its mean changes nothing "
    "in forward, but backward says it does. Differentiate through it too."
)
FLAT = (
    "forward does not move where backward says it does: a clip, a rounding, or log(p + eps), which "
    "is flat where p is small against eps."
)
UNREACHABLE = (
    "y does not depend on these elements at all: an index that forgets stride, dilation or "
    "padding, or a mask of forward (dropout, ReLU) that backward leaves out."
)
ZERO = (
    "backward gives nothing but zeros: a gradient that is never computed, or for a parameter "
    "add_grad that is never called."
)
SIGN = "the sign is wrong."
SKIP = (
    "the branch that hands x on unchanged is forgotten: of a sum, dy goes to every branch, also "
    "along a skip connection."
)
NOT_LINEAR = (
    "backward treats dy otherwise than as a factor: it clips or divides by it, keeps a gradient of "
    "an earlier dy in the cache, or reads its memory in another order than its indices."
)
NARROW = (
    "something that float32 cannot hold (exp beyond 88, a small difference of large numbers), or "
    "that is done for one dtype only."
)
UNREACHED = (
    "no gradient arrives at elements that y does depend on: pixels at the end that a stride leaves "
    "over, a mask, or an early return."
)
ALIAS = (
    "the cache holds the very array that forward returned, and it was changed afterwards (y += ...,"
    " an addition in place in a residual block)."
)
BORDER = (
    "it is wrong only where windows reach into the padding: what padding counts as. For a maximum "
    "it never wins, not even against negative numbers; in a mean it counts or does not."
)


Again = Callable[..., np.ndarray | None]


@dataclass
class Evidence:
    """A gradient that is wrong, and what forward says it should be."""

    name: str
    array: np.ndarray
    gradient: np.ndarray
    numeric: np.ndarray  # NaN where it was not measured
    contributions: Mapping[int, np.ndarray]  # element -> dy * dy/dx, of the shape of y
    wrong: np.ndarray  # flat indices
    at_kinks: np.ndarray  # flat indices of elements at kinks
    adjoint_holds: bool
    dy: np.ndarray
    unreachable: bool  # y depends on none of the wrong elements, wherever they are
    numbers: Mapping[str, float]  # that a factor might be
    again: Again  # (dy, restored) -> the gradient for another dy, or from another cache

    @property
    def scale(self) -> float:
        known = self.numeric[np.isfinite(self.numeric)]
        return float(max(np.abs(self.gradient).max(), np.abs(known).max(initial=0)))

    def fits(self, expected: np.ndarray) -> bool:
        """Tell whether the wrong gradient is ``expected``, where that is known."""
        if expected.shape != self.gradient.shape:
            return False
        known = np.isfinite(expected)
        gap = np.abs(self.gradient - expected)[known]
        return bool(gap.size == self.gradient.size and gap.max() <= 1e-5 * self.scale)


def of_gradient(e: Evidence) -> str | None:
    """Return the likely cause of a wrong gradient."""
    tests = (
        _zero, _upstream, _ties, _factor, _skip, _turned, _accumulation, _partial, _constants,
        _flat, _places, _alias,
    )  # fmt: skip
    for test in tests:
        cause = test(e)
        if cause:
            return cause.format(name=e.name)
    return None


def _zero(e: Evidence) -> str | None:
    return None if e.gradient.any() else ZERO


def _upstream(e: Evidence) -> str | None:
    other = e.again(np.asarray(2 * e.dy + 1))
    return UPSTREAM_IGNORED if other is not None and np.array_equal(other, e.gradient) else None


def _skip(e: Evidence) -> str | None:
    """A branch that hands dy on as it is, and is missing."""
    return SKIP if e.dy.shape == e.gradient.shape and e.fits(e.numeric - e.dy) else None


def _alias(e: Evidence) -> str | None:
    """With y as it was before x was added to it, backward is right."""
    if e.array.shape != e.dy.shape:
        return None
    return ALIAS if _fits_numeric(e, e.again(e.dy.copy(), e.array)) else None


def _fits_numeric(e: Evidence, other: np.ndarray | None) -> bool:
    if other is None or other.shape != e.numeric.shape or np.isnan(e.numeric).any():
        return False
    return bool(np.abs(other - e.numeric).max() <= 1e-5 * e.scale)


def _factor(e: Evidence) -> str | None:
    smooth = e.numeric.copy()
    smooth.reshape(-1)[e.at_kinks] = np.nan  # there the central slope is no derivative
    return factor(e.gradient, smooth, e.numbers)


def _turned(e: Evidence) -> str | None:
    for cause, turn in TURNS.items():
        if e.numeric.ndim < 2 or (e.numeric.ndim == 2 and cause != TRANSPOSED):
            continue
        if e.fits(turn(e.numeric)):
            return cause
    return None


def _ties(e: Evidence) -> str | None:
    if not np.isin(e.wrong, e.at_kinks).all():
        return None
    return TIES_SHARED if e.adjoint_holds else TIES_TO_ALL


def _accumulation(e: Evidence) -> str | None:
    """One contribution where there are several: of one output, or of one place of all channels."""
    if e.array.ndim != e.dy.ndim or e.array.ndim < 3 or e.array.shape[0] != e.dy.shape[0]:
        return None  # no windows: a parameter, say, that all the batch shares
    seen = 0
    for element in e.wrong:
        c = e.contributions.get(int(element))
        if c is None or c.ndim == 0:
            continue
        if c.ndim > 2:
            c = c.sum(axis=1)
        parts = c.reshape(-1)
        parts = parts[np.abs(parts) > 1e-6 * e.scale]
        if parts.size < 2:
            return None
        if not any(_near(part, e.gradient.reshape(-1)[element]) for part in parts):
            return None
        seen += 1
    return ACCUMULATION if seen else None


def _partial(e: Evidence) -> str | None:
    """A sum over some axes of dy instead of all: one slice of it."""
    for element in e.wrong:
        c = e.contributions.get(int(element))
        if c is None:
            return None
        value = e.gradient.reshape(-1)[element]
        slices = [
            part.sum()
            for axis in range(c.ndim)
            if c.shape[axis] > 1
            for part in np.moveaxis(c, axis, 0)
        ]
        if not any(_near(s, value) for s in slices):
            return None
    return PARTIAL


def _constants(e: Evidence) -> str | None:
    """Forward that subtracts a mean does not see a constant; nor a scale, if it divides by it."""
    if np.isnan(e.numeric).any() or np.abs(e.numeric).max() < 1e-3 * e.scale:
        return None
    axes = range(e.array.ndim)
    for count in range(1, e.array.ndim + 1):
        for over in itertools.combinations(axes, count):
            if np.prod([e.array.shape[a] for a in over]) < 2:
                continue
            for cause, direction in (
                (MEAN, np.ones_like(e.array)),
                (VARIANCE, e.array - e.array.mean(axis=over, keepdims=True)),
            ):
                true = np.abs((e.numeric * direction).sum(axis=over)).max()
                ours = np.abs((e.gradient * direction).sum(axis=over)).max()
                if ours > 1e-4 * e.scale and true < 1e-2 * ours:
                    return cause
    return None


def _flat(e: Evidence) -> str | None:
    ours = e.gradient.reshape(-1)[e.wrong]
    true = e.numeric.reshape(-1)[e.wrong]
    if (np.abs(true) <= 1e-4 * np.abs(ours)).all():
        return UNREACHABLE if e.unreachable else FLAT
    if (np.abs(ours) <= 1e-9 * np.abs(true)).all():
        return UNREACHED
    return None


def _places(e: Evidence) -> str | None:
    if np.isnan(e.numeric).any():
        return None
    if _permuted(e.gradient, e.numeric, 1e-5 * e.scale):
        return MISPLACED
    total = e.numeric.sum()
    same = abs(e.gradient.sum() - total) <= 1e-5 * abs(total)
    return MISPLACED if same and abs(total) > 1e-3 * e.scale and e.gradient.size > 1 else None


def _near(a: float, b: float) -> bool:
    return bool(abs(a - b) <= 1e-5 * max(abs(a), abs(b)))


def _permuted(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return bool(
        a.size > 1 and np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).max() <= tolerance
    )


# ---------------------------------------------------------------------------------------- factors


def factor(ours: np.ndarray, true: np.ndarray, numbers: Mapping[str, float]) -> str | None:
    """Return what ``ours`` is too large or too small by, if it is one number throughout."""
    known = np.isfinite(true)
    a, b = ours[known], true[known]
    if not a.size or not b.any() or not a.any():
        return None
    k = float((a * b).sum() / (b * b).sum())
    if abs(k + 1) < 1e-6 and np.abs(a + b).max() <= 1e-5 * np.abs(a).max():
        return SIGN
    if abs(k - 1) < 1e-6 or np.abs(a - k * b).max() > 1e-5 * np.abs(a).max():
        return None
    names = [name for name, number in numbers.items() if abs(number / k - 1) < 1e-5]
    if names:
        return f"it is {k:.6g} times what it should be, perhaps {' or '.join(names[:2])}."
    # Of few numbers, one is always a multiple of the other.
    return f"it is {k:.6g} times what it should be." if a.size > 3 else None


def numbers_of(subject: Subject, y_shape: tuple[int, ...]) -> dict[str, float]:
    """Return numbers that a wrong factor might be, by what they are."""
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


# ------------------------------------------------------------------------------ turned around

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    FLIPPED: lambda a: a[..., ::-1, ::-1],
    SWAPPED: lambda a: a.swapaxes(-1, -2),
    TRANSPOSED: lambda a: a.swapaxes(0, 1),
}


def of_shapes(got: tuple[int, ...], needed: tuple[int, ...]) -> str | None:
    """Return the likely cause of a gradient of the wrong shape."""
    if len(got) > len(needed):
        return "a sum is missing over an axis that forward spread it along."
    if len(got) == len(needed):
        if len(got) >= 2 and got == (*needed[:-2], needed[-1], needed[-2]):
            return SWAPPED if len(got) > 2 else TRANSPOSED
        if all(g <= n for g, n in zip(got, needed, strict=True)):
            return (
                "elements at the end that no window reaches are left out: the stride does not "
                "divide. Begin with zeros of the shape of the argument."
            )
    return None


def of_exception(error: Exception) -> str | None:
    """Return the likely cause of an error raised by forward or backward."""
    if isinstance(error, ShapeError):
        return None  # it says itself what to do
    return INPUT_WRITTEN if "read-only" in str(error) else None


# ----------------------------------------------------------------------------------------- values


def of_values(
    ours: np.ndarray,
    true: np.ndarray,
    arrays: Arrays,
    against: Equivalent,
    numbers: Mapping[str, float],
) -> str | None:
    """Return why forward might differ from its equivalent."""
    if not np.isfinite(ours).all() and np.isfinite(true).all():
        return OVERFLOW
    for cause, changed, options in _variations(arrays, against.options):
        try:
            if _equal(ours, against.value(changed, options)):
                return cause
        except Exception:  # the variation is no legal call
            continue
    if ours.shape != true.shape:
        return of_shapes(ours.shape, true.shape)
    too_large = factor(ours, true, numbers)
    if too_large:
        return too_large
    wrong = ~np.isclose(ours, true, rtol=1e-9, atol=1e-12)
    padded = np.any(against.options.get("padding", 0)) or against.options.get("ceil_mode")
    if ours.ndim == 4 and padded and not wrong[:, :, 1:-1, 1:-1].any():
        return BORDER
    if _permuted(ours, true, 1e-9 * float(np.abs(true).max())):
        return MISPLACED
    return None


def of_rejection(error: Exception, arrays: Arrays, against: Equivalent) -> str | None:
    """Return why forward might raise where its equivalent does not."""
    for cause, changed, options in _variations(arrays, against.options):
        try:
            against.value(changed, options)
        except Exception as same:
            if type(same) is type(error) and str(same) == str(error):
                return cause
    return None


def _variations(
    arrays: Arrays, options: Mapping[str, Any]
) -> Iterator[tuple[str, Arrays, Mapping[str, Any]]]:
    """Yield calls that somebody may have computed by mistake."""
    for i, array in enumerate(arrays):
        if array is not None and array.ndim == 4 and i > 0:
            for cause, turn in TURNS.items():
                yield cause, (*arrays[:i], turn(array), *arrays[i + 1 :]), options
    for name, value in options.items():
        if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] != value[1]:
            yield f"{SWAPPED[:-1]} in {name}.", arrays, {**options, name: (value[1], value[0])}
        if isinstance(value, bool):
            yield f"{name} is taken for {not value}.", arrays, {**options, name: not value}
    for name in ("dilation", "stride", "groups", "label_smoothing", "weight", "divisor_override"):
        if name in options:
            rest = {key: value for key, value in options.items() if key != name}
            yield f"{name} is ignored.", arrays, rest


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12)


def replaced(cache: Any, y: np.ndarray, x: np.ndarray) -> Any:
    """Return the cache with y - x where it holds y itself."""
    if isinstance(cache, np.ndarray) and cache.shape == y.shape and np.may_share_memory(cache, y):
        return y - x
    if isinstance(cache, dict):
        return {key: replaced(part, y, x) for key, part in cache.items()}
    if isinstance(cache, (tuple, list)):
        parts = [replaced(part, y, x) for part in cache]
        return type(cache)(*parts) if hasattr(cache, "_fields") else type(cache)(parts)
    return cache

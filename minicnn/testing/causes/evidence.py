"""A wrong gradient and the right one by differences: the data for replaying mistakes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.testing.conventions import Arrays
from minicnn.testing.derivatives import DOUBLE, central

if TYPE_CHECKING:
    from minicnn.testing.check import Check

JACOBIAN = 4_000_000  # about so many numbers of the derivative are measured
ELEMENTS = 3000
REPLAYED = 60  # elements in a replay that runs forward again


class Evidence:
    """The wrong gradient of argument ``i`` at the arrays of a check.

    Attributes
        array, gradient, y, dy   at this point
        wrong, at_kinks          flat indices of the elements that are wrong, or at kinks
        adjoint_holds            whether all elements together agree with forward
        elements                 flat indices of the elements that were measured
    """

    def __init__(
        self, check: Check, i: int, wrong: np.ndarray, at_kinks: np.ndarray, adjoint_holds: bool
    ) -> None:
        self.check, self.i, self.name = check, i, check.subject.names[i]
        array, gradient = check.arrays[i], check.gradients[i]
        assert array is not None
        assert gradient is not None
        self.array, self.gradient, self.y, self.dy = array, gradient, check.y, check.dy
        self.wrong, self.at_kinks, self.adjoint_holds = wrong, at_kinks, adjoint_holds
        count = min(array.size, ELEMENTS, JACOBIAN // max(self.y.size, 1) + 60)
        rest = np.setdiff1d(np.arange(array.size), wrong)
        spare = np.random.default_rng(0).permutation(rest)[
            : max(count - min(len(wrong), count // 2), 0)
        ]
        self.elements = np.sort(np.concatenate([wrong[: count - len(spare)], spare])).astype(int)
        self.exact = 1e-5 if check.precision is DOUBLE else 2e-2

    # ---- measured

    @cached_property
    def jacobian(self) -> np.ndarray:
        """dy/dx of the measured elements, of shape (elements, *y.shape)."""
        step = self.check.precision.steps[2 if self.check.precision is DOUBLE else 1]
        rows = [central(self.check.along(self.i, int(e)), step) for e in self.elements]
        return np.asarray(rows).reshape(len(rows), *self.y.shape)

    @cached_property
    def contributions(self) -> np.ndarray:
        """The contribution of each output to each measured element: dy * dy/dx."""
        return self.jacobian * self.dy

    @cached_property
    def numeric(self) -> np.ndarray:
        """The gradient by differences, NaN where it was not measured."""
        return self.spread(self.contributions.reshape(len(self.elements), -1).sum(axis=1))

    def pulled_back(self, dy: np.ndarray) -> np.ndarray:
        """Return J^T dy for another dy, NaN where it was not measured."""
        return self.spread((self.jacobian * dy).reshape(len(self.elements), -1).sum(axis=1))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return an array of the gradient's shape with the values at the measured elements."""
        found = np.full(self.gradient.size, np.nan)
        found[self.elements] = values
        return found.reshape(self.gradient.shape)

    @property
    def complete(self) -> bool:
        return len(self.elements) == self.gradient.size

    @cached_property
    def smooth(self) -> np.ndarray:
        """``numeric`` without elements at kinks, where the central slope is not a derivative."""
        found = self.numeric.copy()
        found.reshape(-1)[self.at_kinks] = np.nan
        return found

    @cached_property
    def scale(self) -> float:
        known = self.numeric[np.isfinite(self.numeric)]
        ours = self.gradient[np.isfinite(self.gradient)]
        return float(max(np.abs(ours).max(initial=0), np.abs(known).max(initial=0))) or 1.0

    # ---- compared

    def fits(self, expected: np.ndarray, least: int = 1) -> bool:
        """Return whether the wrong gradient equals ``expected``, where that is known.

        The known part must show the fault: it must differ from the right gradient.
        """
        if expected.shape != self.gradient.shape:
            return False
        known = np.isfinite(expected)
        if self.at_kinks.size:
            known.reshape(-1)[self.at_kinks] = False
        if known.sum() < least or not np.isfinite(self.gradient[known]).all():
            return False
        return bool(np.abs(self.gradient - expected)[known].max() <= self.exact * self.scale)

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Return whether two arrays are equal, relative to the gradient."""
        known = np.isfinite(a) & np.isfinite(b)
        return bool(known.any() and np.abs(a - b)[known].max() <= self.exact * self.scale)

    @property
    def shows(self) -> bool:
        """Return whether the gradient differs from the measured one at smooth points."""
        known = np.isfinite(self.smooth)
        return bool(
            known.any()
            and not np.abs(self.gradient - self.smooth)[known].max() <= 1e-6 * self.scale
        )

    # ---- asked again

    def replay(self, value: Callable[[Arrays], np.ndarray], arrays: Arrays, dy: np.ndarray
               ) -> np.ndarray | None:  # fmt: skip
        """Return the gradient of <dy, value> at other arrays, NaN where not measured.

        None if it differs from the wrong gradient along some direction, which is a quick test. The
        argument may have become larger; its old elements are then the first ones.
        """
        array = arrays[self.i]
        assert array is not None
        elements = self.elements
        if len(elements) > REPLAYED:
            elements = np.random.default_rng(1).permutation(elements)[:REPLAYED]
        inside = np.unravel_index(elements, self.gradient.shape)
        step = self.check.precision.steps[2 if self.check.precision is DOUBLE else 1]
        found = np.full(self.gradient.shape, np.nan)
        if not self._fits_along_a_direction(value, arrays, dy, step):
            return None
        try:
            for place in zip(*inside, strict=True):

                def along(t: complex, place: Any = place) -> np.ndarray:
                    moved = np.array(array, dtype=float)
                    moved[place] += t.real if isinstance(t, complex) else t
                    return value((*arrays[: self.i], moved, *arrays[self.i + 1 :]))

                found[place] = float((dy * central(along, step)).sum())
        except KeyboardInterrupt:
            raise
        except BaseException:  # this is no legal call
            return None
        return found

    def _fits_along_a_direction(
        self, value: Callable[[Arrays], np.ndarray], arrays: Arrays, dy: np.ndarray, step: float
    ) -> bool:
        array = arrays[self.i]
        assert array is not None
        v = np.random.default_rng(2).standard_normal(self.gradient.shape)
        longer = np.zeros(array.shape)
        longer[tuple(slice(0, size) for size in v.shape)] = v

        def along(t: complex) -> np.ndarray:
            moved = np.asarray(array + t * longer, float)
            return value((*arrays[: self.i], moved, *arrays[self.i + 1 :]))

        try:
            slope = float((dy * central(along, step)).sum())
        except KeyboardInterrupt:
            raise
        except BaseException:  # this is no legal call
            return False
        terms = self.gradient * v
        size = float(np.abs(terms).sum()) + abs(slope)
        return bool(abs(slope - terms.sum()) <= 100 * self.exact * size)

    def with_argument(self, j: int, other: np.ndarray) -> np.ndarray | None:
        """Return the gradient by differences with argument ``j`` replaced."""
        arrays = (*self.check.arrays[:j], np.asarray(other), *self.check.arrays[j + 1 :])
        try:
            if self.check.value(arrays).shape != self.y.shape:
                return None
        except KeyboardInterrupt:
            raise
        except BaseException:
            return None
        return self.replay(self.check.value, arrays, self.dy)

    def again(self, dy: np.ndarray, restored: np.ndarray | None = None) -> np.ndarray | None:
        """Return the gradient for another dy; ``restored`` replaces y in the cache."""
        try:
            y, cache = self.check.run()
            if restored is not None:
                cache = replaced(cache, y, restored)
            return self.check.backward(dy, cache)[self.i]
        except KeyboardInterrupt:
            raise
        except BaseException:
            return None

    def reaches(self, element: int) -> bool:
        """Return whether y depends on an element, at any of some random points."""
        for _ in range(3):
            arrays = self.check.random()
            moved = np.array(arrays[self.i])
            moved.reshape(-1)[element] += 1.5
            after = self.check.value((*arrays[: self.i], moved, *arrays[self.i + 1 :]))
            if not np.array_equal(self.check.value(arrays), after):
                return True
        return False


def at_ordinary_numbers(check: Check, i: int) -> Evidence | None:
    """Return the evidence at random numbers, or None if the gradient is right there."""
    from minicnn.testing.check import Check, wide

    other = Check(check.subject, None, check.updates, np.random.default_rng(7),
                  check.random(), check.precision)  # fmt: skip
    other.protected = check.protected
    try:
        y, cache = other.run()
        if y.shape != check.y.shape or not np.isfinite(y).all():
            return None
        other.y, other.dy = wide(y).copy(), check.dy
        found = other.backward(other.dy.copy(), cache)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    other.gradients = tuple(
        None if g is None else wide(g) if g.dtype.kind == "f" else g for g in found
    )
    gradient, array = other.gradients[i], other.arrays[i]
    if gradient is None or array is None or gradient.shape != array.shape:
        return None
    nothing = np.zeros(0, int)
    evidence = Evidence(other, i, nothing, nothing, True)
    gap = np.abs(gradient - evidence.numeric)
    bad = np.flatnonzero(~(gap <= max(evidence.exact, 1e-5) * evidence.scale) & np.isfinite(
        evidence.numeric))  # fmt: skip
    evidence.wrong = bad
    return evidence if bad.size else None


def replaced(cache: Any, y: np.ndarray, x: np.ndarray) -> Any:
    """Return the cache with y - x in place of y."""
    if isinstance(cache, np.ndarray) and cache.shape == y.shape and np.may_share_memory(cache, y):
        return y - x
    if isinstance(cache, dict):
        return {key: replaced(part, y, x) for key, part in cache.items()}
    if isinstance(cache, (tuple, list)):
        parts = [replaced(part, y, x) for part in cache]
        return type(cache)(*parts) if hasattr(cache, "_fields") else type(cache)(parts)
    return cache

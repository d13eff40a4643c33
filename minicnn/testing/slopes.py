"""Comparing a gradient with the slopes of forward.

Each element is compared with central differences. If they disagree, smaller steps are tried, and
the slopes on both sides, because there may be a kink. All elements together are compared along some
directions. If forward takes complex numbers, the last digits are checked too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from minicnn.testing import causes
from minicnn.testing.check import Check, Kinks
from minicnn.testing.derivatives import (
    DOUBLE,
    SINGLE,
    Along,
    Kink,
    Slope,
    central,
    complex_step,
    directions,
    kink,
    rounding,
    slope,
)
from minicnn.testing.report import Argument

TOLERANCE_COMPLEX = 1e-9
DIRECTIONS = 4


def compare(check: Check, kinks: Kinks, elements: int, inputs_only: bool = False) -> None:
    """Compare every gradient with differences of forward.

    Gradients that are known to be wrong are skipped; with ``inputs_only``, also those of
    parameters.
    """
    for i, (name, array, gradient) in enumerate(
        zip(check.subject.names, check.arrays, check.gradients, strict=True)
    ):
        if array is None or array.dtype.kind != "f" or name in check.misshaped:
            continue
        if name in check.known:
            continue
        if gradient is None:
            check.report.unchecked.append(f"{name} (backward has no gradient of it)")
        elif gradient.size and check.y.size and not (inputs_only and i >= check.subject.inputs):
            Measurement(check, i, gradient, kinks).run(elements)


def together(check: Check) -> bool:
    """Return whether <dy, J v> equals the sum of <g, v> when all arguments move at once.

    This is quick, and a wrong gradient shows along almost every direction.
    """
    passed_over = check.misshaped | check.known
    moving = {
        i: g for i, g in enumerate(check.gradients)
        if g is not None and check.differentiable(i) and check.subject.names[i] not in passed_over
    }  # fmt: skip
    for _ in range(2):
        vs = {i: directions(g.shape, 2, check.rng)[1] for i, g in moving.items()}

        def along(t: complex, vs: dict[int, np.ndarray] = vs) -> np.ndarray:
            return check.value(
                tuple(check.moved(i, t, vs[i]) if i in vs else a
                      for i, a in enumerate(check.arrays))
            )  # fmt: skip

        terms = [moving[i] * v for i, v in vs.items()]
        right = float(sum(t.sum() for t in terms))
        size = float(sum(np.abs(t).sum() for t in terms)) + 1e-10 * float(np.abs(check.dy).sum())
        rounded = 16 * check.precision.eps * np.abs(check.y)
        for step in check.precision.steps:
            s = slope(along, step, check.dy, rounded)
            if abs(s.value - right) <= check.precision.tolerance * size + s.noise:
                break
        else:
            return False
    return True


class Measurement:
    """The gradient of one argument, and the slopes of y along that argument."""

    def __init__(self, check: Check, i: int, gradient: np.ndarray, kinks: Kinks) -> None:
        self.check, self.i, self.gradient, self.kinks = check, i, gradient, kinks
        self.y, self.dy, self.precision = check.y, check.dy, check.precision
        self.steps = check.precision.steps
        # If a gradient is 0, backward gives the rounding error of terms that cancel.
        self.floor = self.precision.rounding * float(np.abs(check.dy).sum())
        self.tolerance, self.rounding = self.precision.tolerance, self.precision.rounding
        if (
            check.subject.names[i] in check.narrow
        ):  # backward rounds to float32, even if forward does not
            self.tolerance = max(self.tolerance, 64 * SINGLE.eps)
            self.rounding = max(self.rounding, 8 * SINGLE.eps)
        around = [self.along(v) for v in directions(gradient.shape, 3, check.rng)]
        elsewhere = check.value((*check.arrays[:i], check.random()[i], *check.arrays[i + 1 :]))
        self.rounded = rounding(around, self.y, elsewhere, self.precision)
        self.report = Argument(check.subject.names[i], gradient.shape)
        check.report.arguments.append(self.report)

    def run(self, elements: int) -> None:
        gradient, rng, report = self.gradient, self.check.rng, self.report
        chosen = np.sort(rng.permutation(gradient.size)[:elements])
        ours = gradient.reshape(-1)[chosen]
        first = [self.slope(self.along(e)) for e in chosen]
        numeric = np.array([s.value for s in first])
        finite = numeric[np.isfinite(numeric)]
        self.scale = float(max(np.abs(ours).max(initial=0), np.abs(finite).max(initial=0)))
        error = np.abs(ours - numeric)
        error[~np.isfinite(ours)] = np.inf
        suspects = ~(error <= [self.enough(s) for s in first])
        if self.kinks == "one side":  # the central slope is halfway between the two sides
            suspects |= [self.leans(e, s) for e, s in zip(chosen, first, strict=True)]
        kinked, wrong = set(), []
        for s in np.flatnonzero(suspects):
            numeric[s], error[s], at_kink = self.closer(chosen[s], ours[s], first[s])
            if at_kink:
                kinked.add(s)
            if error[s]:
                wrong.append(s)
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        report.checked, report.wrong, report.kinks = len(chosen), len(wrong), len(kinked)
        report.error = float(error[worst]) / (self.scale or 1.0)
        report.worst = tuple(int(k) for k in np.unravel_index(chosen[worst], gradient.shape))
        report.backward, report.differences = float(ours[worst]), float(numeric[worst])
        broken = self.adjoint()
        if len(kinked) > len(chosen) / 2 and self.kinks == "skip":
            self.check.report.notes.append(
                f"{len(kinked)} of {len(chosen)} elements of {report.name} lie at kinks, where "
                "nothing can be said. Try other numbers."
            )
        if wrong:
            cause = causes.finder(
                self.check, self.i, chosen[wrong], chosen[sorted(kinked)], not broken
            )
            self.check.fault(
                report.name,
                f"{len(wrong)} of {len(chosen)} elements are wrong; the worst is "
                f"{list(report.worst)}: backward gives {report.backward:.6g}, differences of "
                f"forward give {report.differences:.6g}",
                cause,
            )
        elif broken:
            tied = chosen[sorted(kinked)]
            cause = causes.finder(self.check, self.i, tied, tied, False)
            self.check.fault(report.name, broken, cause)
        elif self.precision is DOUBLE and self.report.name not in self.check.narrow:
            self.last_digits(chosen, numeric)

    def along(self, direction: np.ndarray | int) -> Along:
        return self.check.along(self.i, direction)

    def slope(self, along: Along, step: float | None = None) -> Slope:
        """Return the slope, and the error from rounding x itself."""
        s = slope(along, step or self.steps[0], self.dy, self.rounded)
        if self.precision is DOUBLE:
            return s
        array = self.check.arrays[self.i]
        assert array is not None
        size = float(np.abs(array).max(initial=0))
        return s._replace(noise=s.noise + s.magnitude * SINGLE.eps * size / (step or self.steps[0]))

    def slopes(self, along: Along, x: float, scale: float) -> Iterator[Slope]:
        """Yield slopes with smaller and smaller steps, until rounding is too large.

        If the curvature jumps, as for ReLU squared at 0, the error is proportional to the step. So
        after each slope comes the extrapolation from two of them. Near a pole or a root, small
        numbers ``x`` need steps in proportion to them.
        """
        scale = max(scale, 1e-6 * float(np.abs(self.dy).sum()))
        for factor in (1.0, 2.0 ** np.floor(np.log2(x))) if 1e-30 < x < 2**-8 else (1.0,):
            wide: tuple[float, float] | None = None
            for step in self.steps:
                s = self.slope(along, step * factor)
                if factor == 1 and step != self.steps[0] and s.noise > 1e-3 * scale:
                    break
                yield s
                if wide is not None:
                    value = s.value - (wide[1] - s.value) * step / (wide[0] - step)
                    yield s._replace(value=value, noise=2 * s.noise)
                wide = step, s.value

    def enough(self, s: Slope) -> float:
        """Return how far a correct gradient may be from a slope.

        The tolerance is relative to its own terms. The largest element adds only its rounding
        error, because one large element must not hide a small wrong one.
        """
        return self.tolerance * s.magnitude + self.rounding * self.scale + self.floor + s.noise

    # ---- elements

    def leans(self, element: int, s: Slope) -> bool:
        """Return whether the slope to the right differs from the central slope."""
        step = self.steps[3]
        right = float((self.dy * (self.along(element)(step) - self.y)).sum() / step)
        return abs(right - s.value) > 1e-3 * self.scale + s.noise * self.steps[0] / step

    def closer(self, element: int, ours: float, first: Slope) -> tuple[float, float, bool]:
        """Check an element that seems wrong again: with smaller steps, and for a kink.

        Returns the slope that fits best, the error (0 if it is within what rounding allows), and
        whether there is a kink.
        """
        along = self.along(element)
        at = kink(along, self.precision) if self.kinks == "one side" else None
        best, error = first.value, abs(ours - first.value)
        if at is None:  # if only one side is accepted, the central slope at a kink proves nothing
            best, error = self.smooth(element, ours, first)
            if error == 0:
                return best, 0.0, False
            at = at or kink(along, self.precision)
        if at is None:
            return best, error, False
        if at.jumps:
            if not self.check.given:
                return ours, 0.0, True  # the user did not give the numbers at which it jumps
            self.check.report.notes.append("Forward jumps: it is not continuous everywhere.")
            return best, error, False
        if self.kinks == "skip" or (at.steep and not abs(ours) < np.inf):
            return ours, 0.0, True  # an infinite slope has an infinite gradient
        low, high = self.between(along, at)
        nearest = min(max(ours, low), high)
        if self.kinks == "one side":
            nearest = min(self.sides(along, at), key=lambda side: abs(ours - side))
        miss = abs(ours - nearest)
        return nearest, 0.0 if miss <= 1e-4 * max(self.scale, high - low) else miss, True

    def smooth(self, element: int, ours: float, first: Slope) -> tuple[float, float]:
        """Return the slope of smaller steps that is nearest to ``ours``, and the error."""
        along, best, error = self.along(element), first.value, abs(ours - first.value)
        array = self.check.arrays[self.i]
        assert array is not None
        x = abs(float(array.reshape(-1)[element]))
        for s in self.slopes(along, x, self.scale):
            if abs(ours - s.value) <= self.enough(s):
                return s.value, 0.0
            if not abs(ours - s.value) >= error:  # also where one is NaN
                best, error = s.value, abs(ours - s.value)
        return best, error

    def between(self, along: Along, at: Kink) -> tuple[float, float]:
        """Return the smallest and the largest <dy, slope>; each output may choose its slope."""
        smooth = float((np.where(at.kinked, 0, central(along, self.steps[2])) * self.dy).sum())
        a, b = (self.dy * at.left)[at.kinked], (self.dy * at.right)[at.kinked]
        return smooth + float(np.minimum(a, b).sum()), smooth + float(np.maximum(a, b).sum())

    def sides(self, along: Along, at: Kink) -> Iterator[float]:
        """Yield <dy, slope> for each combination of sides of the outputs with kinks."""
        smooth = float((np.where(at.kinked, 0, central(along, self.steps[2])) * self.dy).sum())
        left, right = (self.dy * at.left)[at.kinked], (self.dy * at.right)[at.kinked]
        if left.size > 10:  # the combinations are so close that they tell nothing
            yield from np.linspace(*self.between(along, at), 1000)
            return
        for choice in itertools.product(*zip(left, right, strict=True)):
            yield smooth + float(sum(choice))

    # ---- all together

    def adjoint(self) -> str | None:
        """Compare <dy, J v> with <g, v> along some directions; return a fault, if any."""
        report, fault = self.report, None
        for v in directions(self.gradient.shape, DIRECTIONS, self.check.rng):
            terms = self.gradient * v
            right = float(terms.sum())
            size = float(np.abs(terms).sum()) + 1e-10 * float(np.abs(self.dy).sum())
            left, error, allowed = self.nearest_slope(v, right, size)
            if np.isnan(error):
                continue  # a kink that was skipped
            report.adjoint = float(np.fmax(report.adjoint, error / size if size else error))
            if error > allowed and fault is None:
                kind = "ones" if (v == 1).all() else "random numbers"
                fault = (
                    f"the adjoint identity does not hold along a direction of {kind}: "
                    f"<dy, Jv> = {left:.9g} but <g, v> = {right:.9g}"
                )
        return fault

    def nearest_slope(self, v: np.ndarray, right: float, size: float) -> tuple[float, float, float]:
        """Return <dy, J v>, how far it is from <g, v> = ``right``, and how far it may be.

        NaN if there is a kink and kinks are skipped.
        """
        along, left, error, allowed = self.along(v), np.nan, np.inf, 0.0
        array = self.check.arrays[self.i]
        assert array is not None
        sizes = np.abs(array[array != 0])
        for s in self.slopes(along, float(sizes.min(initial=1.0)), size):
            if not abs(s.value - right) >= error:
                left, error = s.value, abs(s.value - right)
                allowed = self.tolerance * size + s.noise + self.floor * np.sqrt(v.size)
            if error <= allowed:
                return left, error, allowed
        at = kink(along, self.precision)
        if at is None:
            return left, error, allowed
        if self.kinks == "skip":
            return right, np.nan, 0.0
        low, high = self.between(along, at)
        return left, max(low - right, right - high, 0.0), 1e-4 * max(size, high - low)

    def last_digits(self, chosen: np.ndarray, numeric: np.ndarray) -> None:
        """Compare with the complex step, if forward is analytic; otherwise it means nothing."""
        error = 0.0
        for element, expected in zip(chosen, numeric, strict=True):
            derivative = complex_step(self.along(element))
            if derivative is None:
                return
            exact = float((self.dy * derivative).sum())
            if not abs(exact - expected) <= 1e-5 * self.scale + 1e-9:
                return  # forward takes complex numbers, but is not analytic
            error = max(error, abs(self.gradient.reshape(-1)[element] - exact))
        self.report.complex_step = error / (self.scale or 1.0)
        if error > TOLERANCE_COMPLEX * self.scale + 1e-15 * float(np.abs(self.dy).sum()):
            text = f"the complex step shows a relative error of {self.report.complex_step:.1e}"
            self.check.fault(self.report.name, text)

"""Is this gradient right? By forward alone, and where an equivalent is given, by that too.

Everything is done in float64 with a random upstream gradient dy, of which backward has to return

    g = J^T dy,  with J the derivative of y = forward(x).

It is compared with

- the adjoint identity <dy, J v> = <g, v> along a few directions v, one of them all ones;
- central differences, element by element: all elements where they are few, else a sample;
- the complex step, which is exact to the last digits, where forward takes complex numbers;
- an equivalent, of NumPy or of torch: its values and its gradients.

Where J does not exist, as for ReLU at 0, the slopes to the left and to the right are both taken,
and any number between them is a right answer; see ``kinks``.

Beside the numbers, the contract is checked: nothing given is written to, a cache serves twice and
belongs to its own forward, the dtype stays, two calls give the same.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np

from minicnn.nn import Module
from minicnn.testing import causes, equivalents
from minicnn.testing.derivatives import (
    STEPS,
    Kink,
    central,
    complex_step,
    directions,
    kink,
    rounding,
)
from minicnn.testing.report import Argument, Fault, GradientError, Report
from minicnn.testing.subjects import Arrays, ContractError, LayerSubject, Subject, subject_of

Kinks = Literal["between", "one side", "skip"]

TOLERANCE = 1e-7  # of the greatest element of the gradient
COMPLEX_TOLERANCE = 1e-9


def gradcheck(
    thing: Any,
    *arrays: np.ndarray | None,
    options: Mapping[str, Any] | None = None,
    training: bool = True,
    equivalent: Any = None,
    torch: Callable | None = None,
    kinks: Kinks | None = None,
    updates: Collection[str] = (),
    dtypes: Sequence[Any] = (np.float32, np.float64),
    elements: int = 100,
    seed: int = 0,
    raises: bool = True,
) -> Report:
    """Check the gradients of ``thing`` with respect to all its arguments, and its manners.

    Parameters
        thing       an operation, a layer, a loss, a network, any object with forward(x, ...) ->
                    (y, cache) and backward(dy, cache), or a pair of such functions
        arrays      what forward takes; arrays of integers are data, None is an array not given
        options     what forward takes by name
        training    passed to forward where it asks for it, as layers do
        equivalent  a function of the same arrays and options that returns y, or something with
                    forward and backward as above: it has to give the same values and gradients
        torch       the same as a function of tensors, or, for a layer, a torch.nn.Module
        kinks       where left and right slope differ: "between" accepts what lies between,
                    "one side" only the one or the other, "skip" anything. "between" unless given;
                    "skip" for networks, in which kinks meet each other
        updates     names of arguments that forward is meant to write to
        dtypes      those in which values have to come out as they went in
        elements    how many elements of each argument are compared with differences
        seed        of dy, directions and samples
        raises      False: return the report also where it is bad

    Raises GradientError (an AssertionError), whose text is the report.
    """
    thing_is_network = isinstance(thing, Module) and any(True for _ in thing.named_children())
    subject = subject_of(thing, arrays, options or {}, training)
    check = _Check(
        subject,
        kinks=kinks or ("skip" if thing_is_network else "between"),
        updates=frozenset(updates),
        dtypes=[np.dtype(d) for d in dtypes],
        elements=elements,
        rng=np.random.default_rng(seed),
    )
    check.against = equivalents.find(equivalent, torch, subject, options or {}, training)
    with np.errstate(all="ignore"), warnings.catch_warnings(), suppress(_Stop):
        warnings.simplefilter("ignore", RuntimeWarning)
        check.run()
    if raises and not check.report.ok:
        raise GradientError(check.report)
    return check.report


class _Stop(Exception):
    """What was found makes further checks meaningless."""


class _Check:
    """One check, step by step."""

    def __init__(
        self,
        subject: Subject,
        kinks: Kinks,
        updates: frozenset[str],
        dtypes: Sequence[np.dtype],
        elements: int,
        rng: np.random.Generator,
    ) -> None:
        self.subject, self.kinks, self.updates, self.dtypes = subject, kinks, updates, dtypes
        self.elements, self.rng = elements, rng
        self.report = Report(repr(subject))
        self.against: equivalents.Equivalent | None = None
        # As they lie in memory where they are float64 already: backward may depend on that.
        self.arrays = tuple(
            a.astype(np.float64) if a is not None and a.dtype.kind == "f" and a.dtype != np.float64
            else a
            for a in subject.arrays
        )  # fmt: skip

    def run(self) -> None:
        self.contract()
        finite = all(np.isfinite(a).all() for a in self.arrays if a is not None)
        if finite and not np.isfinite(self.y).all():
            cause = causes.OVERFLOW if np.isnan(self.y).any() else None
            self.fault("forward", "y is not finite although every argument is", cause, stop=True)
        if finite:
            self.numbers()
        else:
            self.report.notes.append(
                "The arguments are not all finite: the gradients were compared with no differences."
            )
        if self.against is not None:
            self.compare(self.against)

    # ---- manners

    def contract(self) -> None:
        """Run forward and backward once in float64, and hold them to the contract."""
        subject = self.subject
        given = self.fresh(self.arrays)
        before = _bits(given)
        with self.catching("forward"):
            subject.begin()
            self.y, cache = subject.forward(given)
        self.written("forward", given, before)
        self.dy = np.asarray(np.round(16 * self.rng.standard_normal(self.y.shape)) / 16)
        self.dy += np.copysign(1.0, self.dy)  # none is close to 0, where it would hide much
        if self.y.dtype.kind != "f":
            self.fault("forward", f"y is {self.y.dtype}, no array of floats", stop=True)
        y, dy = self.y.copy(), self.dy.copy()
        self.cache_shares_y = causes.shares_memory(cache, self.y)
        with self.catching("backward"):
            self.gradients = _copies(subject.backward(self.dy, cache))
        if not np.array_equal(dy, self.dy):
            self.dy = dy
            self.fault("backward", "dy was written to", causes.UPSTREAM_WRITTEN)
        if not np.array_equal(y, self.y, equal_nan=True):
            self.y = y
            self.fault("backward", "y was written to, which others may still need")
        self.written("backward", given, before)
        self.shapes()
        with self.catching("backward"):
            again = subject.backward(self.dy.copy(), cache)
        self.same(again, "a second backward with the same cache gives another gradient",
                  causes.CACHE_USED_UP)  # fmt: skip
        if isinstance(subject, LayerSubject):
            for name, adds in subject.adds(self.dy.copy(), cache):
                if not adds:
                    self.fault(name, "backward overwrites grad", causes.OVERWRITES)
        self.repeats()
        self.belongs()
        for dtype in self.dtypes:
            self.keeps(dtype)
        if not self.report.ok:
            raise _Stop

    def fresh(self, arrays: Arrays) -> Arrays:
        """Return the arrays, those that forward is meant to write to as copies."""
        return tuple(
            a.copy() if a is not None and name in self.updates else a
            for name, a in zip(self.subject.names, arrays, strict=True)
        )

    def written(self, by: str, arrays: Arrays, before: list[bytes]) -> None:
        bits = zip(self.subject.names, arrays, _bits(arrays), before, strict=True)
        for name, array, now, then in bits:
            if name not in self.updates and now != then:
                self.fault(by, f"{name} was written to", causes.INPUT_WRITTEN, stop=True)
            assert array is None or name in self.updates or now == then

    def shapes(self) -> None:
        for name, array, gradient in zip(
            self.subject.names, self.arrays, self.gradients, strict=True
        ):
            if gradient is None:
                continue
            if array is None:
                self.fault("backward", f"a gradient of {name}, which was not given")
            elif gradient.shape != array.shape:
                self.fault(
                    name,
                    f"the gradient has shape {gradient.shape} where {name} has {array.shape}",
                    causes.of_shapes(gradient.shape, array.shape),
                    stop=True,
                )
            elif gradient.dtype != np.float64:
                self.fault(name, f"the gradient is {gradient.dtype}, not float64", causes.DTYPE)

    def same(self, gradients: Arrays, text: str, cause: str) -> None:
        for name, expected, got in zip(self.subject.names, self.gradients, gradients, strict=True):
            if expected is not None and (
                got is None or not np.allclose(got, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
            ):
                self.fault(name, text, cause)

    def repeats(self) -> None:
        if not np.array_equal(self.value(self.arrays), self.y, equal_nan=True):
            self.fault(
                "forward", "the same call gives another y the second time", causes.RANDOM, stop=True
            )

    def belongs(self) -> None:
        """Let a second forward come between a forward and its backward."""
        self.subject.begin()
        _, cache = self.subject.forward(self.fresh(self.arrays))
        others = tuple(
            np.roll(a[::-1], 1) + 0.25 if a is not None and a.dtype.kind == "f" and a.ndim else a
            for a in self.arrays
        )
        with self.catching("forward"):
            self.subject.forward(self.fresh(others))
            if isinstance(self.subject, LayerSubject):
                self.subject.forward(self.fresh(self.arrays))  # its parameters again
                self.subject.forward((others[0], *self.fresh(self.arrays)[1:]))
        with self.catching("backward"):
            gradients = self.subject.backward(self.dy.copy(), cache)
        self.same(
            gradients, "backward gives another gradient if another forward came between",
            causes.STALE,
        )  # fmt: skip

    def keeps(self, dtype: np.dtype) -> None:
        arrays = tuple(
            a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in self.arrays
        )
        with self.catching(f"in {dtype}: forward"):
            self.subject.begin()
            y, cache = self.subject.forward(self.fresh(arrays))
        if y.dtype != dtype:
            self.fault("forward", f"y is {y.dtype} where the arguments are {dtype}", causes.DTYPE)
            return
        with self.catching(f"in {dtype}: backward"):
            gradients = self.subject.backward(self.dy.astype(dtype), cache)
        for name, gradient in zip(self.subject.names, gradients, strict=True):
            if gradient is not None and gradient.dtype != dtype:
                self.fault(
                    name, f"the gradient is {gradient.dtype} where the arguments are {dtype}",
                    causes.DTYPE,
                )  # fmt: skip

    # ---- numbers

    def numbers(self) -> None:
        for i, (array, gradient) in enumerate(zip(self.arrays, self.gradients, strict=True)):
            if array is None or array.dtype.kind != "f":
                continue
            if gradient is None:
                self.report.notes.append(
                    f"{self.subject.names[i]} was taken as data: backward returns no gradient of it."
                )
                continue
            if gradient.size:
                self.argument(i, np.asarray(gradient))

    def argument(self, i: int, gradient: np.ndarray) -> None:
        """Compare one gradient with differences of forward."""
        name = self.subject.names[i]
        measured = Argument(name, gradient.shape)
        self.report.arguments.append(measured)
        count = min(gradient.size, self.elements)
        chosen = np.sort(self.rng.permutation(gradient.size)[:count])
        numeric = np.array([self.slope(self.along(i, e)) for e in chosen])
        ours = gradient.reshape(-1)[chosen]
        scale = max(np.abs(ours).max(), np.abs(numeric[np.isfinite(numeric)]).max(initial=0))
        error = np.abs(ours - numeric)
        slack = rounding(self.y, self.dy, STEPS[0]) + 1e-10 * np.abs(self.dy).max(initial=0)
        suspects = ~(error <= TOLERANCE * scale + slack)
        if self.kinks == "one side":  # the central slope lies halfway between the two sides
            suspects |= [
                self.leans(self.along(i, e), n, scale) for e, n in zip(chosen, numeric, strict=True)
            ]
        suspects = np.flatnonzero(suspects)
        kinked = {}
        for s in suspects:
            numeric[s], error[s], at = self.closer(
                self.along(i, chosen[s]), ours[s], numeric[s], scale
            )
            if at is not None:
                kinked[int(s)] = at
        wrong = [s for s in suspects if not error[s] <= TOLERANCE * scale + slack]
        measured.checked, measured.wrong, measured.kinks = count, len(wrong), len(kinked)
        at = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        measured.error = float(error[at] / scale) if scale else float(error[at])
        measured.worst = tuple(int(k) for k in np.unravel_index(chosen[at], gradient.shape))
        measured.backward, measured.differences = float(ours[at]), float(numeric[at])
        adjoint = self.adjoint(i, gradient, measured)
        if wrong:
            self.fault(
                name,
                f"{len(wrong)} of {count} elements are wrong; the worst is {list(measured.worst)}: "
                f"backward gives {ours[at]:.6g}, differences of forward give {numeric[at]:.6g}",
                causes.of_gradient(
                    self.evidence(i, chosen[wrong], bool(kinked.keys() & wrong), not adjoint)
                ),
            )
        elif adjoint:
            ties = bool(kinked)
            self.fault(name, adjoint, causes.TIES_TO_ALL if ties else None)
        else:
            self.complex(i, gradient, chosen, numeric, scale, measured)

    def value(self, arrays: Arrays) -> np.ndarray:
        return self.subject.value(self.fresh(arrays))

    def along(self, i: int, direction: np.ndarray | int) -> Callable[[complex], np.ndarray]:
        """Return t -> y with argument ``i`` moved by t along a direction or an element."""
        array = self.arrays[i]
        assert array is not None

        def at(t: complex) -> np.ndarray:
            moved = array.astype(complex if isinstance(t, complex) else np.float64, order="C")
            if isinstance(direction, np.ndarray):
                moved += t * direction
            else:
                moved.reshape(-1)[direction] += t
            return self.value((*self.arrays[:i], moved, *self.arrays[i + 1 :]))

        return at

    def slope(self, along: Callable, step: float = STEPS[0]) -> float:
        """Return <dy, dy/dt>."""
        return float((self.dy * central(along, step)).sum())

    def leans(self, along: Callable, central: float, scale: float) -> bool:
        """Tell whether the slope to the right differs from the central one."""
        step = STEPS[3]
        right = float((self.dy * (along(step) - self.y)).sum() / step)
        return abs(right - central) > 1e-3 * scale + rounding(self.y, self.dy, step)

    def closer(
        self, along: Callable, ours: float, numeric: float, scale: float
    ) -> tuple[float, float, Kink | None]:
        """Look again at an element that seems wrong: with smaller steps, and for a kink.

        Returns (numeric, error, kink).
        """
        best, error = numeric, abs(ours - numeric)
        at = kink(along)
        # Halfway between two sides lies the central slope: where only a side will do, it is no proof.
        for step in STEPS[1:] if at is None or self.kinks != "one side" else ():
            slack = rounding(self.y, self.dy, step)
            if slack > 1e-3 * scale:
                break
            again = self.slope(along, step)
            if not abs(ours - again) >= error:  # also where one is NaN
                best, error = again, abs(ours - again)
            if error <= TOLERANCE * scale + slack:
                return best, 0.0, None
        if at is None:
            return best, error, None
        if at.jumps:
            self.report.notes.append("Forward jumps: it is not continuous everywhere.")
            return best, error, None
        low, high = self.between(along, at)
        slack = 1e-4 * max(scale, abs(high - low))
        if self.kinks == "skip":
            return ours, 0.0, at
        if self.kinks == "one side":
            nearest = min(self.sides(along, at), key=lambda side: abs(ours - side))
        else:
            nearest = min(max(ours, low), high)
        miss = abs(ours - nearest)
        return nearest, 0.0 if miss <= slack else miss, at

    def between(self, along: Callable, at: Kink) -> tuple[float, float]:
        """Return the least and the greatest <dy, slope> with each output's slope free."""
        smooth = np.where(at.kinked, 0, central(along, STEPS[2])) * self.dy
        a, b = self.dy * at.left, self.dy * at.right
        low = smooth.sum() + np.where(at.kinked, np.minimum(a, b), 0).sum()
        high = smooth.sum() + np.where(at.kinked, np.maximum(a, b), 0).sum()
        return float(low), float(high)

    def sides(self, along: Callable, at: Kink) -> Iterator[float]:
        """Yield <dy, slope> for each choice of a side by each output that has a kink."""
        smooth = float((np.where(at.kinked, 0, central(along, STEPS[2])) * self.dy).sum())
        pairs = list(
            zip((self.dy * at.left)[at.kinked], (self.dy * at.right)[at.kinked], strict=True)
        )
        if len(pairs) > 10:
            low, high = self.between(along, at)
            yield from np.linspace(low, high, 1000)
            return
        for choice in itertools.product(*pairs):
            yield smooth + sum(choice)

    def adjoint(self, i: int, gradient: np.ndarray, measured: Argument) -> str | None:
        """Compare <dy, J v> with <g, v>; return what is wrong."""
        measured.adjoint = 0.0
        for v in directions(gradient.shape, 4, self.rng):
            along, right = self.along(i, v), float((gradient * v).sum())
            size = float(np.abs(gradient * v).sum()) + 1e-10 * float(np.abs(self.dy).sum())
            error = np.inf
            for step in STEPS[:4]:
                slack = rounding(self.y, self.dy, step)
                if step != STEPS[0] and slack > 1e-3 * size:
                    break
                left = self.slope(along, step)
                error = min(error, abs(left - right))
                if error <= TOLERANCE * size + slack:
                    break
            else:
                at = kink(along)
                if at is not None:
                    if self.kinks == "skip":
                        continue
                    low, high = self.between(along, at)
                    error = max(low - right, right - high, 0.0)
                    slack = 1e-4 * max(size, abs(high - low))
            if error > TOLERANCE * size + slack:
                kind = "all ones" if (v == 1).all() else "a random one"
                return (
                    f"the adjoint identity does not hold along the direction of {kind}: "
                    f"<dy, Jv> = {left:.6g} but <g, v> = {right:.6g}"
                )
            measured.adjoint = max(measured.adjoint, error / size if size else error)
        return None

    def complex(
        self,
        i: int,
        gradient: np.ndarray,
        chosen: np.ndarray,
        numeric: np.ndarray,
        scale: float,
        measured: Argument,
    ) -> None:
        """Compare to the last digits, if forward is analytic: the complex step agrees first."""
        errors = []
        for e, expected in zip(chosen, numeric, strict=True):
            derivative = complex_step(self.along(i, int(e)))
            if derivative is None:
                return
            exact = float((self.dy * derivative).sum())
            if not abs(exact - expected) <= 1e-5 * scale + 1e-9:
                return  # takes complex numbers, but is not analytic
            errors.append(abs(gradient.reshape(-1)[e] - exact))
        measured.complex_step = max(errors) / scale if scale else max(errors)
        slack = 1e-15 * float(np.abs(self.dy).sum())
        if max(errors) > COMPLEX_TOLERANCE * scale + slack:
            self.fault(
                measured.name,
                f"the complex step shows a relative error of {measured.complex_step:.1e}",
            )

    def evidence(
        self, i: int, wrong: np.ndarray, at_kinks: bool, adjoint_holds: bool
    ) -> causes.Evidence:
        """Gather, of a gradient found wrong, what its pattern may be seen from."""
        gradient = np.asarray(self.gradients[i])
        slopes = {}
        numeric = np.full(gradient.size, np.nan)
        for e in range(min(gradient.size, 2000)):
            slopes[e] = self.dy * central(self.along(i, e), STEPS[2])
            numeric[e] = slopes[e].sum()
        self.subject.begin()
        _, cache = self.subject.forward(self.fresh(self.arrays))
        other = self.subject.backward(np.ascontiguousarray(self.dy[::-1]) * 2 + 1
                                      if self.dy.ndim else self.dy * 2 + 1, cache)[i]  # fmt: skip
        array = self.arrays[i]
        assert array is not None
        return causes.Evidence(
            name=self.subject.names[i],
            array=array,
            gradient=gradient,
            numeric=numeric.reshape(gradient.shape),
            contributions=slopes,
            wrong=wrong,
            at_kinks=at_kinks,
            adjoint_holds=adjoint_holds,
            ignores_dy=other is not None and np.array_equal(other, gradient),
            unreachable=not any(self.reaches(i, int(e)) for e in wrong[:20]),
            numbers=causes.numbers_of(self.subject, self.y.shape),
            cache_shares_y=self.cache_shares_y,
        )

    def reaches(self, i: int, element: int) -> bool:
        """Tell whether y depends on an element, at any of some random places."""
        for _ in range(3):
            arrays = self.random()
            moved = arrays[i].copy()
            moved.reshape(-1)[element] += 1.5
            if not np.array_equal(
                self.value(arrays), self.value((*arrays[:i], moved, *arrays[i + 1 :]))
            ):
                return True
        return False

    def random(self) -> Arrays:
        """Return arrays of the same shapes with ordinary numbers, which hide less than zeros."""
        return tuple(
            self.rng.standard_normal(a.shape) if a is not None and a.dtype.kind == "f" else a
            for a in self.arrays
        )

    # ---- an equivalent

    def compare(self, against: equivalents.Equivalent) -> None:
        """Compare values and gradients with those of the equivalent."""
        y, gradients = against.answer(self.arrays, self.dy)
        if not self.agree(self.y, y):
            text = f"y differs from that of {against.name}: {_difference(self.y, y)}"
            self.fault("forward", text, self.why_values_differ(against, y))
            return
        for name, ours, theirs in zip(self.subject.names, self.gradients, gradients, strict=False):
            if ours is not None and theirs is not None and not self.agree(ours, theirs):
                text = (
                    f"the gradient differs from that of {against.name}: {_difference(ours, theirs)}"
                )
                self.fault(name, text, self.why_values_differ(against, None))

    def why_values_differ(
        self, against: equivalents.Equivalent, y: np.ndarray | None
    ) -> str | None:
        """Return the likely cause, seen here or at ordinary numbers: zeros hide much."""
        numbers = causes.numbers_of(self.subject, self.y.shape)
        if y is not None:
            cause = causes.of_values(self.y, y, self.arrays, against, numbers)
            if cause:
                return cause
        for _ in range(4):
            arrays = self.random()
            ours, theirs = self.value(arrays), against.value(arrays, against.options)
            if not self.agree(ours, theirs):
                return causes.of_values(ours, theirs, arrays, against, numbers)
        return None

    def agree(self, ours: np.ndarray, theirs: np.ndarray) -> bool:
        if ours.shape != theirs.shape:
            return False
        size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
        return np.allclose(ours, theirs, rtol=0, atol=1e-9 * (size + 1e-3), equal_nan=True)

    # ---- faults

    def fault(self, what: str, text: str, cause: str | None = None, stop: bool = False) -> None:
        self.report.faults.append(Fault(what, text, cause))
        if stop:
            raise _Stop

    @contextmanager
    def catching(self, where: str) -> Iterator[None]:
        try:
            yield
        except ContractError as error:
            self.fault(where, str(error), stop=True)
        except Exception as error:
            cause = causes.of_exception(error)
            if self.against is not None:
                cause = causes.of_rejection(error, self.arrays, self.against) or cause
            self.fault(where, f"it raised {type(error).__name__}: {error}", cause, stop=True)


def _bits(arrays: Arrays) -> list[bytes]:
    return [b"" if a is None else a.tobytes() for a in arrays]


def _copies(arrays: Arrays) -> Arrays:
    return tuple(None if a is None else np.array(a) for a in arrays)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} where {theirs.shape} is expected"
    gap = np.abs(ours - theirs)
    at = np.unravel_index(int(np.argmax(np.where(np.isnan(gap), np.inf, gap))), gap.shape)
    place = [int(k) for k in at]
    return f"at {place} it is {ours[at]:.6g} where {theirs[at]:.6g} is expected"

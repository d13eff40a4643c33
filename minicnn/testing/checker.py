"""Is this gradient right? Forward decides, and an equivalent too if one is given.

Everything is done in float64, or in float32 if the code computes in float32. For a random upstream
gradient dy, backward must return

    g = J^T dy,  with J the derivative of y = forward(x).

It is compared with

- the adjoint identity <dy, J v> = <g, v> along a few directions v, one of them all ones;
- central differences, element by element: all elements if there are few, otherwise a sample;
- the complex step, which is exact to the last digits, if forward takes complex numbers;
- an equivalent in NumPy or torch: its values and its gradients.

If J does not exist, as for ReLU at 0, the slopes to the left and to the right are computed, and any
number between them is accepted; see ``kinks``. All this is repeated where mistakes hide: at other
parameters, ties, zeros and negative numbers, a batch of one, an image that is not square.

Besides the numbers, the manners are checked: arguments are not written to, a cache can be used
twice and belongs to its own forward, the dtype stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

import numpy as np

from minicnn.objects import said
from minicnn.testing import causes, comparison, equivalents, manners, passes, slopes
from minicnn.testing import points as elsewhere
from minicnn.testing.check import Check, Kinks, Stop
from minicnn.testing.conventions import Arrays, Subject, autograd, isolation, subject_of
from minicnn.testing.derivatives import DOUBLE, SINGLE
from minicnn.testing.points import Kind
from minicnn.testing.report import GradientError, Report

ELEMENTS_ELSEWHERE = 12  # elements of each argument, at each of the other points


def gradcheck(
    thing: Any,
    *arrays: Any,
    options: Mapping[str, Any] | None = None,
    training: bool = True,
    equivalent: Any = None,
    torch: Callable | None = None,
    kinks: Kinks | None = None,
    updates: Collection[str | int] = (),
    dtypes: Sequence[Any] = (np.float32, np.float64),
    elements: int = 100,
    seed: int = 0,
    raises: bool = True,
    strict: bool = False,
    forward: str | None = None,
    backward: str | None = None,
    parameters: Mapping[str, str] | None = None,
    points: Sequence[Kind] = elsewhere.KINDS,
    dtype: Any = None,
) -> Report:
    """Check the gradients of ``thing`` with respect to all its arguments, and its manners.

    Parameters
        thing       an operation, a layer, a loss, a network, any object with forward and backward,
                    a pair of such functions, one function that returns (loss, gradient), or a
                    class of torch.autograd.Function
        arrays      the arguments of forward; integer arrays are data, None is an array not given
        options     the options of forward, by name
        training    passed to forward if forward takes it, as layers do
        equivalent  a function of the same arrays and options that returns y, or something with
                    forward and backward as above; it must give the same values and gradients
        torch       the same as a function of tensors, or, for a layer, a torch.nn.Module
        kinks       for points where left and right slope differ: "between" accepts any number
                    between them, "one side" only one of the two, "skip" anything. The default is
                    "between"; for networks, in which kinks meet each other, it is "skip", and
                    their input is moved a little, off zeros and ties
        updates     names or positions of arguments that forward may write to
        dtypes      dtypes that must be kept from input to output
        elements    how many elements of each argument are compared with differences
        seed        seed of dy, directions and samples
        raises      False: return the report even if something is wrong
        strict      True: count bad manners like a wrong gradient
        forward     the name of the method that computes y, if it is not forward or __call__
        backward    the name of the method that computes gradients, if it is not backward
        parameters  for each parameter of an object the name of its gradient, such as
                    {"filters": "g_filters"}, if it has no usual name
        points      other points to compare at: some of "parameters", "ties", "zeros", "one" (a
                    batch of one) and "oblong" (an image that is not square)
        dtype       float32 or float64, the precision of the check; float64 by default, unless the
                    code computes in float32 only

    Raises GradientError (an AssertionError), whose text is the report.
    """
    __tracebackhide__ = True  # of pytest: the report says it all
    _check_settings(kinks, elements, dtypes, points)
    narrow = _is_narrow(dtype)
    given, options = _split(thing, arrays, options or {}, forward)
    how = {"forward": forward, "backward": backward, "parameters": parameters}

    def subject_at(arrays: Arrays, narrow: bool) -> Subject:
        subject = subject_of(thing, arrays, options, training, **how)  # type: ignore[arg-type]
        subject.narrow = narrow  # type: ignore[attr-defined]
        return subject

    with isolation.global_randomness_kept(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = subject_at(given, narrow)
        kinks = kinks or ("skip" if subject.network else "between")
        if kinks == "skip":
            given = _nudged(given, np.random.default_rng(seed))
            subject = subject_at(given, narrow)
        names = _updates(subject, updates)
        against = equivalents.find(equivalent, torch, subject, options, training)
        run = _Run(kinks, [np.dtype(d) for d in dtypes], elements, seed, names, points)
        report = run(subject, against)
        if not report.checked and dtype is None and not narrow:
            other = run(subject_at(given, True), against)  # some code takes only float32
            report = other if other.checked else report
    report.strict = strict
    if subject.unchecked:
        report.notes.append(f"Not checked: {', '.join(subject.unchecked)}. {_REMEDY}")
    if raises and not report.ok:
        raise GradientError(report) from report.error
    return report


_REMEDY = (
    "y depends on what looks like a parameter, and no gradient belongs to it. Only attributes that "
    "are nn.Param or Module count in a Module; elsewhere, name where the gradient lies with "
    "parameters=."
)


class _Run:
    """The settings of a check; called with a subject, it returns the report."""

    def __init__(
        self, kinks: Kinks, dtypes: list[np.dtype], elements: int, seed: int,
        updates: frozenset[str], points: Sequence[Kind],
    ) -> None:  # fmt: skip
        self.kinks, self.dtypes, self.elements, self.seed = kinks, dtypes, elements, seed
        self.updates, self.points = updates, tuple(points)

    def __call__(self, subject: Subject, against: equivalents.Equivalent | None) -> Report:
        precision = SINGLE if getattr(subject, "narrow", False) else DOUBLE
        check = Check(subject, against, self.updates, np.random.default_rng(self.seed),
                      precision=precision)  # fmt: skip
        with suppress(Stop):
            self._at_what_was_given(check)
        if check.report.checked and hasattr(check, "gradients") and _finite(check.y):
            for point in elsewhere.further(check, self.points):
                self._at_another(check, point)
        return check.report

    def _at_what_was_given(self, check: Check) -> None:
        passes.first(check)
        manners.inspect(check, self.dtypes)
        if not all(np.isfinite(a).all() for a in check.arrays if a is not None):
            check.report.notes.append(
                "The arguments are not all finite: the gradients were compared with no differences."
            )
        elif not _finite(check.y):
            cause = causes.OVERFLOW if np.isnan(check.y).any() else None
            text = "y is not finite although every argument is"
            check.fault("forward", text, cause, stop=True)
        else:
            with check.catching("forward, with an argument moved a little"):
                slopes.compare(check, self.kinks, self.elements)
            passes.is_linear(check)
        if check.against is not None:
            _compare_with(check, check.against)

    def _at_another(self, check: Check, point: elsewhere.Point) -> None:
        """Compare at another point, and report faults that did not show before."""
        if not all(np.isfinite(a).all() for a in point.arrays if a is not None):
            return
        same = (
            a is b or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in zip(point.arrays, check.arrays, strict=True)
        )
        if all(same):
            return
        here = Check(check.subject, None, self.updates, np.random.default_rng(self.seed),
                     point.arrays, check.precision)  # fmt: skip
        here.protected = check.protected
        here.known = {fault.what for fault in check.report.faults}
        try:
            y, _ = here.run()
            if not _finite(y) or not elsewhere.keeps_its_meaning(check, point, y):
                return
        except KeyboardInterrupt:
            raise
        except BaseException:  # forward may not accept these numbers
            return
        with suppress(Stop):
            passes.first(here)
            with here.catching("forward, with an argument moved a little"):
                if point.elements:
                    few = min(self.elements, ELEMENTS_ELSEWHERE)
                    slopes.compare(here, self.kinks, few, inputs_only=True)
                elif not slopes.together(here):
                    slopes.compare(here, self.kinks, min(self.elements, ELEMENTS_ELSEWHERE))
        if not here.report.checked:
            return
        for fault in here.report.faults:
            if fault.what not in here.known:
                fault.text = f"with {point.title}: {fault.text}"
                check.report.faults.append(fault)
        check.report.error = check.report.error or here.report.error
        check.report.points.append(point.title)


def _finite(y: np.ndarray) -> bool:
    return bool(np.isfinite(y).all())


def _compare_with(check: Check, against: equivalents.Equivalent) -> None:
    try:
        comparison.compare(check, against)
    except Stop:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise TypeError(
            f"gradcheck: {against.name}, the equivalent, raised {said(error)}"
        ) from error
    check.report.against = against.name


def _split(
    thing: Any, arrays: Sequence[Any], options: Mapping[str, Any], forward: str | None
) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays, and the options; positional arguments that are not arrays join them."""
    own: list[np.ndarray | None] = []
    found = dict(options)
    for k, a in enumerate(arrays):
        if told := autograd.advice(a):
            raise TypeError(f"gradcheck: argument {k}: {told}")
        if isinstance(a, (dict, str, bool)):
            names = elsewhere_names(thing, forward)
            if k >= len(names):
                raise TypeError(
                    f"gradcheck: argument {k} is {type(a).__name__}, no array. Give it by name: "
                    f"options={{name: ...}}."
                )
            found[names[k]] = a
            continue
        if len(found) > len(options):
            raise TypeError(
                f"gradcheck: argument {k} is an array behind one that is none. Give what is no "
                "array by name: options={name: ...}."
            )
        array = None if a is None else np.asarray(a)
        if array is not None and array.dtype == object:
            raise TypeError(
                f"gradcheck: argument {k} is {type(a).__name__}, which makes no array of numbers."
            )
        own.append(array)
    return tuple(own), found


def elsewhere_names(thing: Any, forward: str | None) -> list[str]:
    """Return the names of forward's arguments."""
    from minicnn.testing.conventions.calls import positional

    first = thing[0] if isinstance(thing, (tuple, list)) and thing else thing
    method = getattr(first, forward or "forward", None)
    return [p.name for p in positional(method if callable(method) else first)]


def _updates(subject: Subject, updates: Collection[str | int]) -> frozenset[str]:
    names = {subject.names[u] if isinstance(u, int) else u for u in updates}
    if names - set(subject.names):
        raise ValueError(
            f"gradcheck: updates names {', '.join(sorted(names - set(subject.names)))}, but "
            f"the arguments are {', '.join(subject.names)}."
        )
    return frozenset(names)


def _nudged(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Move the arrays off zeros and ties, because kinks inside a network cannot be judged."""
    return tuple(
        np.asarray(a + np.round(16 * rng.standard_normal(a.shape)).astype(a.dtype) / 2**14)
        if a is not None and a.dtype.kind == "f"
        else a
        for a in arrays
    )


def _is_narrow(dtype: Any) -> bool:
    if dtype is None:
        return False
    try:
        given = np.dtype(dtype)
    except TypeError:
        given = None
    if given not in (np.float32, np.float64):
        raise ValueError(f"gradcheck: dtype must be float32 or float64, got {dtype!r}.")
    return given == np.float32


def _check_settings(kinks: Any, elements: Any, dtypes: Any, points: Any) -> None:
    known = get_args(Kinks)
    if kinks not in (None, *known):
        raise ValueError(
            f"gradcheck: kinks must be one of {', '.join(map(repr, known))}, got {kinks!r}."
        )
    if isinstance(elements, bool) or not isinstance(elements, int) or elements < 1:
        raise ValueError(f"gradcheck: elements must be an integer from 1, got {elements!r}.")
    if isinstance(dtypes, str):
        raise ValueError(f"gradcheck: dtypes must be a sequence, got {dtypes!r}.")
    unknown = [p for p in points if p not in elsewhere.KINDS] if not isinstance(points, str) else [
        points]  # fmt: skip
    if unknown:
        raise ValueError(
            f"gradcheck: points must be a sequence of {', '.join(map(repr, elsewhere.KINDS))}, "
            f"got {unknown[0]!r}."
        )

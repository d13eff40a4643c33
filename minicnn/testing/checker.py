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

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

import numpy as np

from minicnn.nn import Module
from minicnn.testing import causes, comparison, equivalents, manners, slopes
from minicnn.testing.check import Check, Kinks, Stop
from minicnn.testing.report import GradientError, Report
from minicnn.testing.subjects import Arrays, subject_of, unchecked


def gradcheck(
    thing: Any,
    *arrays: np.ndarray | None,
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
                    "skip" for networks, in which kinks meet each other; their input is moved a
                    little, off zeros and ties
        updates     names or positions of arguments that forward is meant to write to
        dtypes      those in which values have to come out as they went in
        elements    how many elements of each argument are compared with differences
        seed        of dy, directions and samples
        raises      False: return the report also where it is bad

    Raises GradientError (an AssertionError), whose text is the report.
    """
    __tracebackhide__ = True  # of pytest: the report says it all
    _check_settings(kinks, elements, dtypes)
    given = tuple(None if a is None else np.asarray(a) for a in arrays)
    network = isinstance(thing, Module) and any(thing.named_children())
    kinks = kinks or ("skip" if network else "between")
    if kinks == "skip":
        given = _nudged(given, np.random.default_rng(seed))

    def run(arrays: Arrays, against: equivalents.Equivalent | None = None) -> Report:
        subject = subject_of(thing, arrays, options or {}, training)
        names = {subject.names[u] if isinstance(u, int) else u for u in updates}
        if names - set(subject.names):
            raise ValueError(
                f"gradcheck: updates names {', '.join(sorted(names - set(subject.names)))}, but "
                f"the arguments are {', '.join(subject.names)}."
            )
        check = Check(subject, against, frozenset(names), np.random.default_rng(seed))
        with np.errstate(all="ignore"), warnings.catch_warnings(), suppress(Stop):
            warnings.simplefilter("ignore", RuntimeWarning)
            _run(check, kinks, [np.dtype(dtype) for dtype in dtypes], elements)
        return check.report

    subject = subject_of(thing, given, options or {}, training)
    against = equivalents.find(equivalent, torch, subject, options or {}, training)
    report = run(given, against)
    if hidden := unchecked(thing):
        report.notes.append(
            f"Not checked: {', '.join(hidden)}. Only attributes that are nn.Param or Module count."
        )
    if not report.ok and report.checked:
        _ask_at_ordinary_numbers(report, run, given, np.random.default_rng(seed))
    if raises and not report.ok:
        raise GradientError(report) from report.error
    return report


def _run(check: Check, kinks: Kinks, dtypes: Sequence[np.dtype], elements: int) -> None:
    manners.inspect(check, dtypes)
    if not all(np.isfinite(a).all() for a in check.arrays if a is not None):
        check.report.notes.append(
            "The arguments are not all finite: the gradients were compared with no differences."
        )
    elif not np.isfinite(check.y).all():
        cause = causes.OVERFLOW if np.isnan(check.y).any() else None
        check.fault("forward", "y is not finite although every argument is", cause, stop=True)
    else:
        with check.catching("forward, with an argument moved a little"):
            slopes.compare(check, kinks, elements)
    if check.against is not None:
        try:
            comparison.compare(check, check.against)
        except Stop:
            raise
        except Exception as error:
            raise TypeError(
                f"gradcheck: {check.against.name}, the equivalent, raised "
                f"{type(error).__name__}: {error}"
            ) from error
        check.report.against = check.against.name


def _nudged(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Move the arrays off zeros and ties: within a network, kinks could not be judged."""
    return tuple(
        np.asarray(a + np.round(16 * rng.standard_normal(a.shape)).astype(a.dtype) / 2**14)
        if a is not None and a.dtype.kind == "f"
        else a
        for a in arrays
    )


def _ask_at_ordinary_numbers(
    report: Report, run: Callable[[Arrays], Report], given: Arrays, rng: np.random.Generator
) -> None:
    """Prefer the cause that is seen where nothing is 0 or equal: zeros fit many patterns."""
    ordinary = tuple(
        np.asarray(rng.standard_normal(a.shape)) if a is not None and a.dtype.kind == "f" else a
        for a in given
    )
    seen = {fault.what: fault.cause for fault in run(ordinary).faults if fault.cause}
    for fault in report.faults:
        if fault.what in report.names and fault.what in seen:
            fault.cause = seen[fault.what]


def _check_settings(kinks: Any, elements: Any, dtypes: Any) -> None:
    known = get_args(Kinks)
    if kinks not in (None, *known):
        raise ValueError(
            f"gradcheck: kinks must be one of {', '.join(map(repr, known))}, got {kinks!r}."
        )
    if isinstance(elements, bool) or not isinstance(elements, int) or elements < 1:
        raise ValueError(f"gradcheck: elements must be an integer from 1, got {elements!r}.")
    if isinstance(dtypes, str):
        raise ValueError(f"gradcheck: dtypes must be a sequence, got {dtypes!r}.")

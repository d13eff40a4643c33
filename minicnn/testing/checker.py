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
from typing import Any

import numpy as np

from minicnn.nn import Module
from minicnn.testing import causes, comparison, equivalents, manners, slopes
from minicnn.testing.check import Check, Kinks, Stop
from minicnn.testing.report import GradientError, Report
from minicnn.testing.subjects import subject_of


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
    subject = subject_of(thing, arrays, options or {}, training)
    against = equivalents.find(equivalent, torch, subject, options or {}, training)
    check = Check(subject, against, frozenset(updates), np.random.default_rng(seed))
    if kinks is None:
        kinks = "skip" if isinstance(thing, Module) and any(thing.named_children()) else "between"
    with np.errstate(all="ignore"), warnings.catch_warnings(), suppress(Stop):
        warnings.simplefilter("ignore", RuntimeWarning)
        manners.inspect(check, [np.dtype(dtype) for dtype in dtypes])
        if not all(np.isfinite(a).all() for a in check.arrays if a is not None):
            check.report.notes.append(
                "The arguments are not all finite: the gradients were compared with no differences."
            )
        elif not np.isfinite(check.y).all():
            cause = causes.OVERFLOW if np.isnan(check.y).any() else None
            check.fault("forward", "y is not finite although every argument is", cause, stop=True)
        else:
            slopes.compare(check, kinks, elements)
        if against is not None:
            comparison.compare(check, against)
    if raises and not check.report.ok:
        raise GradientError(check.report)
    return check.report

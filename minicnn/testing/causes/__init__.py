"""Which mistake makes a gradient wrong in this way?

Each file knows some mistakes and replays them: which gradient would this mistake give? A cause is
named if its replay gives the same wrong gradient, at the given numbers and at random ones. So a
coincidence is almost impossible. The more specific causes are tried first, and the first that fits
is named. If none fits, none is named.

    behaviour    backward run again: another dy, another seed, another cache
    amounts      a factor, a sign, nothing, an error of rounding
    kinks        ties
    arguments    a parameter forgotten, two arguments confused, a kernel flipped
    geometry     stride, dilation, padding forgotten
    statistics   means and variances treated as constants, wrong counts, wrong axes
    sums         an axis or a window left out
    places       the right numbers at wrong indices, zeros where y changes
    shapes       a gradient of another shape
    values       forward against its equivalent
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from minicnn.testing.causes import (
    amounts,
    arguments,
    behaviour,
    geometry,
    kinks,
    places,
    statistics,
    sums,
)
from minicnn.testing.causes.amounts import factor as factor
from minicnn.testing.causes.amounts import numbers_of as numbers_of
from minicnn.testing.causes.arguments import TURNS as TURNS
from minicnn.testing.causes.evidence import Evidence, at_ordinary_numbers
from minicnn.testing.causes.shapes import of_exception as of_exception
from minicnn.testing.causes.shapes import of_shape as of_shape
from minicnn.testing.causes.texts import *  # noqa: F403 - each is used by its name
from minicnn.testing.causes.values import of_rejection as of_rejection
from minicnn.testing.causes.values import of_values as of_values
from minicnn.testing.conventions import isolation

if TYPE_CHECKING:
    from minicnn.testing.check import Check

Replay = Callable[[Evidence], str | None]

# The most specific first, because a general cause may fit by accident.
FIRST: tuple[Replay, ...] = (
    amounts.small, amounts.infinite, behaviour.noise, behaviour.upstream, kinks.ties,
)  # fmt: skip
REPLAYS: tuple[Replay, ...] = (
    geometry.forgotten_option, amounts.zero, amounts.times, amounts.skip, arguments.forgotten,
    arguments.exchanged, arguments.turned_weight, arguments.output_for_input, arguments.turned,
    statistics.softmax, statistics.keepdims, statistics.count, statistics.constants,
    sums.accumulation, sums.last_entry, geometry.shifted, sums.partial, places.flat,
    places.unreached, behaviour.alias, places.permuted,
)  # fmt: skip


def finder(
    check: Check, i: int, wrong: np.ndarray, at_kinks: np.ndarray, adjoint_holds: bool
) -> Callable[[], str | None]:
    """Return a function that looks for the cause of a wrong gradient of argument ``i``."""

    def find() -> str | None:
        kept = isolation.global_randomness_kept()
        with kept, np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return of_gradient(check, i, wrong, at_kinks, adjoint_holds)

    return find


def of_gradient(
    check: Check, i: int, wrong: np.ndarray, at_kinks: np.ndarray, adjoint_holds: bool
) -> str | None:
    """Return the likely cause of a wrong gradient of argument ``i``, or None."""
    here = Evidence(check, i, wrong, at_kinks, adjoint_holds)
    for test in FIRST:
        if cause := test(here):
            return cause.format(name=here.name)
    other = at_ordinary_numbers(check, i)
    if other is None and np.isin(wrong, at_kinks).all():
        return None  # at kinks differences say little
    if other is not None and (cause := amounts.small(other)) and not here.shows:
        return cause
    for test in REPLAYS:
        cause = _reproduced(test, here, other)
        if cause:
            return cause.format(name=here.name)
    return None


def _reproduced(test: Replay, here: Evidence, other: Evidence | None) -> str | None:
    """Return what the test says, if it says so at the numbers at hand and at random ones."""
    said = test(other or here)
    if said is None or other is None:
        return said
    if here.at_kinks.size or not here.shows:
        return said  # at kinks differences say little
    return said if test(here) == said else None

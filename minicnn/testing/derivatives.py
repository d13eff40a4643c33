"""How y changes when x changes: slopes from values of forward only.

Along a direction v, with values y(t) at x + t*v,

    central  (8 (y(h) - y(-h)) - (y(2h) - y(-2h))) / 12h      error of order h^4
    right    (y(h) - y(0)) / h,    left  (y(0) - y(-h)) / h   they differ where y has a kink
    complex  Im y(ih) / h                                     no difference, so no lost digits

Steps and directions are binary fractions with few digits. So x + t*v is exact, even if x is
large. The complex step is Squire & Trapp (1998), Using complex variables to estimate derivatives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Precision(NamedTuple):
    """Step sizes and tolerances for one precision.

    Attributes
        eps        the distance from 1 to the next number
        steps      steps of differences. The first one loses the fewest digits to rounding; the
                   others are for forwards that bend within a step, like ReLU close to 0
        tiny       steps so small that y changes only by rounding
        tolerance  allowed error, relative to the terms whose sum is an element of the gradient
        rounding   allowed error, relative to the largest element and to dy
        jump       relative to the largest output: a larger change in a tiny step is a jump
    """

    dtype: Any
    eps: float
    steps: tuple[float, ...]
    tiny: tuple[float, ...]
    tolerance: float
    rounding: float
    jump: float


# Steps from 1e-3 down to 1e-7; in float32, which has seven digits and not sixteen, from 1/16.
DOUBLE = Precision(
    np.float64, 2.0**-52, tuple(2.0**-k for k in (10, 13, 17, 20, 23)), (2.0**-30, 2.0**-31),
    tolerance=1e-7, rounding=1e-12, jump=1e-6,
)  # fmt: skip
SINGLE = Precision(
    np.float32, 2.0**-23, tuple(2.0**-k for k in (4, 5, 6, 8, 10)), (2.0**-14, 2.0**-15),
    tolerance=5e-4, rounding=2e-6, jump=1e-2,
)  # fmt: skip
COMPLEX_STEP = 2.0**-70

Along = Callable[[complex], np.ndarray]  # t -> y(x + t*v)


class Kink(NamedTuple):
    """The slopes on both sides of an x where some outputs have no derivative."""

    left: np.ndarray
    right: np.ndarray
    kinked: np.ndarray  # which outputs
    jumps: bool  # the values themselves differ on the two sides
    steep: bool = False  # the slope is infinite, as for a square root at 0


def central(along: Along, step: float) -> np.ndarray:
    """Return dy/dt at 0."""
    inner = along(step) - along(-step)
    outer = along(2 * step) - along(-2 * step)
    return (8 * inner - outer) / (12 * step)


class Slope(NamedTuple):
    """<dy, dy/dt>, the sum of the absolute values of its terms, and its rounding error."""

    value: float
    magnitude: float
    noise: float


def slope(along: Along, step: float, dy: np.ndarray, rounded: np.ndarray) -> Slope:
    """Return the slope of <dy, y> by central differences; ``rounded``: how exact y is."""
    terms = dy * central(along, step)
    noise = float((np.abs(dy) * rounded).sum()) / step
    return Slope(float(terms.sum()), float(np.abs(terms).sum()), noise)


def rounding(
    alongs: Sequence[Along], y: np.ndarray, elsewhere: np.ndarray, precision: Precision = DOUBLE
) -> np.ndarray:
    """Return how far rounding may move each output: some of its last digits, or what is seen.

    If forward loses digits inside, tiny changes of x change y by more than its last digits. An
    output that is the same ``elsewhere``, such as a large constant, has no rounding error.
    """
    wavers = np.zeros(y.shape)
    for along in alongs:
        for tiny in precision.tiny:
            wavers = np.fmax(wavers, np.abs(along(tiny) - 2 * y + along(-tiny)))
    wavers = np.where(
        wavers > precision.jump * np.abs(y).max(initial=0), 0, wavers
    )  # that is a jump
    last_digits = 16 * precision.eps * np.abs(y)
    return np.where(elsewhere != y, np.maximum(last_digits, 4 * wavers), 0)


def kink(along: Along, precision: Precision = DOUBLE) -> Kink | None:
    """Return the kink at t = 0, or None if y is smooth.

    If y is smooth, the difference between right and left slope shrinks with the step. At a kink it
    stays the same, and at a jump it grows.
    """
    y = along(0.0)
    gaps, left, right = [], y, y
    for step in precision.steps[2:]:
        after, before = along(step), along(-step)
        left, right = (y - before) / step, (after - y) / step
        gaps.append(np.abs(right - left))
    noise = 16 * precision.eps * np.abs(y) / precision.steps[-1]
    size = np.maximum(np.abs(left), np.abs(right))
    kinked = (gaps[-1] > 1e-3 * size + noise) & (gaps[-1] > 0.5 * gaps[-2])
    if not kinked.any():
        return None
    # At a jump, slopes grow as fast as steps shrink; at the pole of a root, more slowly.
    growth = np.where(kinked, gaps[-1] / np.maximum(gaps[-2], np.finfo(np.float64).tiny), 0)
    steps = precision.steps
    jumps = bool((growth > 0.5 * steps[-2] / steps[-1]).any())
    steep = bool((growth > 1.1).any()) and not jumps
    return Kink(left, right, kinked, jumps, steep)


def complex_step(along: Along) -> np.ndarray | None:
    """Return dy/dt at 0, or None if forward does not take complex numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns when it drops an imaginary part
            y = along(1j * COMPLEX_STEP)
    except KeyboardInterrupt:
        raise
    except BaseException:  # any error: forward does not take complex numbers
        return None
    return y.imag / COMPLEX_STEP if np.iscomplexobj(y) else None


def directions(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ``count`` directions: first all ones, which keeps ties, then random ones."""
    drawn = [np.asarray(np.round(16 * rng.standard_normal(shape)) / 16) for _ in range(count - 1)]
    return [np.ones(shape), *drawn]

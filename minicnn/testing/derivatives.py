"""How y moves when x moves: slopes from values of forward alone.

Along a direction v, with values y(t) at x + t*v,

    central  (8 (y(h) - y(-h)) - (y(2h) - y(-2h))) / 12h      error of order h^4
    right    (y(h) - y(0)) / h,    left  (y(0) - y(-h)) / h   they differ where y has a kink
    complex  Im y(ih) / h                                     no difference, so no lost digits

Steps and directions are binary fractions of few digits: x + t*v is then exact, also where x is
large. The complex step is Squire & Trapp (1998), Using complex variables to estimate derivatives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# From 1e-3 down to 1e-7. The first loses the fewest digits to rounding; the others are for where
# forward bends within a step, as ReLU does close to 0.
STEPS = tuple(2.0**-k for k in (10, 13, 17, 20, 23))
COMPLEX_STEP = 2.0**-70

Along = Callable[[complex], np.ndarray]  # t -> y(x + t*v)


class Kink(NamedTuple):
    """Slopes to both sides of an x at which some outputs have no derivative."""

    left: np.ndarray
    right: np.ndarray
    kinked: np.ndarray  # which outputs
    jumps: bool  # the values themselves differ to both sides


def central(along: Along, step: float) -> np.ndarray:
    """Return dy/dt at 0."""
    inner = along(step) - along(-step)
    outer = along(2 * step) - along(-2 * step)
    return (8 * inner - outer) / (12 * step)


class Slope(NamedTuple):
    """<dy, dy/dt>, the sum of the magnitudes of its terms, and how far rounding may move it."""

    value: float
    magnitude: float
    noise: float


def slope(along: Along, step: float, dy: np.ndarray, rounded: np.ndarray) -> Slope:
    """Return the slope of <dy, y> by central differences; ``rounded``: how exact y is."""
    terms = dy * central(along, step)
    noise = float((np.abs(dy) * rounded).sum()) / step
    return Slope(float(terms.sum()), float(np.abs(terms).sum()), noise)


def rounding(alongs: Sequence[Along], y: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    """Return how far rounding may move each output: some of its last digits, or what is seen.

    Where forward loses digits within, y wavers by more than its last digits when x moves by next
    to nothing. An output that is the same ``elsewhere``, such as a large constant, is not rounded.
    """
    wavers = np.zeros(y.shape)
    for along in alongs:
        for tiny in (2.0**-30, 2.0**-31):
            wavers = np.fmax(wavers, np.abs(along(tiny) - 2 * y + along(-tiny)))
    wavers = np.where(wavers > 1e-6 * np.abs(y).max(initial=0), 0, wavers)  # that is a jump
    last_digits = 16 * np.finfo(np.float64).eps * np.abs(y)
    return np.where(elsewhere != y, np.maximum(last_digits, 4 * wavers), 0)


def kink(along: Along) -> Kink | None:
    """Return the kink at t = 0, or None where y is smooth.

    Where y is smooth, the difference between right and left slope shrinks with the step; at a
    kink it stays, and where y jumps it grows.
    """
    y = along(0.0)
    gaps, left, right = [], y, y
    for step in STEPS[2:]:
        after, before = along(step), along(-step)
        left, right = (y - before) / step, (after - y) / step
        gaps.append(np.abs(right - left))
    noise = 16 * np.finfo(np.float64).eps * np.abs(y) / STEPS[-1]
    size = np.maximum(np.abs(left), np.abs(right))
    kinked = (gaps[-1] > 1e-3 * size + noise) & (gaps[-1] > 0.5 * gaps[-2])
    if not kinked.any():
        return None
    jumps = bool((kinked & (gaps[-1] > 4 * gaps[-2])).any())
    return Kink(left, right, kinked, jumps)


def complex_step(along: Along) -> np.ndarray | None:
    """Return dy/dt at 0, or None where forward does not take complex numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns when it drops an imaginary part
            y = along(1j * COMPLEX_STEP)
    except Exception:  # whatever forward says to a complex number, it is no use here
        return None
    return y.imag / COMPLEX_STEP if np.iscomplexobj(y) else None


def directions(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return ``count`` directions: all ones, which keeps ties tied, then random ones."""
    drawn = [np.asarray(np.round(16 * rng.standard_normal(shape)) / 16) for _ in range(count - 1)]
    return [np.ones(shape), *drawn]

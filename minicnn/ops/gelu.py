"""GELU, y = x * Phi(x): x times the probability that a normal number is below it.

Shapes
    x, y, dx, dy: any, equal
Derivation
    Phi is the distribution function of the normal distribution and phi = Phi' its density,

        Phi(x) = (1 + erf(x / sqrt(2))) / 2        phi(x) = exp(-x^2 / 2) / sqrt(2 pi)

    so by the product rule dy/dx = Phi(x) + x * phi(x).

    approximate="tanh" replaces Phi by (1 + t) / 2 with t = tanh(u), u = k * (x + a * x^3),
    k = sqrt(2 / pi), a = 0.044715. As tanh' = 1 - tanh^2,

        dy/dx = (1 + t) / 2 + x * (1 - t^2) / 2 * k * (1 + 3 a x^2)
Implementations
    textbook  the formulas, with SciPy's ndtr for Phi.
    fast      one pass over x. Phi is taken from erfc, which keeps its digits where it is small.
Conventions
    At -infinity y is NaN, as in torch: it is -infinity times 0.
Source
    Hendrycks & Gimpel (2016), Gaussian error linear units (GELUs).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange
from scipy.special import ndtr

from minicnn.backend import IMPLS, Impl, flat, flat_like, inner, kernel
from minicnn.shapes import check_choice, check_float, check_gradient

Approximate = Literal["none", "tanh"]
APPROXIMATE: tuple[Approximate, ...] = ("none", "tanh")

K, A = math.sqrt(2 / math.pi), 0.044715
HALF_ROOT, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


class Cache(NamedTuple):
    x: np.ndarray
    approximate: Approximate


def forward(
    x: Float[np.ndarray, "*shape"], approximate: Approximate = "none", *, impl: Impl = "fast"
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``. Raises ValueError unless approximate is "none" or "tanh"."""
    check_choice("gelu", "impl", impl, IMPLS)
    check_choice("gelu", "approximate", approximate, APPROXIMATE)
    check_float("gelu", x=x)
    cache = Cache(x, approximate)
    if impl == "textbook":
        return np.asarray(x * _probability(x, approximate), x.dtype), cache
    y = np.empty_like(x)
    _forward(flat_like(x, y), approximate == "tanh", flat(y))
    return y, cache


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("gelu", "impl", impl, IMPLS)
    x, approximate = cache
    check_gradient("gelu", dy, x.shape, x.dtype)
    if impl == "textbook":
        slope = _probability(x, approximate) + x * _density(x, approximate)
        return np.asarray(dy * slope, x.dtype)
    dx = np.empty_like(x)
    _backward(flat_like(dy, dx), flat_like(x, dx), approximate == "tanh", flat(dx))
    return dx


def _probability(x: np.ndarray, approximate: Approximate) -> np.ndarray:
    """Return Phi(x), or what stands for it."""
    if approximate == "none":
        return np.asarray(ndtr(x))
    return np.asarray((1 + np.tanh(K * (x + A * x**3))) / 2)


def _density(x: np.ndarray, approximate: Approximate) -> np.ndarray:
    """Return its derivative."""
    if approximate == "none":
        return np.asarray(np.exp(-x * x / 2) * DENSITY)
    t = np.tanh(K * (x + A * x**3))
    return np.asarray((1 - t * t) / 2 * K * (1 + 3 * A * x * x))


@inner(inline=True)
def _parts(x, by_tanh):
    """Return Phi(x) and its derivative, or what stands for them."""
    if by_tanh:
        t = math.tanh(K * (x + A * x * x * x))
        return (1 + t) / 2, (1 - t * t) / 2 * (K * (1 + 3 * A * x * x))
    return math.erfc(-x * HALF_ROOT) / 2, math.exp(-x * x / 2) * DENSITY


@kernel(parallel=True)
def _forward(x, by_tanh, y):
    for i in prange(x.size):
        probability, _ = _parts(x[i], by_tanh)
        y[i] = x[i] * probability


@kernel(parallel=True)
def _backward(dy, x, by_tanh, dx):
    for i in prange(x.size):
        probability, density = _parts(x[i], by_tanh)
        dx[i] = dy[i] * (probability + x[i] * density)

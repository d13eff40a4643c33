"""Hyperbolic tangent, y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

Shapes
    x, y, dx, dy: any, equal
Derivation
    With s = exp(x) - exp(-x) and c = exp(x) + exp(-x), s' = c and c' = s, so
    dy/dx = (c*c - s*s) / (c*c) = 1 - y*y.
Conventions
    The formula is divided by exp(|x|), so that nothing overflows, and exp(-2|x|) - 1 is taken by
    expm1, which keeps its digits near 0. The fast forward is NumPy's tanh, which already runs
    on vectors of the processor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, flat, flat_like, kernel
from minicnn.shapes import check_choice, check_float, check_gradient


class Cache(NamedTuple):
    y: np.ndarray


def forward(
    x: Float[np.ndarray, "*shape"], *, impl: Impl = "fast"
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``."""
    check_choice("tanh", "impl", impl, IMPLS)
    check_float("tanh", x=x)
    if impl == "textbook":
        e = np.expm1(-2 * np.abs(x))
        y = np.asarray(np.copysign(-e / (e + 2), x))
    else:
        y = np.asarray(np.tanh(x))
    return y, Cache(y)


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("tanh", "impl", impl, IMPLS)
    y = cache.y
    check_gradient("tanh", dy, y.shape, y.dtype)
    if impl == "textbook":
        return np.asarray(dy * (1 - y * y))
    dx = np.empty_like(y)
    _backward(flat_like(dy, dx), flat_like(y, dx), flat(dx))
    return dx


@kernel(parallel=True)
def _backward(dy, y, dx):
    for i in prange(y.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])

"""Logistic sigmoid, y = 1 / (1 + exp(-x)).

Shapes
    x, y, dx, dy: any, equal
Derivation
    dy/dx = exp(-x) / (1 + exp(-x))^2 = y * (1 - y).
Conventions
    exp is taken of negative numbers only, so that nothing overflows: 1/(1 + exp(-x)) is also
    exp(-log(1 + exp(-x))), and for x < 0 also exp(x) / (1 + exp(x)).
"""

from __future__ import annotations

import math
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
    check_choice("sigmoid", "impl", impl, IMPLS)
    check_float("sigmoid", x=x)
    if impl == "textbook":
        y = np.asarray(np.exp(-np.logaddexp(x.dtype.type(0), -x)))
    else:
        y = np.empty_like(x)
        _forward(flat_like(x, y), flat(y))
    return y, Cache(y)


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("sigmoid", "impl", impl, IMPLS)
    y = cache.y
    check_gradient("sigmoid", dy, y.shape, y.dtype)
    if impl == "textbook":
        return np.asarray(dy * y * (1 - y))
    dx = np.empty_like(y)
    _backward(flat_like(dy, dx), flat_like(y, dx), flat(dx))
    return dx


@kernel(parallel=True)
def _forward(x, y):
    one = x.dtype.type(1)
    for i in prange(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = (one if x[i] >= 0 else e) / (one + e)


@kernel(parallel=True)
def _backward(dy, y, dx):
    for i in prange(y.size):
        dx[i] = dy[i] * y[i] * (1 - y[i])

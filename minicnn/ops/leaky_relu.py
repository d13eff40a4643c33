"""Leaky ReLU, y = x where x > 0, else slope * x.

Shapes
    x, y, dx, dy: any, equal
Derivation
    A straight line on either side of 0: dx = dy where x > 0, else slope * dy.
Conventions
    At x = 0 the derivative does not exist; like torch, the slope is taken.
Source
    Maas, Hannun & Ng (2013), Rectifier nonlinearities improve neural network acoustic models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, flat, flat_like, kernel
from minicnn.shapes import check_choice, check_float, check_gradient


class Cache(NamedTuple):
    x: np.ndarray  # the sign of y tells that of x only if the slope is positive
    slope: float


def forward(
    x: Float[np.ndarray, "*shape"], negative_slope: float = 0.01, *, impl: Impl = "fast"
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``."""
    check_choice("leaky_relu", "impl", impl, IMPLS)
    cache = Cache(x, check_float("leaky_relu", x=x).type(negative_slope))
    return _scale(x, cache, impl), cache


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("leaky_relu", "impl", impl, IMPLS)
    check_gradient("leaky_relu", dy, cache.x.shape, cache.x.dtype)
    return _scale(dy, cache, impl)


def _scale(v: np.ndarray, cache: Cache, impl: Impl) -> np.ndarray:
    """Return v where x > 0, else slope * v: with v = x that is y, with v = dy it is dx."""
    x, slope = cache
    if impl == "textbook":
        return np.where(x > 0, v, slope * v)
    out = np.empty_like(x)
    _scale_fast(flat_like(v, out), flat_like(x, out), slope, flat(out))
    return out


@kernel(parallel=True)
def _scale_fast(v, x, slope, out):
    for i in prange(x.size):
        out[i] = v[i] if x[i] > 0 else slope * v[i]

"""ReLU, y = max(x, 0).

Shapes
    x, y, dx, dy: any, equal
Derivation
    y moves with x where x > 0 and not at all elsewhere, so dx = dy * [x > 0].
Conventions
    At x = 0 the derivative does not exist; like torch, 0 is taken. NaN stays NaN and lets the
    gradient pass, as in torch: hence the question y <= 0, which NaN answers with no.
Source
    Nair & Hinton (2010), Rectified linear units improve restricted Boltzmann machines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, flat, flat_like, kernel
from minicnn.shapes import check_choice, check_float, check_gradient


class Cache(NamedTuple):
    y: np.ndarray  # y > 0 exactly where x > 0, so x itself need not be kept


def forward(
    x: Float[np.ndarray, "*shape"], *, impl: Impl = "fast"
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``."""
    check_choice("relu", "impl", impl, IMPLS)
    check_float("relu", x=x)
    if impl == "textbook":
        y = np.asarray(np.maximum(x, 0))
    else:
        y = np.empty_like(x)
        _forward(flat_like(x, y), flat(y))
    return y, Cache(y)


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("relu", "impl", impl, IMPLS)
    y = cache.y
    check_gradient("relu", dy, y.shape, y.dtype)
    if impl == "textbook":
        return np.where(y <= 0, y.dtype.type(0), dy)
    dx = np.empty_like(y)
    _backward(flat_like(dy, dx), flat_like(y, dx), flat(dx))
    return dx


@kernel(parallel=True)
def _forward(x, y):
    for i in prange(x.size):
        y[i] = 0 if x[i] <= 0 else x[i]


@kernel(parallel=True)
def _backward(dy, y, dx):
    for i in prange(y.size):
        dx[i] = 0 if y[i] <= 0 else dy[i]

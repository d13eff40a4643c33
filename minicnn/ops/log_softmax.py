"""Logarithm of softmax along one axis, y_k = x_k - log(sum_m exp(x_m)).

Shapes
    x, y, dx, dy: any, equal
Derivation
    The logarithm of the sum moves with x_m by softmax_m = exp(y_m):

        dy_k/dx_m = [k = m] - exp(y_m)
        dx_m      = dy_m - exp(y_m) * sum_k dy_k
Conventions
    The greatest x is subtracted before exp and added after log, so that nothing overflows. The
    logarithm of softmax itself would be -inf as soon as a probability is too small to be held.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, dim_last, kernel
from minicnn.shapes import axis_index, check_choice, check_float, check_gradient


class Cache(NamedTuple):
    y: np.ndarray
    dim: int


def forward(
    x: Float[np.ndarray, "*shape"], dim: int = -1, *, impl: Impl = "fast"
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``; ``exp(y)`` adds up to 1 along ``dim``."""
    check_choice("log_softmax", "impl", impl, IMPLS)
    check_float("log_softmax", x=x)
    dim = axis_index("log_softmax", dim, x.ndim)
    if not x.size:
        y = x.copy()
    elif impl == "textbook":
        z = x - x.max(axis=dim, keepdims=True)
        y = z - np.log(np.exp(z).sum(axis=dim, keepdims=True))
    else:
        rows = dim_last(x, dim)
        y = np.empty_like(rows)
        _forward(rows.reshape(-1, rows.shape[-1]), y.reshape(-1, rows.shape[-1]))
        y = np.moveaxis(y, -1, dim)
    return y, Cache(y, dim)


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("log_softmax", "impl", impl, IMPLS)
    y, dim = cache
    check_gradient("log_softmax", dy, y.shape, y.dtype)
    if not dy.size:
        return dy.copy()
    if impl == "textbook":
        return dy - np.exp(y) * dy.sum(axis=dim, keepdims=True)
    drows, rows = dim_last(dy, dim), dim_last(y, dim)
    dx = np.empty_like(rows)
    k = rows.shape[-1]
    _backward(drows.reshape(-1, k), rows.reshape(-1, k), dx.reshape(-1, k))
    return np.moveaxis(dx, -1, dim)


@kernel(parallel=True, reorder=False)
def _forward(x, y):
    for n in prange(x.shape[0]):
        row, out = x[n], y[n]
        top = row.max()
        total = x.dtype.type(0)
        for k in range(row.size):
            out[k] = row[k] - top
            total += math.exp(out[k])
        log_total = math.log(total)
        for k in range(row.size):
            out[k] -= log_total


@kernel(parallel=True, reorder=False)
def _backward(dy, y, dx):
    for n in prange(y.shape[0]):
        grad, row, out = dy[n], y[n], dx[n]
        total = grad.sum()
        for k in range(row.size):
            out[k] = grad[k] - math.exp(row[k]) * total

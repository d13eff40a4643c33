"""Softmax along one axis, y_k = exp(x_k) / sum_m exp(x_m).

Shapes
    x, y, dx, dy: any, equal
Derivation
    Numerator and denominator both move with x_m:

        dy_k/dx_m = y_k * [k = m] - y_k * y_m
        dx_m      = sum_k dy_k * dy_k/dx_m = y_m * (dy_m - sum_k dy_k * y_k)
Conventions
    Adding a constant to x changes nothing, so the greatest x is subtracted first: the greatest
    term is exp(0) = 1, and nothing overflows.
Source
    Bridle (1990), Probabilistic interpretation of feedforward classification network outputs.
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
    """Return ``(y, cache)``; ``y`` adds up to 1 along ``dim``."""
    check_choice("softmax", "impl", impl, IMPLS)
    check_float("softmax", x=x)
    dim = axis_index("softmax", dim, x.ndim)
    if not x.size:
        y = x.copy()
    elif impl == "textbook":
        e = np.exp(x - x.max(axis=dim, keepdims=True))
        y = e / e.sum(axis=dim, keepdims=True)
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
    check_choice("softmax", "impl", impl, IMPLS)
    y, dim = cache
    check_gradient("softmax", dy, y.shape, y.dtype)
    if not dy.size:
        return dy.copy()
    if impl == "textbook":
        return y * (dy - (dy * y).sum(axis=dim, keepdims=True))
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
            out[k] = math.exp(row[k] - top)
            total += out[k]
        for k in range(row.size):
            out[k] /= total


@kernel(parallel=True, reorder=False)
def _backward(dy, y, dx):
    for n in prange(y.shape[0]):
        grad, row, out = dy[n], y[n], dx[n]
        shared = y.dtype.type(0)
        for k in range(row.size):
            shared += grad[k] * row[k]
        for k in range(row.size):
            out[k] = row[k] * (grad[k] - shared)

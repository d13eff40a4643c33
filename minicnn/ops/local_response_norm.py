"""Local response normalisation: each number shrinks by the squares of its neighbour channels.

Shapes
    x, y, dx, dy  (n, c, ...), with at least one further axis
Derivation
    At each pixel, with the window W(c) = {c - floor(size/2), ..., c + floor((size-1)/2)}, where x
    is 0 past the first and the last channel,

        d_c = k + alpha/size * sum_{j in W(c)} x_j^2
        y_c = x_c * d_c^-beta

    x_m moves y_m as its factor, and every y_c whose window holds it through

        dd_c/dx_m = 2 * alpha/size * x_m

    so that

        dx_m = dy_m * d_m^-beta
               - 2*alpha*beta/size * x_m * sum_{c: m in W(c)} dy_c * x_c * d_c^(-beta-1)

    The channels c whose window holds m are the mirrored window, {m - floor((size-1)/2), ...,
    m + floor(size/2)}.
Conventions
    alpha is divided by size, also where part of the window lies past the channels, as in torch;
    the paper does not divide. A window of even size reaches one channel further down than up.
Source
    Krizhevsky, Sutskever & Hinton (2012), ImageNet classification with deep convolutional neural
    networks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.backend import IMPLS, Impl, dim_last, inner, kernel
from minicnn.shapes import ShapeError, check_choice, check_float, check_gradient, integer


class Cache(NamedTuple):
    x: np.ndarray
    d: np.ndarray  # of the shape of x
    below: int  # channels of a window before its own, and after
    above: int
    share: float  # alpha/size
    beta: float


def forward(
    x: Float[np.ndarray, "n c *rest"],
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c *rest"], Cache]:
    """Return ``(y, cache)``; a window holds ``size`` channels."""
    check_choice("local_response_norm", "impl", impl, IMPLS)
    check_float("local_response_norm", x=x)
    if x.ndim < 3:
        raise ShapeError(
            f"local_response_norm: x must have 3 axes or more (n, c, ...), got {x.ndim} "
            f"with shape {x.shape}."
        )
    size = integer("local_response_norm", "size", size, 1)
    below, above = size // 2, (size - 1) // 2
    share, beta, k = float(alpha) / size, float(beta), float(k)
    if not x.size:
        y, d = x.copy(), x.copy()
    elif impl == "textbook":
        d = k + share * _window_sum(x * x, below, above)
        y = x * d**-beta
    else:
        rows, c = dim_last(x, 1), x.shape[1]
        y, d = np.empty_like(rows), np.empty_like(rows)
        pixels = (a.reshape(-1, c) for a in (rows, y, d))
        _forward(*pixels, below, above, *(x.dtype.type(v) for v in (share, beta, k)))
        x, y, d = (np.moveaxis(a, -1, 1) for a in (rows, y, d))
    return y, Cache(x, d, below, above, share, beta)


def backward(
    dy: Float[np.ndarray, "n c *rest"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c *rest"]:
    """Return ``dx``."""
    check_choice("local_response_norm", "impl", impl, IMPLS)
    x, d, below, above, share, beta = cache
    check_gradient("local_response_norm", dy, x.shape, x.dtype)
    if not x.size:
        return dy.copy()
    if impl == "textbook":
        moved = _window_sum(dy * x * d ** (-beta - 1), above, below)
        return dy * d**-beta - 2 * share * beta * x * moved
    rows, c = dim_last(x, 1), x.shape[1]
    dx = np.empty_like(rows)
    pixels = (a.reshape(-1, c) for a in (dim_last(dy, 1), rows, dim_last(d, 1), dx))
    _backward(*pixels, below, above, *(x.dtype.type(v) for v in (2 * share * beta, beta)))
    return np.moveaxis(dx, -1, 1)


def _window_sum(v: np.ndarray, below: int, above: int) -> np.ndarray:
    """Return the sum of ``v`` over the channels from ``below`` before to ``above`` after each."""
    padded = np.pad(v, [(0, 0), (below, above)] + [(0, 0)] * (v.ndim - 2))
    return sliding_window_view(padded, below + 1 + above, axis=1).sum(axis=-1)


@inner
def _add_window(v, total, below, above):
    """Add to each number of total those of v from ``below`` before it to ``above`` after."""
    c = v.size
    for t in range(max(-below, 1 - c), min(above, c - 1) + 1):
        seen, out = v[max(0, t) : c + min(0, t)], total[max(0, -t) : c + min(0, -t)]
        for e in range(out.size):
            out[e] += seen[e]


@inner
def _power(d, beta, out):
    """Set out = d^-beta; the usual 3/4 is made of roots, which run on vectors."""
    one = d.dtype.type(1)
    if beta == 0.75:
        for e in range(d.size):
            root = math.sqrt(d[e])
            out[e] = one / (root * math.sqrt(root))
    else:
        for e in range(d.size):
            out[e] = d[e] ** -beta


@kernel(parallel=True)
def _forward(x, y, d, below, above, share, beta, k):
    for i in prange(x.shape[0]):
        row, out, total = x[i], y[i], d[i]
        for e in range(row.size):
            out[e] = share * row[e] * row[e]
            total[e] = k
        _add_window(out, total, below, above)
        _power(total, beta, out)
        for e in range(row.size):
            out[e] *= row[e]


@kernel(parallel=True)
def _backward(dy, x, d, dx, below, above, factor, beta):
    for i in prange(x.shape[0]):
        grad, row, base, out = dy[i], x[i], d[i], dx[i]
        terms, total = np.empty(row.size, row.dtype), np.zeros(row.size, row.dtype)
        _power(base, beta, out)
        for e in range(row.size):
            terms[e] = grad[e] * row[e] * out[e] / base[e]
        _add_window(terms, total, above, below)  # mirrored
        for e in range(row.size):
            out[e] = grad[e] * out[e] - factor * row[e] * total[e]

"""Linear layer and ReLU in one operation.

Shapes
    x, dx            (..., i)
    weight, dweight  (o, i)
    bias, dbias      (o,) or None
    y, dy            (..., o)
Derivation
    y = max(x W^T + b, 0). ReLU lets the gradient through where y > 0,

        g = dy * [y > 0],    (dx, dweight, dbias) = linear's of g
Implementations
    textbook  the two operations, one after the other.
    fast      ReLU in place; backward masks dy and sums it for the bias in one pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl, kernel
from minicnn.ops import linear, relu
from minicnn.shapes import check_choice, check_gradient


class Cache(NamedTuple):
    linear: linear.Cache
    y: np.ndarray


def forward(
    x: Float[np.ndarray, "*batch i"],
    weight: Float[np.ndarray, "o i"],
    bias: Float[np.ndarray, " o"] | None = None,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "*batch o"], Cache]:
    """Return ``(y, cache)``. Raises as linear does."""
    check_choice("linear_relu", "impl", impl, IMPLS)
    y, cache = linear.forward(x, weight, bias, impl=impl)
    if impl == "textbook":
        y, _ = relu.forward(y, impl=impl)
    else:
        _relu(y.reshape(-1))
    return y, Cache(cache, y)


def backward(
    dy: Float[np.ndarray, "*batch o"],
    cache: Cache,
    *,
    input_grad: bool = True,
    param_grad: bool = True,
    impl: Impl = "fast",
) -> tuple[
    Float[np.ndarray, "*batch i"] | None,
    Float[np.ndarray, "o i"] | None,
    Float[np.ndarray, " o"] | None,
]:
    """Return ``(dx, dweight, dbias)``, None for what was not asked for or is not there."""
    check_choice("linear_relu", "impl", impl, IMPLS)
    product, y = cache
    check_gradient("linear_relu", dy, y.shape, y.dtype)
    if impl == "textbook":
        g = relu.backward(dy, relu.Cache(y), impl=impl)
        return linear.backward(
            g, product, input_grad=input_grad, param_grad=param_grad, impl=impl
        )  # fmt: skip
    g, sums = np.empty(y.shape, y.dtype), np.zeros(y.shape[-1], y.dtype)
    rows = np.require(dy, requirements=["C", "W"]).reshape(-1, sums.size)
    _mask(rows, y.reshape(rows.shape), g.reshape(rows.shape), sums)
    dx, dweight, _ = linear.backward(
        g, product._replace(has_bias=False), input_grad=input_grad, param_grad=param_grad
    )
    return dx, dweight, sums if param_grad and product.has_bias else None


@kernel
def _relu(y):
    for e in range(y.size):
        y[e] = 0 if y[e] <= 0 else y[e]


@kernel
def _mask(dy, y, g, sums):
    """g = dy where y > 0, and its sum over the rows."""
    for n in range(y.shape[0]):
        gradient, out, passed = dy[n], y[n], g[n]
        for e in range(sums.size):
            passed[e] = 0 if out[e] <= 0 else gradient[e]
            sums[e] += passed[e]

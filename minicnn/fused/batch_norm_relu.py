"""Batch normalisation, the sum with a shortcut, and ReLU, in one pass over the memory.

Shapes
    as batch_norm's; residual and dresidual like x, or None
Derivation
    With z the output of batch_norm,

        y = max(z + residual, 0)

    ReLU lets the gradient through where y > 0, and the sum hands it to both:

        g = dy * [y > 0],    dresidual = g,    (dx, dweight, dbias) = batch_norm's of g

Implementations
    textbook  the three operations, one after the other.
    fast      one kernel for what they read and write in turn. These operations do little with a
              number and much with memory: x, z and the sum would each travel to it and back.
              Backward notes g, which the shortcut needs anyway, while it sums for batch_norm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, dim_last, empty, kernel
from minicnn.ops import batch_norm, relu
from minicnn.shapes import ShapeError, check_choice, check_float, check_gradient


class Cache(NamedTuple):
    norm: batch_norm.Cache
    y: np.ndarray
    has_residual: bool


def forward(
    x: Float[np.ndarray, "n c *rest"],
    weight: Float[np.ndarray, " c"] | None = None,
    bias: Float[np.ndarray, " c"] | None = None,
    running_mean: Float[np.ndarray, " c"] | None = None,
    running_var: Float[np.ndarray, " c"] | None = None,
    residual: Float[np.ndarray, "n c *rest"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c *rest"], Cache]:
    """Return ``(y, cache)``; the options, effects and errors are batch_norm's."""
    check_choice("batch_norm_relu", "impl", impl, IMPLS)
    _check_residual(x, residual)  # before the running statistics move
    norm = batch_norm.prepare(
        x, weight, bias, running_mean, running_var, training, momentum, eps, impl=impl
    )
    return finish(*norm, residual, impl=impl)


def _check_residual(x: np.ndarray, residual: np.ndarray | None) -> None:
    check_float("batch_norm_relu", x=x, residual=residual)
    if residual is not None and residual.shape != x.shape:
        raise ShapeError(
            f"batch_norm_relu: residual must have the shape of x, {x.shape}, got {residual.shape}."
        )


def finish(
    cache: batch_norm.Cache,
    shift: np.ndarray,
    residual: np.ndarray | None = None,
    *,
    impl: Impl = "fast",
) -> tuple[np.ndarray, Cache]:
    """Do what batch_norm.prepare left to be done, the sum and ReLU; return forward's results."""
    _check_residual(cache.x, residual)
    if impl == "textbook":
        z = batch_norm.affine(cache, shift, impl=impl)
        y, _ = relu.forward(z if residual is None else z + residual, impl=impl)
        return y, Cache(cache, y, residual is not None)
    rows = dim_last(cache.x, 1)
    added = np.empty(0, rows.dtype) if residual is None else dim_last(residual, 1).reshape(-1)
    out = empty(rows.shape, rows.dtype)
    lines = [batch_norm.as_line(v) for v in (cache.mean, cache.scale, shift)]
    _affine_relu(rows.reshape(-1), *lines, added, out.reshape(-1))
    y = np.moveaxis(out, -1, 1)
    return y, Cache(cache, y, residual is not None)


def backward(
    dy: Float[np.ndarray, "n c *rest"],
    cache: Cache,
    *,
    input_grad: bool = True,
    param_grad: bool = True,
    impl: Impl = "fast",
) -> tuple[
    Float[np.ndarray, "n c *rest"] | None,
    Float[np.ndarray, " c"] | None,
    Float[np.ndarray, " c"] | None,
    Float[np.ndarray, "n c *rest"] | None,
]:
    """Return ``(dx, dweight, dbias, dresidual)``, None for what forward did not have.

    ``input_grad=False`` spares dx and dresidual, ``param_grad=False`` the other two.
    """
    check_choice("batch_norm_relu", "impl", impl, IMPLS)
    norm, y, has_residual = cache
    check_gradient("batch_norm_relu", dy, y.shape, y.dtype)
    if impl == "textbook" or not norm.training:
        g = relu.backward(dy, relu.Cache(y), impl=impl)
        gradients = batch_norm.backward(
            g, norm, input_grad=input_grad, param_grad=param_grad, impl=impl
        )
        return *gradients, g if has_residual and input_grad else None
    g, dweight, dbias = mask(dy, norm, y)
    dx = dresidual = None
    if input_grad:
        rows = dim_last(g, 1)
        drows = np.empty_like(rows) if has_residual else rows  # nobody else holds g then
        batch_norm.input_gradient(rows, norm, dweight, dbias, drows)
        dx = np.moveaxis(drows, -1, 1)
        dresidual = g if has_residual else None
    return (
        dx,
        dweight.astype(y.dtype) if param_grad and norm.has_weight else None,
        dbias.astype(y.dtype) if param_grad and norm.has_bias else None,
        dresidual,
    )


def mask(
    dy: np.ndarray, norm: batch_norm.Cache, y: np.ndarray, *, impl: Impl = "fast"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return g, and dweight and dbias of the norm."""
    check_gradient("batch_norm_relu", dy, y.shape, y.dtype)
    if impl == "textbook":
        g = relu.backward(dy, relu.Cache(y), impl=impl)
        axes = (0, *range(2, g.ndim))
        centered = norm.x - np.expand_dims(norm.mean, tuple(range(1, g.ndim - 1)))
        dweight = (g * centered).sum(axes) * norm.inverse_std
        return g, dweight, g.sum(axes, dtype=np.float64)
    rows, drows, c = dim_last(norm.x, 1), dim_last(dy, 1), norm.mean.size
    g = empty(rows.shape, rows.dtype)
    sums, products = batch_norm.partial_sums(rows), batch_norm.partial_sums(rows)
    _mask_and_add(
        drows.reshape(-1), dim_last(y, 1).reshape(-1), rows.reshape(-1),
        batch_norm.as_line(norm.mean), g.reshape(-1), sums, products,
    )  # fmt: skip
    dweight, dbias = batch_norm.sum_up(products, c) * norm.inverse_std, batch_norm.sum_up(sums, c)
    return np.moveaxis(g, -1, 1), dweight, dbias


@kernel(parallel=True, reorder=False)
def _affine_relu(x, center, scale, shift, residual, y):
    """y = max(scale * (x - center) + shift + residual, 0); an empty residual adds nothing."""
    width = center.size
    for j in prange((x.size + width - 1) // width):
        row, out = x[j * width : (j + 1) * width], y[j * width : (j + 1) * width]
        if residual.size:
            added = residual[j * width : (j + 1) * width]
            for e in range(row.size):
                z = scale[e] * (row[e] - center[e]) + shift[e] + added[e]
                out[e] = 0 if z <= 0 else z
        else:
            for e in range(row.size):
                z = scale[e] * (row[e] - center[e]) + shift[e]
                out[e] = 0 if z <= 0 else z


@kernel(parallel=True, reorder=False)
def _mask_and_add(dy, y, x, mean, g, sums, products):
    """g = dy where y > 0; add g into sums (parts, line), and g * (x - mean) into products."""
    parts, width = sums.shape
    lines = (x.size + width - 1) // width  # the last may be short
    for i in prange(parts):
        total, product = sums[i], products[i]
        for j in range(i * lines // parts, (i + 1) * lines // parts):
            row, grad = x[j * width : (j + 1) * width], dy[j * width : (j + 1) * width]
            out, masked = y[j * width : (j + 1) * width], g[j * width : (j + 1) * width]
            for e in range(row.size):
                passed = 0 if out[e] <= 0 else grad[e]
                masked[e] = passed
                total[e] += passed
                product[e] += passed * (row[e] - mean[e])

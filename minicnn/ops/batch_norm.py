"""Batch normalisation: each channel gets mean 0 and variance 1 over the batch, then an affine map.

Shapes
    x, y, dx, dy               (n, c, ...): any number of further axes, or none
    weight, dweight            (c,) or None
    bias, dbias                (c,) or None
    running_mean, running_var  (c,), or both None
Derivation
    Channels do not meet: take one, and let i run over its m values, those of all images.

        mu     = sum_i x_i / m
        v      = sum_i (x_i - mu)^2 / m
        s      = 1 / sqrt(v + eps)
        xhat_i = (x_i - mu) * s
        y_i    = weight * xhat_i + bias

    y is linear in weight and bias:

        dbias   = sum_i dy_i
        dweight = sum_i dy_i * xhat_i

    One x_j moves all of xhat, since the mean and the variance move with it:

        dmu/dx_j     = 1/m
        dv/dx_j      = 2 * (x_j - mu) / m    (nothing through mu, because sum_i (x_i - mu) = 0)
        ds/dx_j      = -s^3/2 * dv/dx_j = -s^2 * xhat_j / m
        dxhat_i/dx_j = s * ([i = j] - 1/m) + (x_i - mu) * ds/dx_j
                     = s * ([i = j] - 1/m - xhat_i * xhat_j / m)

    and with dx_j = sum_i dy_i * weight * dxhat_i/dx_j

        dx_j = weight * s * (dy_j - dbias/m - xhat_j * dweight/m)

    To move all x together changes no y, and to stretch them changes none either, but for eps. So
    the gradient loses its parts along 1 and along xhat: these are the two terms subtracted.
    In inference mu and v are given and do not move: dx_j = weight * s * dy_j.
Implementations
    textbook  the sums as they stand.
    fast      x lies channels last, so the channels repeat along its memory. That is cut into lines
              of some repetitions each, which are summed column by column. How many lines enter a
              partial sum depends on the shape only, and partial sums are added in order.
Conventions
    running = (1 - momentum) * running + momentum * that of the batch. The variance that runs is
    the unbiased one, with m - 1 in the place of m. An empty batch leaves both as they are.
    Sums are float64 whatever x is, and the variance is a mean of squared differences: a large mean
    costs no digits.
Source
    Ioffe & Szegedy (2015), Batch normalization: accelerating deep network training by reducing
    internal covariate shift.
"""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, dim_last, kernel
from minicnn.shapes import ShapeError, check_choice, check_float, check_gradient, check_shape

_Gradients = tuple[np.ndarray | None, np.ndarray, np.ndarray]


class Cache(NamedTuple):
    x: np.ndarray
    mean: np.ndarray  # mu, (c,), float64 like the next two
    inverse_std: np.ndarray  # s
    scale: np.ndarray  # weight * s
    has_weight: bool
    has_bias: bool
    training: bool


def forward(
    x: Float[np.ndarray, "n c *rest"],
    weight: Float[np.ndarray, " c"] | None = None,
    bias: Float[np.ndarray, " c"] | None = None,
    running_mean: Float[np.ndarray, " c"] | None = None,
    running_var: Float[np.ndarray, " c"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c *rest"], Cache]:
    """Return ``(y, cache)``. Training normalises by the batch, inference by the running arrays.

    Training updates the running arrays in place where they are given: the one effect that any
    operation has. Errors are raised before it. ShapeError also where a channel has one value only.
    """
    check_choice("batch_norm", "impl", impl, IMPLS)
    cache, shift = prepare(
        x, weight, bias, running_mean, running_var, training, momentum, eps, impl=impl
    )
    return affine(cache, shift, impl=impl), cache


def prepare(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    training: bool,
    momentum: float,
    eps: float,
    statistics: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    impl: Impl,
) -> tuple[Cache, np.ndarray]:
    """Do all of forward but the last step, y = scale * (x - mean) + shift; return cache and shift.

    The fast implementation has cache.x channels last in memory. ``statistics`` are mean and
    variance, for training, if they are known already.
    """
    check_float(
        "batch_norm",
        x=x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var,
    )  # fmt: skip
    _check(x, weight, bias, running_mean, running_var, training, momentum, eps)
    if impl != "textbook":
        x = np.moveaxis(dim_last(x, 1), -1, 1)  # a copy at most once; backward finds it in order
    m, c = _values(x), x.shape[1]
    if not training:
        mean, var = (np.array(running, np.float64) for running in (running_mean, running_var))
    elif not m:
        mean, var = np.zeros(c), np.ones(c)
    else:
        gather = _statistics_textbook if impl == "textbook" else _statistics_fast
        mean, var = statistics or gather(x)
        if running_mean is not None and running_var is not None:
            unbiased = var * m / (m - 1)
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as in torch
                running_mean[...] = (1 - momentum) * running_mean + momentum * mean
                running_var[...] = (1 - momentum) * running_var + momentum * unbiased
    with np.errstate(divide="ignore", invalid="ignore"):  # running_var may hold anything
        inverse_std = 1 / np.sqrt(var + eps)
    scale = inverse_std if weight is None else weight * inverse_std
    shift = np.zeros(c) if bias is None else bias.astype(np.float64)
    has = weight is not None, bias is not None
    return Cache(x, mean, inverse_std, scale, *has, training), shift


def affine(cache: Cache, shift: np.ndarray, *, impl: Impl) -> np.ndarray:
    """Do the last step of forward, which ``prepare`` leaves."""
    run = _affine_textbook if impl == "textbook" else _affine_fast
    return run(cache.x, cache.mean, cache.scale, shift)


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
]:
    """Return ``(dx, dweight, dbias)``; None for a weight or bias that forward did not have.

    ``input_grad=False`` spares dx, ``param_grad=False`` spares the other two: they are None then.
    """
    check_choice("batch_norm", "impl", impl, IMPLS)
    dtype = cache.x.dtype
    check_gradient("batch_norm", dy, cache.x.shape, dtype)
    has_weight, has_bias = param_grad and cache.has_weight, param_grad and cache.has_bias
    if impl == "textbook":
        dx, dweight, dbias = _backward_textbook(dy, cache)
    else:
        dx, dweight, dbias = _backward_fast(dy, cache, input_grad, has_weight or has_bias)
    return (
        dx if input_grad else None,
        dweight.astype(dtype) if has_weight else None,
        dbias.astype(dtype) if has_bias else None,
    )


def _check(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    training: bool,
    momentum: float,
    eps: float,
) -> None:
    """Raise unless the sizes fit, and there is something to normalise by."""
    op = "batch_norm"
    if x.ndim < 2 or not x.shape[1]:
        raise ShapeError(f"{op}: x must have shape (n, c, ...), got {x.shape}.")
    running = {"running_mean": running_mean, "running_var": running_var}
    for name, array in {"weight": weight, "bias": bias, **running}.items():
        if array is not None:
            check_shape(op, name, array, "c", x.shape[1])
    for name, value in (("momentum", momentum), ("eps", eps)):
        if not isinstance(value, Real):
            raise TypeError(f"{op}: {name} must be a number, got {value!r}.")
    if not (eps > 0 or (eps == 0 and not training)):
        least = "greater than 0 in training" if training else "at least 0"
        raise ValueError(f"{op}: eps must be {least}, got {eps}.")
    missing = [name for name, array in running.items() if array is None]
    if len(missing) == 1:
        raise ValueError(
            f"{op}: {missing[0]} is missing: running_mean and running_var come together. "
            "Give both or neither."
        )
    if not training:
        if missing:
            raise ValueError(
                f"{op}: inference needs running_mean and running_var. "
                "Give both, or use training=True to normalise by the batch itself."
            )
        return
    if _values(x) == 1:
        raise ShapeError(
            f"{op}: x of shape {x.shape} has 1 value per channel; training needs 2 or more, since "
            "one has no variance. Use a larger batch, or training=False."
        )
    for name, array in running.items():
        if array is not None and not array.flags.writeable:
            raise ValueError(
                f"{op}: {name} is read-only, and training updates it in place. "
                f"Use {name}.copy(), or training=False."
            )


def _values(x: np.ndarray) -> int:
    """Return m, how many values of ``x`` (n, c, ...) a channel has."""
    return x.size // x.shape[1]


# --------------------------------------------------------------------------------------- textbook


def _beside(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return ``v`` (c,) with further axes, so that its channels meet those of ``x``."""
    return v.reshape(-1, *[1] * (x.ndim - 2))


def _statistics_textbook(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axes = (0, *range(2, x.ndim))
    return x.mean(axes, dtype=np.float64), x.var(axes, dtype=np.float64)


def _affine_textbook(
    x: np.ndarray, center: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    return (_beside(x, scale) * (x - _beside(x, center)) + _beside(x, shift)).astype(x.dtype)


def _backward_textbook(dy: np.ndarray, cache: Cache) -> _Gradients:
    x, mean, inverse_std, scale = cache[:4]
    axes, m = (0, *range(2, x.ndim)), max(1, _values(x))
    xhat = (x - _beside(x, mean)) * _beside(x, inverse_std)
    dweight, dbias = (dy * xhat).sum(axes), dy.sum(axes, dtype=np.float64)
    if cache.training:
        dy = dy - _beside(x, dbias / m) - xhat * _beside(x, dweight / m)
    return (_beside(x, scale) * dy).astype(x.dtype), dweight, dbias


# ------------------------------------------------------------------------------------------- fast

LINE = 512  # numbers in a line at most, unless c is more: a few would not fill the vectors
PARTS = 64  # partial sums at most


def as_line(v: np.ndarray) -> np.ndarray:
    """Return ``v`` (c,) repeated as the channels are along a line."""
    return np.tile(v, max(1, LINE // v.size))


def partial_sums(x: np.ndarray) -> np.ndarray:
    """Return zeros (parts, line) into which the lines of ``x`` (..., c) can be added."""
    width = as_line(np.zeros(x.shape[-1])).size
    return np.zeros((max(1, min(PARTS, x.size // width)), width))


def sum_up(parts: np.ndarray, c: int) -> np.ndarray:
    """Return the sums (c,) over the parts and along a line."""
    return parts.sum(axis=0).reshape(-1, c).sum(axis=0)


def _statistics_fast(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, c, m = dim_last(x, 1), x.shape[1], _values(x)
    sums, squares = partial_sums(rows), partial_sums(rows)
    _add(rows.reshape(-1), sums)
    mean = sum_up(sums, c) / m
    _add_squares(rows.reshape(-1), as_line(mean), squares)
    return mean, sum_up(squares, c) / m


def _affine_fast(
    x: np.ndarray, center: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    rows = dim_last(x, 1)
    y = np.empty_like(rows)
    _affine(rows.reshape(-1), as_line(center), as_line(scale), as_line(shift), y.reshape(-1))
    return np.moveaxis(y, -1, 1)


def _backward_fast(dy: np.ndarray, cache: Cache, input_grad: bool, param_grad: bool) -> _Gradients:
    x, mean, inverse_std, scale = cache[:4]
    rows, drows, c = dim_last(x, 1), dim_last(dy, 1), mean.size
    dweight, dbias = np.zeros(c), np.zeros(c)
    if param_grad or (input_grad and cache.training):
        dsums, products = partial_sums(rows), partial_sums(rows)
        _add_products(drows.reshape(-1), rows.reshape(-1), as_line(mean), dsums, products)
        dweight, dbias = sum_up(products, c) * inverse_std, sum_up(dsums, c)
    if not input_grad:
        return None, dweight, dbias
    if not cache.training:
        return _affine_fast(dy, np.zeros(c), scale, np.zeros(c)), dweight, dbias
    dx = np.empty_like(rows)
    input_gradient(drows, cache, dweight, dbias, dx)
    return np.moveaxis(dx, -1, 1), dweight, dbias


def input_gradient(
    dy: np.ndarray, cache: Cache, dweight: np.ndarray, dbias: np.ndarray, dx: np.ndarray
) -> None:
    """Fill ``dx`` from ``dy``, both (n, ..., c); they may be one array."""
    lines = map(as_line, coefficients(cache, dweight, dbias))
    _fill_dx(dy.reshape(-1), dim_last(cache.x, 1).reshape(-1), *lines, dx.reshape(-1))


def coefficients(
    cache: Cache, dweight: np.ndarray, dbias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return center, scale, slope, shift (c,): dx = scale * dy + slope * (x - center) + shift."""
    x, mean, inverse_std, scale = cache[:4]
    m = max(1, _values(x))
    if not cache.training:
        return mean, scale, np.zeros_like(mean), np.zeros_like(mean)
    return mean, scale, -scale * inverse_std * dweight / m, -scale * dbias / m


@kernel(parallel=True, reorder=False)
def _add(x, sums):
    """Add the lines of x into sums (parts, line), into each part its share of them."""
    parts, width = sums.shape
    lines = (x.size + width - 1) // width  # the last may be short
    for i in prange(parts):
        total = sums[i]
        for j in range(i * lines // parts, (i + 1) * lines // parts):
            row = x[j * width : (j + 1) * width]
            for e in range(row.size):
                total[e] += row[e]


@kernel(parallel=True, reorder=False)
def _add_squares(x, mean, squares):
    parts, width = squares.shape
    lines = (x.size + width - 1) // width
    for i in prange(parts):
        total = squares[i]
        for j in range(i * lines // parts, (i + 1) * lines // parts):
            row = x[j * width : (j + 1) * width]
            for e in range(row.size):
                total[e] += (row[e] - mean[e]) ** 2


@kernel(parallel=True, reorder=False)
def _add_products(dy, x, mean, sums, products):
    """Add dy into sums, and dy * (x - mean) into products."""
    parts, width = sums.shape
    lines = (x.size + width - 1) // width
    for i in prange(parts):
        total, product = sums[i], products[i]
        for j in range(i * lines // parts, (i + 1) * lines // parts):
            row, grad = x[j * width : (j + 1) * width], dy[j * width : (j + 1) * width]
            for e in range(row.size):
                total[e] += grad[e]
                product[e] += grad[e] * (row[e] - mean[e])


@kernel(parallel=True, reorder=False)
def _affine(x, center, scale, shift, y):
    width = center.size
    for j in prange((x.size + width - 1) // width):
        row, out = x[j * width : (j + 1) * width], y[j * width : (j + 1) * width]
        for e in range(row.size):
            out[e] = scale[e] * (row[e] - center[e]) + shift[e]


@kernel(parallel=True, reorder=False)
def _fill_dx(dy, x, mean, scale, slope, shift, dx):
    width = mean.size
    for j in prange((x.size + width - 1) // width):
        row, grad = x[j * width : (j + 1) * width], dy[j * width : (j + 1) * width]
        out = dx[j * width : (j + 1) * width]
        for e in range(row.size):
            out[e] = scale[e] * grad[e] + slope[e] * (row[e] - mean[e]) + shift[e]

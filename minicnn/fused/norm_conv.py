"""A convolution that reads through a batch norm and ReLU, and is followed by a batch norm.

Shapes
    x, dx            (n, c, h, w)
    weight, dweight  (o, c/groups, kh, kw); bias, dbias (o,) or None
    y, g             (n, o, oh, ow)
Derivation
    In convolutions that follow each other with a batch norm and ReLU after each, take one with the
    norms on either side of it, ``before`` and ``after``:

        z = max(before(x), 0)      or x, where there is no norm before
        y = conv2d(z)              and the mean and variance of y, for the norm after

    Going back, let g be the gradient of what the norm after gives. With its dweight and dbias,
    which are sums over all of g and y, the gradient of y is known pixel by pixel (batch_norm.py):

        dy                     = scale * g + slope * (y - mean) + shift
        (dz, dweight, dbias)   = conv2d's of dy
        g before               = dz * [z > 0]      and the sums of it, for the norm before

    z is two steps of arithmetic away from x, and dy from g and y. To take these steps where z and
    dy are read costs less than to write them to memory and read them back. So only the x, y, ...
    and the g are stored, and neither z nor dy.
Conventions
    dbias is the sum of dy: in training zero, for the mean takes away what a bias adds.
Implementations
    textbook  one operation after the other.
    fast      bands.py, where Winograd's convolution is the fastest for all three passes; else the
              fast operations one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import prange

from minicnn.backend import Impl, dim_last, flat, flat_like, kernel
from minicnn.fused import bands, batch_norm_relu
from minicnn.ops import batch_norm, conv2d


class Before(NamedTuple):
    """A batch norm that batch_norm.prepare has prepared: done, with ReLU, where x is read."""

    norm: batch_norm.Cache
    shift: np.ndarray


class After(NamedTuple):
    """A batch norm on the way back, when the sums over all pixels are known."""

    norm: batch_norm.Cache
    dweight: np.ndarray
    dbias: np.ndarray


class Cache(NamedTuple):
    x: np.ndarray
    before: Before | None
    weight: np.ndarray
    has_bias: bool
    steps: tuple[batch_norm_relu.Cache | None, conv2d.Cache] | None  # None: bands.py did it


class Gradients(NamedTuple):
    dx: np.ndarray | None  # or g, where there is a norm before
    dweight: np.ndarray | None
    dbias: np.ndarray | None
    before: After | None


def forward(
    x: np.ndarray,
    before: Before | None,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    impl: conv2d.Impl = "fast",
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None, Cache]:
    """Return ``(y, statistics, cache)``: mean and variance of y, if they were found by the way."""
    if impl == "fast" and bands.suits(x, weight, bias, stride, padding, dilation, groups):
        lines = (before.norm.mean, before.norm.scale, before.shift) if before else None
        y, statistics = bands.forward(x, lines, weight, bias)
        return y, statistics, Cache(x, before, weight, bias is not None, None)
    z: np.ndarray = x
    norm = None
    if before:
        z, norm = batch_norm_relu.finish(*before, impl=conv2d.plain(impl))
    y, conv = conv2d.forward(z, weight, bias, stride, padding, dilation, groups, impl=impl)
    return y, None, Cache(x, before, weight, bias is not None, (norm, conv))


def backward(
    g: np.ndarray,
    after: After,
    cache: Cache,
    residual: np.ndarray | None = None,
    *,
    input_grad: bool = True,
    param_grad: bool = True,
    impl: conv2d.Impl = "fast",
) -> Gradients:
    """Return the gradients; where there is no norm before, ``residual`` is added to dx."""
    x, before, weight, has_bias, steps = cache
    if steps is None:
        lines = (before.norm.mean, before.norm.scale, before.shift) if before else None
        slopes = batch_norm.coefficients(*after)
        dx, found, sums = bands.backward(
            g, after.norm.x, slopes, x, lines, weight, residual, param_grad=param_grad
        )
        dbias = _sum_of_dy(after, slopes).astype(x.dtype) if has_bias and param_grad else None
        sums_before = None
        if before:
            norm = before.norm
            sums_before = After(norm, sums[1] * norm.inverse_std, sums[0])
        return Gradients(dx, found, dbias, sums_before)
    norm_relu, conv = steps
    dy = _norm_gradient(g, after, conv2d.plain(impl))
    dz, dweight, dbias = conv2d.backward(
        dy, conv, input_grad=input_grad, param_grad=param_grad, impl=impl
    )
    if dz is None:
        return Gradients(None, dweight, dbias, None)
    if norm_relu is None:
        return Gradients(dz if residual is None else add(dz, residual), dweight, dbias, None)
    masked = batch_norm_relu.mask(dz, norm_relu.norm, norm_relu.y, impl=conv2d.plain(impl))
    return Gradients(masked[0], dweight, dbias, After(norm_relu.norm, *masked[1:]))


def _norm_gradient(g: np.ndarray, after: After, impl: Impl) -> np.ndarray:
    """Return dy. ``g`` may be held by others, so it is left as it is."""
    if impl == "textbook":
        dy, _, _ = batch_norm.backward(g, after.norm, impl=impl)
        assert dy is not None
        return dy
    rows = dim_last(g, 1)
    out = np.empty_like(rows)
    batch_norm.input_gradient(rows, *after, out)
    return np.moveaxis(out, -1, 1)


def _sum_of_dy(after: After, slopes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the sum of dy = scale * g + slope * (y - mean) + shift over the pixels."""
    _, scale, _, shift = slopes
    pixels = after.norm.x.size // scale.size
    return scale * after.dbias + shift * pixels  # the differences from the mean add up to nothing


def add(dx: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the sum of two gradients, in the place of the first if that has no gaps."""
    total = flat(dx)
    if not np.may_share_memory(total, dx):
        return dx + other
    _add(total, flat_like(other, dx))
    return dx


@kernel(parallel=True)
def _add(x, y):
    for e in prange(x.size):
        x[e] += y[e]

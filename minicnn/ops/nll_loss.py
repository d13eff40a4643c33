"""Negative log-likelihood of the target classes, given log-probabilities.

Shapes
    x, dx     (n, classes, ...) log-probabilities, as log_softmax(x, dim=1) gives them
    target    (n, ...) integers
    weight    (classes,) or None
    y, dy     (), or (n, ...) with reduction="none"
Derivation
    For one sample with target t: y = -weight[t] * x[t], so dx[t] = -weight[t] * dy and the other
    dx are 0. "mean" divides by the sum of weight[t] over the samples that count.
Conventions
    A target equal to ignore_index counts nothing, nor does a class of weight 0, even where x is
    -inf. If no sample counts, the mean is 0/0 = NaN and the gradient 0 (as in torch, if all are
    ignored).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numba import prange

from minicnn.backend import IMPLS, Impl, dim_last, kernel
from minicnn.reduction import (
    Reduction,
    check_classes,
    check_reduction,
    class_weights,
    reduce,
    spread,
)
from minicnn.shapes import ShapeError, check_choice, check_float


class Cache(NamedTuple):
    target: np.ndarray  # (n, ...), 0 where it does not count
    weights: np.ndarray  # (n, ...), of each sample; 0 where it does not count
    shape: tuple[int, ...]  # of x
    total: float
    reduction: Reduction


def forward(
    x: Float[np.ndarray, "n classes *spatial"],
    target: Integer[np.ndarray, "n *spatial"],
    weight: Float[np.ndarray, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "*loss"], Cache]:
    """Return ``(y, cache)``. Raises ValueError naming the first target that is no class."""
    check_choice("nll_loss", "impl", impl, IMPLS)
    check_reduction("nll_loss", reduction)
    dtype = check_float("nll_loss", x=x, weight=weight)
    if x.ndim < 2:
        raise ShapeError(f"nll_loss: x must have shape (n, classes, ...), got {x.shape}.")
    classes, shape = x.shape[1], (x.shape[0], *x.shape[2:])
    counts = check_classes("nll_loss", target, shape, classes, ignore_index)
    target = np.where(counts, target, 0)
    weights = np.where(counts, class_weights("nll_loss", weight, classes, dtype)[target], 0)
    weights = weights.astype(dtype, copy=False)
    if impl == "textbook":
        picked = np.take_along_axis(x, target[:, None], axis=1)[:, 0]
        losses = -weights * np.where(weights == 0, weights, picked)
    else:
        losses = np.empty(shape, dtype)
        rows = dim_last(x, 1).reshape(-1, classes)
        _forward(rows, target.reshape(-1), weights.reshape(-1), losses.reshape(-1))
    total = float(weights.sum())
    cache = Cache(target, weights, x.shape, total, reduction)
    return reduce(losses, total, reduction), cache


def backward(
    dy: Float[np.ndarray, "*loss"] | float, cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n classes *spatial"]:
    """Return ``dx``. For a reduced loss, ``dy`` is a number, usually 1.0."""
    check_choice("nll_loss", "impl", impl, IMPLS)
    target, weights, shape, total, reduction = cache
    grad = -weights * spread("nll_loss", dy, target.shape, weights.dtype, total, reduction)
    if impl == "textbook":
        dx = np.zeros(shape, weights.dtype)
        np.put_along_axis(dx, target[:, None], grad[:, None], axis=1)
        return dx
    rows = np.zeros((*target.shape, shape[1]), weights.dtype)
    _backward(grad.reshape(-1), target.reshape(-1), rows.reshape(-1, shape[1]))
    return np.moveaxis(rows, -1, 1)


@kernel(parallel=True)
def _forward(x, target, weights, losses):
    for n in prange(x.shape[0]):
        losses[n] = -weights[n] * x[n, target[n]] if weights[n] != 0 else 0


@kernel(parallel=True)
def _backward(grad, target, dx):
    for n in prange(dx.shape[0]):
        dx[n, target[n]] = grad[n]

"""Fully connected layer, y = x W^T + b.

Shapes
    x, dx            (..., i)
    weight, dweight  (o, i)
    bias, dbias      (o,) or None
    y, dy            (..., o)
Derivation
    With the leading axes gathered into one index n,

        y[n,o]       = bias[o] + sum_i x[n,i] * weight[o,i]
        dx[n,i]      = sum_o dy[n,o] * weight[o,i]
        dweight[o,i] = sum_n dy[n,o] * x[n,i]
        dbias[o]     = sum_n dy[n,o]
Implementations
    textbook  the sums as they stand, in Einstein's notation.
    fast      matrix products of BLAS, on one thread (see backend.single_threaded_blas). A few
              images through weights that no cache holds take as long as the memory needs to bring
              these: there all threads read, each some rows of weight, or some columns for dx.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl, inner, single_threaded_blas
from minicnn.kernels.parallel import shared
from minicnn.shapes import ShapeError, check_choice, check_float, check_gradient, check_shape

FEW = 8  # images, at most, for which reading the weights takes longer than the products
NEAR = 2**20  # bytes of weights that a cache holds
TASKS = 8


class Cache(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    has_bias: bool


def forward(
    x: Float[np.ndarray, "*batch i"],
    weight: Float[np.ndarray, "o i"],
    bias: Float[np.ndarray, " o"] | None = None,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "*batch o"], Cache]:
    """Return ``(y, cache)``. Raises ShapeError where the sizes do not fit."""
    check_choice("linear", "impl", impl, IMPLS)
    check_float("linear", x=x, weight=weight, bias=bias)
    check_shape("linear", "weight", weight, "out_features in_features")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x of shape {x.shape} has {x.shape[-1] if x.ndim else 'no'} features on its "
            f"last axis where weight of shape {weight.shape} takes {weight.shape[1]}. "
            "Is the image of the size that the network was made for?"
        )
    if bias is not None:
        check_shape("linear", "bias", bias, "out_features", weight.shape[0])
    o, i = weight.shape
    rows = x.reshape(math.prod(x.shape[:-1]), i)
    if impl == "textbook":
        y = np.einsum("ni,oi->no", rows, weight)
    elif _far(rows, weight):
        y = np.empty((len(rows), o), x.dtype)
        _multiply(TASKS, *_rows(rows), weight, y)
    else:
        with single_threaded_blas():
            y = rows @ weight.T
    if bias is not None:
        y += bias
    y = y.reshape(*x.shape[:-1], o)
    return y, Cache(x, weight, bias is not None)


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
    """Return ``(dx, dweight, dbias)``; dbias is None where forward had no bias.

    ``input_grad=False`` spares dx, ``param_grad=False`` spares the other two: they are None then.
    """
    check_choice("linear", "impl", impl, IMPLS)
    x, weight, has_bias = cache
    check_gradient("linear", dy, (*x.shape[:-1], weight.shape[0]), x.dtype)
    o, i = weight.shape
    n = math.prod(x.shape[:-1])
    rows, drows = x.reshape(n, i), dy.reshape(n, o)
    dx = dweight = dbias = None
    if impl == "textbook":
        if input_grad:
            dx = np.einsum("no,oi->ni", drows, weight)
        if param_grad:
            dweight = np.einsum("no,ni->oi", drows, rows)
    elif _far(rows, weight):
        rows, drows = _rows(rows, drows)
        if input_grad:
            dx = np.zeros(rows.shape, rows.dtype)
            _multiply_back(TASKS, drows, weight, dx)
        if param_grad:
            dweight = np.zeros(weight.shape, weight.dtype)
            _multiply_outer(TASKS, drows, rows, dweight)
    else:
        with single_threaded_blas():
            if input_grad:
                dx = drows @ weight
            if param_grad:
                dweight = drows.T @ rows
    if param_grad and has_bias:
        dbias = drows.sum(axis=0)
    return None if dx is None else dx.reshape(x.shape), dweight, dbias


def _far(rows: np.ndarray, weight: np.ndarray) -> bool:
    """Whether the threads read the weights: as they lie, for a copy would take as long."""
    as_it_is = weight.flags.c_contiguous and weight.flags.writeable
    return 0 < len(rows) <= FEW and weight.nbytes > NEAR and as_it_is


def _rows(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.require(array, requirements=["C", "W"]) for array in arrays]


# Where few images meet many weights. A task has some rows of weight, or for dx some columns.


@inner
def _add(factor, row, sums):
    for e in range(sums.size):
        sums[e] += factor * row[e]


@inner
def _dot(row, other):
    total = row.dtype.type(0)
    for e in range(row.size):
        total += row[e] * other[e]
    return total


@inner
def _multiply_some(x, weight, y, first, end):
    for o in range(first, end):
        for n in range(x.shape[0]):
            y[n, o] = _dot(x[n], weight[o])


@inner
def _multiply_back_some(dy, weight, dx, first, end):
    for o in range(weight.shape[0]):
        for n in range(dx.shape[0]):
            _add(dy[n, o], weight[o, first:end], dx[n, first:end])


@inner
def _multiply_outer_some(dy, x, dweight, first, end):
    for o in range(first, end):
        for n in range(x.shape[0]):
            _add(dy[n, o], x[n], dweight[o])


@shared
def _multiply(t, tasks, x, weight, y):
    """y = x weight^T."""
    o = weight.shape[0]
    _multiply_some(x, weight, y, t * o // tasks, (t + 1) * o // tasks)


@shared
def _multiply_back(t, tasks, dy, weight, dx):
    """Add dy weight to dx."""
    i = weight.shape[1]
    _multiply_back_some(dy, weight, dx, t * i // tasks, (t + 1) * i // tasks)


@shared
def _multiply_outer(t, tasks, dy, x, dweight):
    """Add dy^T x to dweight."""
    o = dweight.shape[0]
    _multiply_outer_some(dy, x, dweight, t * o // tasks, (t + 1) * o // tasks)

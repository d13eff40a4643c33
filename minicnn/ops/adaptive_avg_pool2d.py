"""Adaptive average pooling: means over an oh x ow grid of regions, whatever the image's size.

Shapes
    x, dx  (n, c, h, w)
    y, dy  (n, c, oh, ow), as asked for
Derivation
    Along the height, region i covers the rows from floor(i*h/oh) to ceil((i+1)*h/oh), so that
    regions cover the image and overlap by at most a row. With a_i of them (and b_j columns),

        y[n,c,i,j]  = sum of x[n,c,p,q] over region (i,j) / (a_i * b_j)
        dx[n,c,p,q] = sum of dy[n,c,i,j] / (a_i * b_j) over the regions (i,j) that hold (p,q)

    Both factor: with the matrix A[i,p] = [p in region i] / a_i, and B likewise,
    y = A x B^T and dx = A^T dy B for each image and channel.
Conventions
    An output size of None keeps that side.
Source
    He et al. (2014), Spatial pyramid pooling in deep convolutional networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, kernel, nchw, nhwc
from minicnn.shapes import check_choice, check_float, check_gradient, check_image, pair


class Cache(NamedTuple):
    shape: tuple[int, int, int, int]  # of x
    size: tuple[int, int]  # oh, ow
    dtype: np.dtype


def forward(
    x: Float[np.ndarray, "n c h w"],
    output_size: int | Sequence[int | None] | None,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c oh ow"], Cache]:
    """Return ``(y, cache)``."""
    op = "adaptive_avg_pool2d"
    check_choice(op, "impl", impl, IMPLS)
    dtype = check_float(op, x=x)
    check_image(op, "x", x)
    n, c, h, w = x.shape
    oh, ow = output_sides(output_size, h, w)
    if impl == "textbook":
        y = _regions(h, oh, dtype) @ x @ _regions(w, ow, dtype).T
    else:
        y = np.zeros((n, oh, ow, c), dtype)
        _forward(nhwc(x), y)
        y = nchw(y)
    return y, Cache((n, c, h, w), (oh, ow), dtype)


def backward(
    dy: Float[np.ndarray, "n c oh ow"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c h w"]:
    """Return ``dx``."""
    check_choice("adaptive_avg_pool2d", "impl", impl, IMPLS)
    (n, c, h, w), (oh, ow), dtype = cache
    check_gradient("adaptive_avg_pool2d", dy, (n, c, oh, ow), dtype)
    if impl == "textbook":
        return _regions(h, oh, dtype).T @ dy @ _regions(w, ow, dtype)
    dx = np.zeros((n, h, w, c), dtype)
    _backward(nhwc(dy), dx)
    return nchw(dx)


def output_sides(output_size: int | Sequence[int | None] | None, h: int, w: int) -> tuple[int, int]:
    """Return (oh, ow) for an image of (h, w). Raises ShapeError or TypeError."""
    size = (None,) if output_size is None else output_size
    if isinstance(size, (tuple, list)) and len(size) in (1, 2):  # one holds for both sides
        size = (h if size[0] is None else size[0], w if size[-1] is None else size[-1])
    return pair("adaptive_avg_pool2d", "output_size", size, 1)  # type: ignore[arg-type]


def _regions(size: int, out: int, dtype: np.dtype) -> np.ndarray:
    """Return the (out, size) matrix that averages along one axis."""
    start = np.arange(out) * size // out
    stop = -(-np.arange(1, out + 1) * size // out)
    p = np.arange(size)
    inside = (start[:, None] <= p) & (p < stop[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(dtype)


@kernel(parallel=True)
def _forward(x, y):
    h, w = x.shape[1:3]
    oh, ow = y.shape[1:3]
    for n in prange(x.shape[0]):
        for i in range(oh):
            p0, p1 = i * h // oh, ((i + 1) * h + oh - 1) // oh
            for j in range(ow):
                q0, q1 = j * w // ow, ((j + 1) * w + ow - 1) // ow
                total = y[n, i, j]
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        pixel = x[n, p, q]
                        for c in range(total.size):
                            total[c] += pixel[c]
                for c in range(total.size):
                    total[c] /= (p1 - p0) * (q1 - q0)


@kernel(parallel=True)
def _backward(dy, dx):
    h, w = dx.shape[1:3]
    oh, ow = dy.shape[1:3]
    for n in prange(dx.shape[0]):
        for i in range(oh):
            p0, p1 = i * h // oh, ((i + 1) * h + oh - 1) // oh
            for j in range(ow):
                q0, q1 = j * w // ow, ((j + 1) * w + ow - 1) // ow
                gradient = dy[n, i, j]
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        pixel = dx[n, p, q]
                        for c in range(gradient.size):
                            pixel[c] += gradient[c] / ((p1 - p0) * (q1 - q0))

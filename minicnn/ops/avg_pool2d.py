"""Average pooling: the mean of each window.

Shapes
    x, dx  (n, c, h, w)
    y, dy  (n, c, oh, ow),  oh = floor((h + 2*padding - kernel) / stride) + 1
Derivation
    y[n,c,i,j] = sum_{r,s} xp[n, c, i*sh + r, j*sw + s] / d[i,j] is linear: each pixel of the
    window moves it by 1 / d[i,j]. So each receives that part of the gradient, summed over the
    windows it lies in:

        dxp[n,c,p,q] = sum of dy[n,c,i,j] / d[i,j] over the windows (i,j) that hold (p,q)
Conventions
    The divisor d counts the window's pixels, with count_include_pad those of the padding too, but
    never what lies past the padding, where ceil_mode lets a last window reach.
    divisor_override takes its place.
Source
    LeCun et al. (1998), Gradient-based learning applied to document recognition (subsampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, kernel, nchw, nhwc
from minicnn.shapes import check_choice, check_float, check_gradient, check_image, integer
from minicnn.windows import Windows, pool_windows, scatter, view


class Cache(NamedTuple):
    divisor: np.ndarray  # (oh, ow)
    windows: Windows
    channels: tuple[int, int]  # n, c


def forward(
    x: Float[np.ndarray, "n c h w"],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c oh ow"], Cache]:
    """Return ``(y, cache)``; the stride is the kernel's size unless given.

    Raises ShapeError where no window fits, or the padding is more than half the kernel.
    """
    check_choice("avg_pool2d", "impl", impl, IMPLS)
    dtype = check_float("avg_pool2d", x=x)
    check_image("avg_pool2d", "x", x)
    g = pool_windows(
        "avg_pool2d", x.shape[2:], kernel_size, stride, padding, ceil_mode=ceil_mode
    )  # fmt: skip
    if divisor_override is None:
        divisor = _divisor(g, count_include_pad).astype(dtype)
    else:
        override = integer("avg_pool2d", "divisor_override", divisor_override, 1)
        divisor = np.full((g.oh, g.ow), override, dtype)
    n, c = x.shape[:2]
    if impl == "textbook":
        y = view(x, g).sum(axis=(4, 5)) / divisor
    else:
        y = np.zeros((n, g.oh, g.ow, c), dtype)
        _forward(nhwc(x), y, divisor, g)
        y = nchw(y)
    return y, Cache(divisor, g, (n, c))


def backward(
    dy: Float[np.ndarray, "n c oh ow"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c h w"]:
    """Return ``dx``."""
    check_choice("avg_pool2d", "impl", impl, IMPLS)
    divisor, g, (n, c) = cache
    check_gradient("avg_pool2d", dy, (n, c, g.oh, g.ow), divisor.dtype)
    if impl == "textbook":
        share = (dy / divisor)[..., None, None]
        return scatter(np.broadcast_to(share, (*dy.shape, g.kh, g.kw)), g)
    dx = np.zeros((n, g.h, g.w, c), dy.dtype)
    _backward(nhwc(dy), dx, divisor, g)
    return nchw(dx)


def _divisor(g: Windows, count_include_pad: bool) -> np.ndarray:
    """Return (oh, ow): how many pixels that count each window holds."""
    if count_include_pad:  # the padding asked for becomes image, what lies past it does not
        high, wide = g.top + g.h + g.bottom, g.left + g.w + g.right
        g = g._replace(h=high, w=wide, top=0, bottom=0, left=0, right=0)
    return view(np.ones((1, 1, g.h, g.w)), g).sum(axis=(4, 5))[0, 0]


@kernel(parallel=True)
def _forward(x, y, divisor, g):
    for n in prange(x.shape[0]):
        for i in range(g.oh):
            for j in range(g.ow):
                total = y[n, i, j]
                for p in range(max(i * g.sh - g.top, 0), min(i * g.sh - g.top + g.kh, g.h)):
                    for q in range(max(j * g.sw - g.left, 0), min(j * g.sw - g.left + g.kw, g.w)):
                        pixel = x[n, p, q]
                        for c in range(total.size):
                            total[c] += pixel[c]
                for c in range(total.size):
                    total[c] /= divisor[i, j]


@kernel(parallel=True)
def _backward(dy, dx, divisor, g):
    for n in prange(dx.shape[0]):
        for i in range(g.oh):
            for j in range(g.ow):
                share = dy[n, i, j] / divisor[i, j]
                for p in range(max(i * g.sh - g.top, 0), min(i * g.sh - g.top + g.kh, g.h)):
                    for q in range(max(j * g.sw - g.left, 0), min(j * g.sw - g.left + g.kw, g.w)):
                        pixel = dx[n, p, q]
                        for c in range(share.size):
                            pixel[c] += share[c]

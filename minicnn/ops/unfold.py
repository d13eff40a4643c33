"""unfold, also known as im2col: every window becomes a column.

Shapes
    x, dx  (n, c, h, w)
    y, dy  (n, c * kh * kw, oh * ow)
Derivation
    y[n, (c,r,s), (i,j)] = xp[n, c, i*sh + r*dh, j*sw + s*dw] copies pixels, a pixel once for each
    window it lies in. So backward adds all copies up again, which is the operation fold:

        dxp[n,c,p,q] = sum over all (i,j,r,s) with i*sh + r*dh = p and j*sw + s*dw = q
                       of dy[n, (c,r,s), (i,j)]
Source
    Chellapilla, Puri & Simard (2006), High performance convolutional neural networks for
    document processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl
from minicnn.shapes import check_choice, check_float, check_gradient, check_image
from minicnn.windows import (
    Windows,
    conv_windows,
    gather_columns,
    scatter,
    scatter_columns,
    view,
)


class Cache(NamedTuple):
    windows: Windows
    channels: tuple[int, int]  # n, c
    dtype: np.dtype


def forward(
    x: Float[np.ndarray, "n c h w"],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n ckk windows"], Cache]:
    """Return ``(y, cache)``. Raises ShapeError where no window fits."""
    check_choice("unfold", "impl", impl, IMPLS)
    dtype = check_float("unfold", x=x)
    check_image("unfold", "x", x)
    g = conv_windows("unfold", x.shape[2:], kernel_size, stride, padding, dilation)
    n, c = x.shape[:2]
    if impl == "textbook":
        y = view(x, g).transpose(0, 1, 4, 5, 2, 3).copy()
    else:
        y = gather_columns(x, g)
    return y.reshape(n, c * g.kh * g.kw, g.oh * g.ow), Cache(g, (n, c), dtype)


def backward(
    dy: Float[np.ndarray, "n ckk windows"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c h w"]:
    """Return ``dx``."""
    check_choice("unfold", "impl", impl, IMPLS)
    g, (n, c), dtype = cache
    check_gradient("unfold", dy, (n, c * g.kh * g.kw, g.oh * g.ow), dtype)
    windows = dy.reshape(n, c, g.kh, g.kw, g.oh, g.ow)
    if impl == "textbook":
        return scatter(windows.transpose(0, 1, 4, 5, 2, 3), g)
    return scatter_columns(windows, g)

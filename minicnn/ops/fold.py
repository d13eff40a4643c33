"""fold, also known as col2im: columns are put back as windows, and overlaps add up.

Shapes
    x, dx  (n, c * kh * kw, oh * ow): the columns
    y, dy  (n, c, h, w), with (h, w) the output_size
Derivation
    fold is the transpose of unfold, and unfold that of fold:

        yp[n,c,p,q] = sum over all (i,j,r,s) with i*sh + r*dh = p and j*sw + s*dw = q
                      of x[n, (c,r,s), (i,j)]
        dx[n, (c,r,s), (i,j)] = dyp[n, c, i*sh + r*dh, j*sw + s*dw]

    with yp the image and the padding around it. fold(unfold(x)) is x times the number of windows
    that each pixel lies in, so fold is not the inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl
from minicnn.shapes import (
    ShapeError,
    check_choice,
    check_float,
    check_gradient,
    check_image,
    pair,
)
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
    x: Float[np.ndarray, "n ckk windows"],
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c h w"], Cache]:
    """Return ``(y, cache)``.

    Raises ShapeError where the columns are not those of windows on an image of output_size.
    """
    check_choice("fold", "impl", impl, IMPLS)
    dtype = check_float("fold", x=x)
    check_image("fold", "x", x, "n c*kh*kw windows")
    image = pair("fold", "output_size", output_size, 1)
    g = conv_windows("fold", image, kernel_size, stride, padding, dilation)
    n, rows, windows = x.shape
    if rows % (g.kh * g.kw):
        raise ShapeError(
            f"fold: x has {rows} rows where a multiple of kh*kw = {g.kh}*{g.kw} = {g.kh * g.kw} "
            "is needed, one for each channel and tap."
        )
    if windows != g.oh * g.ow:
        raise ShapeError(
            f"fold: x has {windows} columns, but {g.oh} x {g.ow} = {g.oh * g.ow} windows lie on an "
            f"image of output_size {image}."
        )
    c = rows // (g.kh * g.kw)
    columns = x.reshape(n, c, g.kh, g.kw, g.oh, g.ow)
    if impl == "textbook":
        y = scatter(columns.transpose(0, 1, 4, 5, 2, 3), g)
    else:
        y = scatter_columns(columns, g)
    return y, Cache(g, (n, c), dtype)


def backward(
    dy: Float[np.ndarray, "n c h w"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n ckk windows"]:
    """Return ``dx``."""
    check_choice("fold", "impl", impl, IMPLS)
    g, (n, c), dtype = cache
    check_gradient("fold", dy, (n, c, g.h, g.w), dtype)
    if impl == "textbook":
        dx = view(dy, g).transpose(0, 1, 4, 5, 2, 3).copy()
    else:
        dx = gather_columns(dy, g)
    return dx.reshape(n, c * g.kh * g.kw, g.oh * g.ow)

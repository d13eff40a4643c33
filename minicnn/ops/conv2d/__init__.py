"""2-D convolution (in the field's usage: cross-correlation, the kernel is not flipped).

Shapes
    x, dx            (n, c, h, w)
    weight, dweight  (o, c/groups, kh, kw)
    bias, dbias      (o,) or None
    y, dy            (n, o, oh, ow),  oh = floor((h + pads - dh*(kh-1) - 1) / sh) + 1
Derivation
    With xp the padded image and every channel in one group,

        y[n,o,i,j] = bias[o] + sum_{c,r,s} weight[o,c,r,s] * xp[n, c, i*sh + r*dh, j*sw + s*dw]

    y is linear in each argument, so each gradient is the same sum with dy in the place of y:

        dbias[o]         = sum_{n,i,j} dy[n,o,i,j]
        dweight[o,c,r,s] = sum_{n,i,j} dy[n,o,i,j] * xp[n, c, i*sh + r*dh, j*sw + s*dw]
        dxp[n,c,p,q]     = sum over all (o,i,j,r,s) with i*sh + r*dh = p and j*sw + s*dw = q
                           of weight[o,c,r,s] * dy[n,o,i,j]

    dx is dxp without its border. A pixel lies in several windows where they overlap, and receives
    the sum; a pixel that no window reaches receives 0.
    With g groups the channels fall into g equal slices, convolved independently.
Implementations
    textbook  im2col: the windows become the columns of a matrix, the sums one matrix product.
    fast      the same product, but the matrix is never built: see fast.py.
Conventions
    padding="same" keeps the size and puts an odd pixel of padding at the end, as torch does.
Source
    Dumoulin & Visin (2016), A guide to convolution arithmetic for deep learning;
    Chellapilla, Puri & Simard (2006), High performance convolutional neural networks for
    document processing (im2col).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn.backend import IMPLS, Impl
from minicnn.ops.conv2d import fast, textbook
from minicnn.shapes import (
    ShapeError,
    check_choice,
    check_float,
    check_gradient,
    check_image,
    check_shape,
    integer,
)
from minicnn.windows import Windows, conv_windows


class Cache(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    has_bias: bool
    windows: Windows
    groups: int


def forward(
    x: Float[np.ndarray, "n c h w"],
    weight: Float[np.ndarray, "o c_per_group kh kw"],
    bias: Float[np.ndarray, " o"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n o oh ow"], Cache]:
    """Return ``(y, cache)``.

    Raises ShapeError where the sizes do not fit, TypeError for other dtypes than float32 and
    float64 or a mixture of them.
    """
    check_choice("conv2d", "impl", impl, IMPLS)
    check_float("conv2d", x=x, weight=weight, bias=bias)
    check_image("conv2d", "x", x)
    check_image("conv2d", "weight", weight, "o c/groups kh kw")
    o, c = weight.shape[0], x.shape[1]
    integer("conv2d", "groups", groups, 1)
    if c % groups or o % groups:
        raise ShapeError(
            f"conv2d: groups={groups} must divide the channels of x ({c}) and of weight ({o})."
        )
    if weight.shape[1] * groups != c:
        raise ShapeError(
            f"conv2d: x has {c} channels, but weight of shape {weight.shape} with groups={groups} "
            f"takes {weight.shape[1] * groups}."
        )
    if bias is not None:
        check_shape("conv2d", "bias", bias, "o", o)
    g = conv_windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = (fast if impl == "fast" else textbook).forward(x, weight, bias, g, groups)
    return y, Cache(x, weight, bias is not None, g, groups)


def backward(
    dy: Float[np.ndarray, "n o oh ow"],
    cache: Cache,
    *,
    input_grad: bool = True,
    param_grad: bool = True,
    impl: Impl = "fast",
) -> tuple[
    Float[np.ndarray, "n c h w"] | None,
    Float[np.ndarray, "o c_per_group kh kw"] | None,
    Float[np.ndarray, " o"] | None,
]:
    """Return ``(dx, dweight, dbias)``; dbias is None where forward had no bias.

    ``input_grad=False`` spares dx, ``param_grad=False`` spares the other two: they are None then.
    """
    check_choice("conv2d", "impl", impl, IMPLS)
    x, weight, has_bias, g, groups = cache
    check_gradient("conv2d", dy, (x.shape[0], weight.shape[0], g.oh, g.ow), x.dtype)
    way = fast if impl == "fast" else textbook
    dx = way.input_gradient(dy, weight, g, groups) if input_grad else None
    if not param_grad:
        return dx, None, None
    dweight, dbias = way.param_gradients(dy, x, weight.shape, g, groups)
    return dx, dweight, dbias if has_bias else None

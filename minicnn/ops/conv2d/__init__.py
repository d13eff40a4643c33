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
    direct    the same product, but the matrix is never built: see kernels/conv_direct.py.
    winograd  a quarter of the products, for 3x3 kernels of stride 1. winograd.py has the derivation
              and the formula; kernels/conv_winograd.py is what runs.
    fast      of the last two the one that is faster for the shapes at hand; ``algorithm`` tells
              which. MINICNN_WINOGRAD=0 in the environment leaves direct alone. Both compute the
              same up to rounding, but winograd spreads NaN and infinities over its tiles.
Conventions
    padding="same" keeps the size and puts an odd pixel of padding at the end, as torch does.
Source
    Dumoulin & Visin (2016), A guide to convolution arithmetic for deep learning;
    Chellapilla, Puri & Simard (2006), High performance convolutional neural networks for
    document processing (im2col).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from minicnn import backend
from minicnn.kernels import conv_direct as direct
from minicnn.kernels import conv_prepared as prepared
from minicnn.kernels import conv_winograd
from minicnn.kernels.conv_prepared import Prepared
from minicnn.ops.conv2d import textbook
from minicnn.shapes import (
    ShapeError,
    check_choice,
    check_float,
    check_gradient,
    check_image,
    check_shape,
    if_channels_last,
    integer,
)
from minicnn.windows import Windows, conv_windows

Impl = Literal["fast", "textbook", "direct", "winograd"]
IMPLS: tuple[Impl, ...] = ("fast", "textbook", "direct", "winograd")

# Whether "fast" may choose it; read when minicnn is imported.
WINOGRAD = os.environ.get("MINICNN_WINOGRAD", "1").lower() not in ("0", "false", "no", "off")


def plain(impl: Impl) -> backend.Impl:
    """Return which implementation the operations beside a convolution take, that have but two."""
    return "textbook" if impl == "textbook" else "fast"


class Cache(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    has_bias: bool
    windows: Windows
    groups: int


class Algorithms(NamedTuple):
    """What computes each pass: "direct" or "winograd"."""

    forward: str
    input_gradient: str
    weight_gradient: str


def algorithm(
    x_shape: tuple[int, int, int, int],
    weight_shape: tuple[int, int, int, int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Algorithms:
    """Return which algorithm ``impl="fast"`` takes for each pass of such a convolution."""
    g = conv_windows("conv2d", x_shape[2:], weight_shape[2:], stride, padding, dilation)
    return _fastest(x_shape[0], x_shape[1], weight_shape[0], g, groups)


def _fastest(n: int, c: int, o: int, g: Windows, groups: int) -> Algorithms:
    """Choose by rules that were measured, with vectors of 512 bits."""
    if not WINOGRAD or not conv_winograd.eligible(g, groups):
        return Algorithms("direct", "direct", "direct")
    # The kernels are transformed once, which has to pay over the tiles; and of few channels the
    # transformation of the tiles costs more than the products that it spares.
    tiles = conv_winograd.tile_count(n, g.oh, g.ow)
    many = min(c, o) >= 16
    images = "winograd" if many and tiles >= 48 else "direct"
    weights = "winograd" if many and tiles >= 128 and 36 * c * o <= 2**20 else "direct"
    return Algorithms(images, images, weights)


def _ways(impl: Impl, x: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> Algorithms:
    """Return the module that computes each pass, by name."""
    if impl == "fast":
        return _fastest(x.shape[0], x.shape[1], weight.shape[0], g, groups)
    if impl == "winograd" and not conv_winograd.eligible(g, groups):
        raise ShapeError(
            "conv2d: impl='winograd' needs a 3x3 kernel, stride 1, dilation 1 and groups=1, got "
            f"kernel {g.kh}x{g.kw}, stride {g.sh, g.sw}, dilation {g.dh, g.dw} and "
            f"groups={groups}. Use impl='fast', which takes winograd where it can."
        )
    return Algorithms(impl, impl, impl)


_MODULES: dict[str, ModuleType] = {
    "textbook": textbook,
    "direct": direct,
    "winograd": conv_winograd,
}


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
            + if_channels_last("x", x.shape, weight.shape[1] * groups)
        )
    if bias is not None:
        check_shape("conv2d", "bias", bias, "o", o)
    g = conv_windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    way = _MODULES[_ways(impl, x, weight, g, groups).forward]
    y = way.forward(x, weight, bias, g, groups)
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
    ways = _ways(impl, x, weight, g, groups)
    dx = dweight = dbias = None
    if input_grad:
        dx = _MODULES[ways.input_gradient].input_gradient(dy, weight, g, groups)
    if param_grad:
        way = _MODULES[ways.weight_gradient]
        dweight = way.weight_gradient(dy, x, weight.shape, g, groups)
        if has_bias:
            dbias = (textbook if impl == "textbook" else direct).bias_gradient(dy)
    return dx, dweight, dbias


def prepare(
    weight: Float[np.ndarray, "o c_per_group kh kw"],
    bias: Float[np.ndarray, " o"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    floor: float = -math.inf,
    pool: Callable[[tuple[int, int]], Windows] | None = None,
) -> Prepared:
    """Return the convolution as a function of x, for inference alone: see conv_prepared.py.

    What is below ``floor`` becomes that, and ``pool`` gives the windows of a max pool, without
    dilation, for an image (h, w). A pool keeps Winograd away.
    """
    return Prepared(
        weight, bias, stride, padding, dilation, groups, floor=floor, pool=pool, transform=WINOGRAD
    )


def may_take_winograd(
    weight_shape: tuple[int, int, int, int],
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
) -> bool:
    """Return whether ``prepare`` takes Winograd for such a convolution, of images large enough."""
    o, c, kh, kw = weight_shape
    g = conv_windows("conv2d", (kh * 99, kw * 99), (kh, kw), stride, 0, dilation)
    return WINOGRAD and min(c, o) >= prepared.CHANNELS and conv_winograd.eligible(g, groups)

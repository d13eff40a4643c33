"""Windows sliding over an image: the one idea behind convolution, pooling, unfold and fold.

Along an axis of ``size`` pixels, padded by ``before`` and ``after``, the window of output ``o``
covers the padded pixels ``o * stride + k * dilation`` for ``k < kernel``. It fits as long as its
last pixel exists, so there are

    out = floor((before + size + after - dilation * (kernel - 1) - 1) / stride) + 1

outputs. Pixels at the end that no window reaches are left out, as in torch.

``view`` gathers the windows, without copying a pixel. ``scatter`` is its transpose: it puts
windows back, and where windows overlap, a pixel receives the sum. ``gather_columns`` and
``scatter_columns`` do the same fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import prange

from minicnn.backend import kernel
from minicnn.shapes import ShapeError, pair


class Windows(NamedTuple):
    """Where the windows lie. Integers only, so that kernels take it as it is."""

    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    top: int
    bottom: int
    left: int
    right: int
    oh: int
    ow: int


def conv_windows(
    op: str,
    image: tuple[int, int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
) -> Windows:
    """Return the windows of a convolution; ``padding`` may be ``"valid"`` or ``"same"``.

    "same" keeps the image's size. Where the padding is odd, the extra pixel comes after.
    """
    kernel = pair(op, "kernel_size", kernel_size, 1)
    step = pair(op, "stride", stride, 1)
    spread = pair(op, "dilation", dilation, 1)
    if isinstance(padding, str):
        if padding == "valid":
            pads = ((0, 0), (0, 0))
        elif padding == "same":
            if step != (1, 1):
                raise ValueError(
                    f"{op}: padding='same' needs stride 1, got stride {step}. "
                    "Give the padding as integers."
                )
            total = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
            pads = ((total[0] // 2, total[0] - total[0] // 2),
                    (total[1] // 2, total[1] - total[1] // 2))  # fmt: skip
        else:
            raise ValueError(f"{op}: padding must be integers, 'valid' or 'same', got {padding!r}.")
    else:
        ph, pw = pair(op, "padding", padding, 0)
        pads = ((ph, ph), (pw, pw))
    out = (
        _count(op, "height", image[0], kernel[0], step[0], pads[0], spread[0], ceil=False),
        _count(op, "width", image[1], kernel[1], step[1], pads[1], spread[1], ceil=False),
    )
    return _windows(image, kernel, step, spread, pads, out)


def pool_windows(
    op: str,
    image: tuple[int, int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Windows:
    """Return the windows of a pool, whose stride is as ``pool_stride`` says.

    With ``ceil_mode`` a last window that reaches past the end counts too, if it begins inside the
    image or the padding before it; it may be the only one. ``bottom`` and ``right`` stay the
    padding that was asked for.
    """
    kernel = pair(op, "kernel_size", kernel_size, 1)
    step = pool_stride(op, stride, kernel)
    spread = pair(op, "dilation", dilation, 1)
    ph, pw = pair(op, "padding", padding, 0)
    for axis, k, p in zip(("height", "width"), kernel, (ph, pw), strict=True):
        if p > k // 2:
            raise ShapeError(
                f"{op}: padding {p} along {axis} is more than half the kernel {k}, so that a "
                f"window could hold nothing but padding. Use a padding of at most {k // 2}."
            )
    pads = ((ph, ph), (pw, pw))
    out = (
        _count(op, "height", image[0], kernel[0], step[0], pads[0], spread[0], ceil=ceil_mode),
        _count(op, "width", image[1], kernel[1], step[1], pads[1], spread[1], ceil=ceil_mode),
    )
    return _windows(image, kernel, step, spread, pads, out)


def pool_stride(
    op: str, stride: int | Sequence[int] | None, kernel: tuple[int, int]
) -> tuple[int, int]:
    """Return the stride of a pool: the kernel's size for None and, as in torch, for ``()``."""
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        return kernel
    return pair(op, "stride", stride, 1)


def padded(x: np.ndarray, g: Windows, fill: float = 0.0) -> np.ndarray:
    """Return a copy of ``x`` (n, c, h, w) padded so that every window lies inside."""
    n, c = x.shape[:2]
    high = max(g.top + g.h + g.bottom, (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1)
    wide = max(g.left + g.w + g.right, (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1)
    out = np.full((n, c, high, wide), fill, dtype=x.dtype)
    out[:, :, g.top : g.top + g.h, g.left : g.left + g.w] = x
    return out


def view(x: np.ndarray, g: Windows, fill: float = 0.0) -> np.ndarray:
    """Return every window of ``x`` (n, c, h, w) as a read-only view (n, c, oh, ow, kh, kw)."""
    p = padded(x, g, fill)
    sn, sc, sh, sw = p.strides
    return np.lib.stride_tricks.as_strided(
        p,
        shape=(*x.shape[:2], g.oh, g.ow, g.kh, g.kw),
        strides=(sn, sc, sh * g.sh, sw * g.sw, sh * g.dh, sw * g.dw),
        writeable=False,
    )


def scatter(dwindows: np.ndarray, g: Windows) -> np.ndarray:
    """Return (n, c, h, w): every window (n, c, oh, ow, kh, kw) added in where ``view`` took it."""
    n, c = dwindows.shape[:2]
    dx = padded(np.zeros((n, c, g.h, g.w), dwindows.dtype), g)
    for r in range(g.kh):
        rows = slice(r * g.dh, r * g.dh + (g.oh - 1) * g.sh + 1, g.sh)
        for s in range(g.kw):
            columns = slice(s * g.dw, s * g.dw + (g.ow - 1) * g.sw + 1, g.sw)
            dx[:, :, rows, columns] += dwindows[..., r, s]
    return dx[:, :, g.top : g.top + g.h, g.left : g.left + g.w]


def gather_columns(x: np.ndarray, g: Windows) -> np.ndarray:
    """Return what ``view`` shows as an array (n, c, kh, kw, oh, ow); compiled."""
    n, c = x.shape[:2]
    y = np.zeros((n, c, g.kh, g.kw, g.oh, g.ow), x.dtype)
    _gather_columns(np.require(x, requirements=["C", "W"]), y, g)
    return y


def scatter_columns(columns: np.ndarray, g: Windows) -> np.ndarray:
    """Return what ``scatter`` gives, from an array (n, c, kh, kw, oh, ow); compiled."""
    n, c = columns.shape[:2]
    y = np.zeros((n, c, g.h, g.w), columns.dtype)
    _scatter_columns(np.require(columns, requirements=["C", "W"]), y, g)
    return y


@kernel(parallel=True)
def _gather_columns(x, y, g):
    n, c = x.shape[:2]
    for plane in prange(n * c):
        image, columns = x[plane // c, plane % c], y[plane // c, plane % c]
        for r in range(g.kh):
            for s in range(g.kw):
                for i in range(g.oh):
                    p = i * g.sh + r * g.dh - g.top
                    if 0 <= p < g.h:
                        for j in range(g.ow):
                            q = j * g.sw + s * g.dw - g.left
                            if 0 <= q < g.w:
                                columns[r, s, i, j] = image[p, q]


@kernel(parallel=True)
def _scatter_columns(dy, dx, g):
    n, c = dx.shape[:2]
    for plane in prange(n * c):
        image, columns = dx[plane // c, plane % c], dy[plane // c, plane % c]
        for r in range(g.kh):
            for s in range(g.kw):
                for i in range(g.oh):
                    p = i * g.sh + r * g.dh - g.top
                    if 0 <= p < g.h:
                        for j in range(g.ow):
                            q = j * g.sw + s * g.dw - g.left
                            if 0 <= q < g.w:
                                image[p, q] += columns[r, s, i, j]


_Pair = tuple[int, int]


def _windows(
    image: _Pair, kernel: _Pair, step: _Pair, spread: _Pair, pads: tuple[_Pair, _Pair], out: _Pair
) -> Windows:
    (h, w), (kh, kw), (sh, sw), (dh, dw), (oh, ow) = image, kernel, step, spread, out
    (top, bottom), (left, right) = pads
    return Windows(h, w, kh, kw, sh, sw, dh, dw, top, bottom, left, right, oh, ow)


def _count(
    op: str,
    axis: str,
    size: int,
    kernel: int,
    stride: int,
    pads: tuple[int, int],
    dilation: int,
    *,
    ceil: bool,
) -> int:
    """Return the number of windows along one axis, or raise if not one fits."""
    before, after = pads
    extent = dilation * (kernel - 1) + 1
    room = before + size + after - extent  # for the window to move in
    out = (room + stride - 1 if ceil else room) // stride + 1
    if ceil and (out - 1) * stride >= before + size:
        out -= 1  # the last window would begin behind the image
    if out >= 1:
        return out
    total = before + size + after
    pad = f"2*padding {before}" if before == after else f"padding {before} and {after}"
    reach = f"kernel {kernel}"
    if dilation > 1:
        reach = f"dilated kernel {dilation}*({kernel} - 1) + 1 = {extent}"
    raise ShapeError(
        f"{op}: the kernel does not fit along {axis}: input {size} + {pad} = {total} < {reach}. "
        f"Use a kernel of at most {max((total - 1) // dilation + 1, 0)}, or pad the input."
    )

"""Max pooling: the greatest pixel of each window.

Shapes
    x, dx  (n, c, h, w)
    y, dy  (n, c, oh, ow),  oh = floor((h + 2*padding - dilation*(kernel-1) - 1) / stride) + 1
Derivation
    y[n,c,i,j] = max_{r,s} xp[n, c, i*sh + r*dh, j*sw + s*dw] moves with the pixel that wins, and
    with no other. So dy[n,c,i,j] goes to the winner, and a pixel that wins several windows
    receives the sum:

        dxp[n,c,p,q] = sum of dy[n,c,i,j] over the windows (i,j) that (p,q) wins
Conventions
    Padding never wins: it counts as minus infinity, and loses even against that. Of equals the
    first, row by row, takes all of the gradient. NaN wins, of several the last, as in torch.
    ceil_mode lets a last window reach past the end. A dilated window may lie between all pixels:
    it gives minus infinity and passes no gradient.
Source
    Zhou & Chellappa (1988), Computation of optical flow using a neural network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, kernel, nchw, nhwc
from minicnn.shapes import check_choice, check_float, check_gradient, check_shape
from minicnn.windows import Windows, pool_windows, scatter, view


class Cache(NamedTuple):
    winner: np.ndarray  # (n, c, oh, ow): r * kw + s of the pixel that won; kh * kw where none did
    windows: Windows
    dtype: np.dtype


def forward(
    x: Float[np.ndarray, "n c h w"],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "n c oh ow"], Cache]:
    """Return ``(y, cache)``; the stride is the kernel's size unless given.

    Raises ShapeError where no window fits, or the padding is more than half the kernel.
    """
    check_choice("max_pool2d", "impl", impl, IMPLS)
    dtype = check_float("max_pool2d", x=x)
    check_shape("max_pool2d", "x", x, "n c h w")
    g = pool_windows(
        "max_pool2d", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    )  # fmt: skip
    if impl == "textbook":
        y, winner = _textbook(x, g)
    else:
        n, c = x.shape[:2]
        index = np.uint8 if g.kh * g.kw < 256 else np.int64
        y = np.empty((n, g.oh, g.ow, c), dtype)
        winner = np.empty(y.shape, index)
        _forward(nhwc(x), y, winner, g)
        y, winner = nchw(y), nchw(winner)
    return y, Cache(winner, g, dtype)


def backward(
    dy: Float[np.ndarray, "n c oh ow"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n c h w"]:
    """Return ``dx``."""
    check_choice("max_pool2d", "impl", impl, IMPLS)
    winner, g, dtype = cache
    check_gradient("max_pool2d", dy, winner.shape, dtype)
    if impl == "textbook":
        taps = np.arange(g.kh * g.kw).reshape(g.kh, g.kw)
        return scatter((winner[..., None, None] == taps) * dy[..., None, None], g)
    n, c = dy.shape[:2]
    dx = np.zeros((n, g.h, g.w, c), dtype)
    _backward(nhwc(dy), nhwc(winner), dx, g)
    return nchw(dx)


def _textbook(x: np.ndarray, g: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest of each window, and its place."""
    pixels = view(x, g, fill=-np.inf)
    pixels = pixels.reshape(*pixels.shape[:4], g.kh * g.kw)
    real = view(np.ones((1, 1, g.h, g.w)), g).reshape(1, 1, g.oh, g.ow, g.kh * g.kw) > 0
    y = pixels.max(axis=-1)
    # NaN equals nothing, so where y is NaN the candidates are the NaN, else what equals y.
    nan = np.isnan(pixels)
    wins = np.where(np.isnan(y)[..., None], nan, pixels == y[..., None]) & real
    last = g.kh * g.kw - 1 - np.argmax(nan[..., ::-1], axis=-1)
    winner = np.where(np.isnan(y), last, np.argmax(wins, axis=-1))
    return y, np.where(wins.any(axis=-1), winner, g.kh * g.kw)


@kernel(parallel=True)
def _forward(x, y, winner, g):
    for n in prange(x.shape[0]):
        for i in range(g.oh):
            for j in range(g.ow):
                best, place = y[n, i, j], winner[n, i, j]
                best[:] = -np.inf
                place[:] = g.kh * g.kw
                for r in range(g.kh):
                    p = i * g.sh + r * g.dh - g.top
                    for s in range(g.kw):
                        q = j * g.sw + s * g.dw - g.left
                        if 0 <= p < g.h and 0 <= q < g.w:
                            _challenge(x[n, p, q], best, place, r * g.kw + s, g.kh * g.kw)


@kernel
def _challenge(pixel, best, place, tap, nobody):
    """Let one pixel's channels beat the best so far. The first real pixel always does."""
    for c in range(best.size):
        v = pixel[c]
        wins = v > best[c] or v != v or place[c] == nobody
        best[c] = v if wins else best[c]
        place[c] = tap if wins else place[c]


@kernel(parallel=True)
def _backward(dy, winner, dx, g):
    for n in prange(dx.shape[0]):
        for i in range(g.oh):
            for j in range(g.ow):
                for c in range(dx.shape[3]):
                    tap = winner[n, i, j, c]
                    if tap < g.kh * g.kw:
                        p = i * g.sh + tap // g.kw * g.dh - g.top
                        q = j * g.sw + tap % g.kw * g.dw - g.left
                        dx[n, p, q, c] += dy[n, i, j, c]

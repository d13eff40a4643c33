"""Pools: padding, ties, and pixels that windows share or do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.bug_zoo.animal import Animal
from minicnn.testing import causes
from minicnn.testing import strategies as mst
from minicnn.windows import Windows, padded, pool_windows, scatter, view

# ---------------------------------------------------------------------------------- max pooling


def max_pool(x: np.ndarray, kernel_size, stride, padding, dilation, ceil_mode):
    g = pool_windows("max_pool", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    windows = view(x, g, fill=-np.inf)  # (n, c, oh, ow, kh, kw)
    windows = windows.reshape(*windows.shape[:4], -1)
    return windows.max(axis=-1), (windows.argmax(axis=-1), g)


def max_pool_backward(dy: np.ndarray, cache: tuple[np.ndarray, Windows]) -> np.ndarray:
    winner, g = cache
    return scatter(_one_hot(winner, g) * dy[..., None, None], g)


def _one_hot(winner: np.ndarray, g: Windows) -> np.ndarray:
    return winner[..., None, None] == np.arange(g.kh * g.kw).reshape(g.kh, g.kw)


def padded_with_zero(x, kernel_size, stride, padding, dilation, ceil_mode):
    g = pool_windows("max_pool", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    windows = view(x, g)  # np.pad(x, ...), as for a convolution
    windows = windows.reshape(*windows.shape[:4], -1)
    return windows.max(axis=-1), (windows.argmax(axis=-1), g)


def assigned(dy, cache):
    winner, g = cache
    r, s = np.divmod(winner, g.kw)
    rows = np.arange(g.oh)[:, None] * g.sh + r * g.dh
    columns = np.arange(g.ow) * g.sw + s * g.dw
    n, c = np.ogrid[: dy.shape[0], : dy.shape[1]]
    dx = padded(np.zeros((*dy.shape[:2], g.h, g.w), dy.dtype), g)
    dx[n[..., None, None], c[..., None, None], rows, columns] = dy  # = where += belongs
    return dx[:, :, g.top : g.top + g.h, g.left : g.left + g.w]


def keeps_windows(x, kernel_size, stride, padding, dilation, ceil_mode):
    g = pool_windows("max_pool", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    windows = view(x, g, fill=-np.inf)
    y = windows.max(axis=(-1, -2))
    return y, (windows == y[..., None, None], g)


def given_to_all(dy, cache):
    equal, g = cache
    return scatter(equal * dy[..., None, None], g)


def shared(dy, cache):
    equal, g = cache
    shares = dy / equal.sum(axis=(-1, -2), dtype=dy.dtype)
    return scatter(equal * shares[..., None, None], g)


def size_from_the_windows(dy, cache):
    _, g = cache
    dx = max_pool_backward(dy, cache)
    high, wide = (g.oh - 1) * g.sh + g.kh, (g.ow - 1) * g.sw + g.kw  # what the windows cover
    return dx[:, :, :high, :wide]


# ------------------------------------------------------------------------------- average pooling


def avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    g = pool_windows("avg_pool", x.shape[2:], kernel_size, stride, padding, ceil_mode=ceil_mode)
    counted = np.ones((1, 1, g.h, g.w), x.dtype)
    if count_include_pad:  # as if the padding were pixels
        counted = np.ones((1, 1, g.h + 2 * g.top, g.w + 2 * g.left), x.dtype)
        wider = g._replace(h=counted.shape[2], w=counted.shape[3], top=0, bottom=0, left=0, right=0)
        divisor = view(counted, wider).sum(axis=(-1, -2))
    else:
        divisor = view(counted, g).sum(axis=(-1, -2))
    if divisor_override:
        divisor = x.dtype.type(divisor_override)
    return view(x, g).sum(axis=(-1, -2)) / divisor, (divisor, g)


def avg_pool_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    divisor, g = cache
    shares = (dy / divisor)[..., None, None]
    return scatter(np.broadcast_to(shares, (*dy.shape, g.kh, g.kw)), g)


def counts_padding(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    g = pool_windows("avg_pool", x.shape[2:], kernel_size, stride, padding, ceil_mode=ceil_mode)
    divisor = divisor_override or g.kh * g.kw
    return view(x, g).sum(axis=(-1, -2)) / divisor, (divisor, g)


# --------------------------------------------------------------------------------------- animals

pools = mst.max_pool2d(values=mst.digits())
SOUND = (max_pool, max_pool_backward)

ANIMALS = [
    Animal(
        "max pool padded with zero",
        "A convolution pads with zeros, and np.pad does so by default. After a ReLU nothing "
        "is negative, so nobody notices until someone pools other numbers.",
        SOUND, (padded_with_zero, max_pool_backward), pools, causes.BORDER, compare=True,
    ),
    Animal(
        "= for += where windows overlap",
        "With the usual 2x2 windows and stride 2, no pixel belongs to two windows. So "
        "assigning is right, and faster. With 3x3 and stride 2, as in ResNet, a pixel may be "
        "the argmax of two windows.",
        SOUND, (max_pool, assigned), pools, causes.ACCUMULATION,
    ),
    Animal(
        "ties given to all",
        "`mask = (window == max)` is the shortest code. In random numbers no two are equal. "
        "After a ReLU many are equal: all the zeros.",
        SOUND, (keeps_windows, given_to_all), pools, causes.TIES_TO_ALL,
    ),
    Animal(
        "ties shared",
        "Dividing by the number of equal pixels corrects the sum, and the result is a "
        "subgradient. But other frameworks do not do this, so a network trained with both "
        "drifts apart.",
        SOUND, (keeps_windows, shared), pools, causes.TIES_SHARED, how={"kinks": "one side"},
    ),
    Animal(
        "a stride that does not divide",
        "The size of dx is computed back from dy. That works if the windows cover the image. "
        "If pixels are left over, they are part of x too, and their gradient is 0.",
        SOUND, (max_pool, size_from_the_windows), pools,
        "elements at the end that no window reaches",
    ),
    Animal(
        "average pool that counts padding",
        "Inside the image, an average divides by the size of the kernel. At the border this "
        "counts padding, which count_include_pad=False forbids. With ceil_mode it even counts "
        "pixels beyond the padding.",
        (avg_pool, avg_pool_backward), (counts_padding, avg_pool_backward),
        mst.avg_pool2d(values=mst.digits()), "count_include_pad", compare=True,
    ),
]  # fmt: skip

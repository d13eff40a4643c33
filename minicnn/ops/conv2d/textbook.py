"""im2col: with the windows as columns, a convolution is one matrix product.

For each image and group, ``columns`` is (c * kh * kw, oh * ow): one column a window.

    y       = weight  @ columns         (o, ckk) @ (ckk, pixels)
    dweight = dy      @ columns.T       (o, pixels) @ (pixels, ckk), summed over the images
    dx      = fold(weight.T @ dy)       (ckk, o) @ (o, pixels), each column added back in place
"""

from __future__ import annotations

import numpy as np

from minicnn.windows import Windows, scatter, view


def _columns(x: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    """Return (n, groups, c/groups * kh * kw, oh * ow)."""
    n, c = x.shape[:2]
    return view(x, g).transpose(0, 1, 4, 5, 2, 3).reshape(
        n, groups, c // groups * g.kh * g.kw, g.oh * g.ow
    )  # fmt: skip


def _rows(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return weight as (groups, o/groups, c/groups * kh * kw)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, g: Windows, groups: int
) -> np.ndarray:
    y = _rows(weight, groups) @ _columns(x, g, groups)
    y = y.reshape(x.shape[0], weight.shape[0], g.oh, g.ow)
    return y if bias is None else y + bias[:, None, None]


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> np.ndarray:
    n, c = dy.shape[0], weight.shape[1] * groups
    dcolumns = _rows(weight, groups).swapaxes(1, 2) @ dy.reshape(
        n, groups, weight.shape[0] // groups, g.oh * g.ow
    )
    dwindows = dcolumns.reshape(n, c, g.kh, g.kw, g.oh, g.ow).transpose(0, 1, 4, 5, 2, 3)
    return scatter(dwindows, g)


def weight_gradient(
    dy: np.ndarray, x: np.ndarray, shape: tuple[int, ...], g: Windows, groups: int
) -> np.ndarray:
    drows = dy.reshape(x.shape[0], groups, shape[0] // groups, g.oh * g.ow)
    return (drows @ _columns(x, g, groups).swapaxes(2, 3)).sum(axis=0).reshape(shape)


def bias_gradient(dy: np.ndarray) -> np.ndarray:
    return dy.sum(axis=(0, 2, 3))

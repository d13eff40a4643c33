"""dx where the input has few channels: vectors along a row of the kernel.

conv_direct.py lays its vectors over the channels of what it computes. Those of an image are three,
and a vector has room for 16. Here they lie along (s, c) instead, a row of the kernel as it lies in
the image, and each pixel of dy adds its rows to dx:

    dx[(i*sh + r), (j*sw + s), c] += sum_o dy[i,j,o] * weight[o,c,r,s]      for all s, c at once

A tile of registers does that for 8 pixels of dy. They must not add to the same place, so they are
taken from one column: for one r, the rows that they add to lie below each other.
A zero at the end of a vector meets pixels beside the window. It adds nothing, unless dy is NaN or
infinite.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minicnn.backend import inner, nchw, nhwc
from minicnn.kernels.parallel import shared
from minicnn.kernels.simd import VECTOR_BYTES, filled
from minicnn.kernels.tile import Left, Right, Sums, copy, fill, product
from minicnn.windows import Windows

BAND = 32  # rows of dx that are made at a time, and in parallel


class Columns(NamedTuple):
    """Addresses of the pixels of dy, column by column, and the size of what they add to."""

    corners: np.ndarray  # in the padded image, of the window's first pixel
    spots: np.ndarray  # in dy
    pitch: int  # numbers in a row of the padded image
    oh: int


def suits(g: Windows, c: int, groups: int, dtype: np.dtype) -> bool:
    """Whether rows of the kernel fill the vectors better than channels do, and are in one piece."""
    run = g.kw * c
    return groups == 1 and g.dw == 1 and 1.5 * filled(run, dtype) / run < filled(c, dtype) / c


@functools.lru_cache(maxsize=256)
def _columns(g: Windows, c: int, o: int) -> Columns:
    wide = max(g.left + g.w + g.right, (g.ow - 1) * g.sw + g.kw)
    i, j = np.arange(g.oh), np.arange(g.ow)[:, None]
    corners, spots = (i * g.sh * wide + j * g.sw) * c, (i * g.ow + j) * o
    return Columns(corners.reshape(-1), spots.reshape(-1), wide * c, g.oh)


def rows_of_kernel(weight: np.ndarray) -> np.ndarray:
    """Return weight as (kh, o, (s, c) filled to whole vectors)."""
    o, c, kh, kw = weight.shape
    out = np.zeros((kh, o, filled(kw * c, weight.dtype)), weight.dtype)
    out[:, :, : kw * c] = weight.transpose(2, 0, 3, 1).reshape(kh, o, kw * c)
    return out


@inner
def add_rows(dy, columns, i0, i1, rows, dilation, channels, dx, above):
    """Add what the rows i0 to i1 of dy give to dx, a padded image without ``above`` numbers."""
    corners, spots, pitch, oh = columns
    lanes, weight = VECTOR_BYTES // dx.itemsize, rows.reshape(-1)
    o, run = rows.shape[1:]
    for j in range(corners.size // oh):
        for r in range(rows.shape[0]):
            for v in range(0, run, 2 * lanes):
                product(
                    Sums(dx, r * dilation * pitch + v - above, corners, dy, 0, False),
                    Left(dy, 0, spots, channels, 0, channels.size),
                    Right(weight, r * o * run + v, run),
                    j * oh + i0, j * oh + i1, run - v > lanes,
                )  # fmt: skip


@shared
def _input_gradient(task, bands, dy, rows, dx, columns, g):
    """Write dx (n, h, w, c) for dy (n, oh, ow, o), each image in so many bands of rows."""
    m, band = task // bands, task % bands
    h, w, c = dx.shape[1:]
    lo, hi = band * h // bands + g.top, (band + 1) * h // bands + g.top  # in the padded image
    reach = (g.kh - 1) * g.dh
    out = dx[m].reshape(-1)
    i0 = max(0, (lo - reach + g.sh - 1) // g.sh)  # the rows of dy whose windows see these rows
    i1 = min(g.oh, (hi - 1) // g.sh + 1)
    if i0 >= i1:
        fill(out[(lo - g.top) * w * c : (hi - g.top) * w * c])
        return
    first, last = min(lo, i0 * g.sh), max(hi, (i1 - 1) * g.sh + reach + 1)
    image = np.zeros((last - first) * columns.pitch + 2 * (VECTOR_BYTES // dx.itemsize), dx.dtype)
    add_rows(
        dy[m].reshape(-1), columns, i0, i1, rows, g.dh, np.arange(dy.shape[3]), image,
        first * columns.pitch,
    )  # fmt: skip
    for i in range(lo, hi):
        at = (i - first) * columns.pitch + g.left * c
        copy(image[at : at + w * c], out[(i - g.top) * w * c : (i - g.top + 1) * w * c])


def input_gradient(dy: np.ndarray, weight: np.ndarray, g: Windows) -> np.ndarray:
    n, (o, c) = dy.shape[0], weight.shape[:2]
    dx, bands = np.empty((n, g.h, g.w, c), dy.dtype), -(-g.h // BAND)
    rows, columns = rows_of_kernel(weight), _columns(g, c, o)
    _input_gradient(n * bands, bands, nhwc(dy), rows, dx, columns, g)
    return nchw(dx)

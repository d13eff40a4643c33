"""The plan of a convolution: two tables of addresses stand for the matrix of im2col.

Look at the matrix of im2col with a row for each output pixel p and a column for each tap
e = (r, s, c) of the kernel. In an image stored with its channels last, the entry (p, e) lies at

    address(p, e) = pixel[p] + tap[e]       pixel[i,j]   = (i*sh*width + j*sw) * channels
                                            tap[r,s,c]   = (r*dh*width + s*dw) * channels + c

a sum of two small tables, whatever the stride, the dilation or the group. So the matrix is never
built; the product reads the image through the tables:

    y[p, o] = bias[o] + sum_e x[pixel[p] + tap[e]] * weights[e, o]

The gradients are the same product with other tables:

    y        rows: pixels of y       columns: taps (r,s,c)      vectors: weight over o
    dweight  rows: taps (r,s,c)      columns: pixels of y       vectors: dy over o
    dx       rows: pixels of dx      columns: taps (r,s,o)      vectors: weight over c

For dx, a pixel at padded height a = q*sh + phase is reached by those taps r for which r*dh has the
same remainder: r*dh = m*sh + phase. It then takes dy at height q - m. So dx falls into sh * sw
phases, each a convolution of dy, with a margin of zeros, by its own part of the kernel.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minicnn.kernels.parallel import TASKS
from minicnn.windows import Windows

GROUP = 256  # pixels of small images that are taken as one


class Plan(NamedTuple):
    """Tables for one geometry: where the image lies, and what is multiplied with what."""

    top: int  # rows of padding above the image, and columns beside it
    left: int
    high: int  # size of the padded image
    wide: int
    channels: int  # of the output
    phases: np.ndarray  # (phases, 6): first row, rows of one image, first column, count of
    #                     columns, the least and the greatest of them
    rows: np.ndarray  # address of each pixel, image by image within a phase
    places: np.ndarray  # address in the output of each row
    cols: np.ndarray  # address of each tap, relative to the pixel
    order: np.ndarray  # the taps of the kernel in the order of cols


def images_at_once(n: int, pixels: int) -> int:
    """Return how many images are taken as one: a full group, if enough groups are left."""
    return max(1, min(GROUP // pixels, n // TASKS))


@functools.lru_cache(maxsize=256)
def forward_plan(g: Windows, channels: int, per_group: int, o: int, images: int) -> Plan:
    high, wide = g.top + g.h + g.bottom, g.left + g.w + g.right
    pixels = np.arange(g.oh)[:, None] * g.sh * wide + np.arange(g.ow) * g.sw
    pixels = np.arange(images)[:, None] * (high * wide) + pixels.reshape(-1)
    r, s = np.divmod(np.arange(g.kh * g.kw), g.kw)
    taps = (r * g.dh * wide + s * g.dw)[:, None] * channels + np.arange(per_group)
    return Plan(
        g.top,
        g.left,
        high,
        wide,
        o,
        np.array([[0, g.oh * g.ow, 0, taps.size, 0, taps[-1, -1]]]),
        pixels.reshape(-1) * channels,
        np.arange(pixels.size) * o,
        taps.reshape(-1),
        r * g.kw + s,
    )


@functools.lru_cache(maxsize=256)
def backward_plan(g: Windows, channels: int, per_group: int, c: int, images: int) -> Plan:
    """Tables for dx: rows are pixels of x, the image is dy with a margin of zeros."""
    mh, mw = (g.kh - 1) * g.dh // g.sh, (g.kw - 1) * g.dw // g.sw  # the farthest tap back
    high = mh + max(g.oh, (g.h - 1 + g.top) // g.sh + 1)
    wide = mw + max(g.ow, (g.w - 1 + g.left) // g.sw + 1)
    image = np.arange(images)[:, None]
    phases, rows, places, cols, taps = [], [], [], [], []
    laid = taken = 0
    for a in sorted({(i + g.top) % g.sh for i in range(g.h)}):
        i = np.array([i for i in range(g.h) if (i + g.top) % g.sh == a])
        reach_h = [r for r in range(g.kh) if r * g.dh % g.sh == a]
        for b in sorted({(j + g.left) % g.sw for j in range(g.w)}):
            j = np.array([j for j in range(g.w) if (j + g.left) % g.sw == b])
            reach_w = [s for s in range(g.kw) if s * g.dw % g.sw == b]
            q = ((i + g.top) // g.sh + mh)[:, None] * wide + (j + g.left) // g.sw + mw
            tap = [(r, s) for r in reach_h for s in reach_w]
            back = [(r * g.dh // g.sh) * wide + s * g.dw // g.sw for r, s in tap]
            col = -np.array(back, dtype=np.int64)[:, None] * channels + np.arange(per_group)
            reach = (col.min(), col.max()) if tap else (0, 0)
            phases.append((laid, q.size, taken, col.size, *reach))
            rows.append((image * (high * wide) + q.reshape(-1)).reshape(-1) * channels)
            place = image * (g.h * g.w) + (i[:, None] * g.w + j).reshape(-1)
            places.append(place.reshape(-1) * c)
            cols.append(col.reshape(-1))
            taps += [r * g.kw + s for r, s in tap]
            laid, taken = laid + rows[-1].size, taken + col.size
    return Plan(
        mh,
        mw,
        high,
        wide,
        c,
        np.array(phases),
        np.concatenate(rows),
        np.concatenate(places),
        np.concatenate(cols),
        np.array(taps, dtype=np.int64),
    )

"""Kernels that make a batch of images: gather, normalise, and move them in the same pass.

A pixel is a byte, so normalising is a table lookup: ``table[channel, pixel]``. A background thread
makes batches ahead of time. So these kernels are not parallel: some of Numba's thread pools must
not be used by two threads at once.
"""

from __future__ import annotations

import numpy as np

from minicnn.backend import kernel


@kernel
def cut(images, order, table, out):
    """out[b, i, j, k] = table[k, images[order[b], i, j, k]]"""
    c = table.shape[0]
    for b in range(order.size):
        image, y = images[order[b]].reshape(-1), out[b].reshape(-1)
        for k in range(c):
            for e in range(k, y.size, c):
                y[e] = table[k, image[e]]


@kernel
def cut_shifted(images, order, moves, table, out):
    """Cut each image mirrored or not, then shifted; moves[b] = mirror (0 or 1), down, right.

    Mirroring exchanges left and right. Pixels from outside of the image are black.
    """
    h, w, c = images.shape[1:]
    for b in range(order.size):
        image, y = images[order[b]], out[b]
        mirror, down, right = moves[b]
        first, end = max(right, 0), min(w + right, w)  # the columns that show the image
        for i in range(h):
            inside = 0 <= i - down < h
            row, target = image[i - down if inside else 0], y[i]
            for j in range(w):
                if inside and first <= j < end:
                    q = w - 1 - j + right if mirror else j - right
                    for k in range(c):
                        target[j, k] = table[k, row[q, k]]
                else:
                    for k in range(c):
                        target[j, k] = table[k, 0]


@kernel
def cut_moved(images, order, moves, table, out):
    """Cut each image mirrored or not, rotated about its centre, then shifted.

    moves[b] = mirror (0 or 1), cos, sin, down, right. A positive angle turns the image
    counterclockwise. For each pixel of ``out``, the point (p, q) of the image that moves there is
    computed, and the four pixels around this point are interpolated. The image has a black frame,
    one pixel wide, two at the end; points farther out are moved onto the frame. Normalising is
    affine, so it may come before the interpolation.
    """
    h, w, c = images.shape[1:]
    for b in range(order.size):
        image = images[order[b]]
        mirror, cos, sin, down, right = moves[b]
        framed = np.empty((h + 3, w + 3, c), table.dtype)
        for k in range(c):
            framed[:, :, k] = table[k, 0]
            for i in range(h):
                for j in range(w):
                    q = w - 1 - j if mirror else j
                    framed[i + 1, j + 1, k] = table[k, image[i, q, k]]
        for i in range(h):
            for j in range(w):
                y, x = i - (h - 1) / 2 - down, j - (w - 1) / 2 - right
                p = min(max((h - 1) / 2 + y * cos + x * sin, -1.0), h) + 1
                q = min(max((w - 1) / 2 + x * cos - y * sin, -1.0), w) + 1
                top, left = int(p), int(q)
                u, v = np.float32(p - top), np.float32(q - left)
                for k in range(c):
                    upper, lower = framed[top, left, k], framed[top + 1, left, k]
                    upper += v * (framed[top, left + 1, k] - upper)
                    lower += v * (framed[top + 1, left + 1, k] - lower)
                    out[b, i, j, k] = upper + u * (lower - upper)

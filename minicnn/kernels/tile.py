"""A tile of registers: the one product that the compiled convolutions are made of.

                     lanes of a vector, once or twice       e.g. 16 float32 in 512 bits, or 2 x 16
                   +---------------------+
              k    |     b.array[k, :]   |   one load, or two, used for 8 rows
                   +---------------------+
        +-----+    +---------------------+
   row  |     |    |  sums[row, :],      |   sums[row, :] += a[rows[row] + cols[k]] * b[k, :]
  8 at  |     |    |  held in registers  |
 a time +-----+    +---------------------+   one scalar load, spread over the lanes

What is multiplied is decided by tables of addresses alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.simd import ONE, ROWS, TWO, at, load
from minicnn.kernels.simd_rows import add_products, load_rows, repeated, starts, store_rows

__all__ = ["ROWS", "Left", "Right", "Sums", "copy", "fill", "product"]


class Sums(NamedTuple):
    """Where the sums of each row lie, and what they begin with."""

    array: np.ndarray
    first: int  # number in it, to which ``places`` are added
    places: np.ndarray  # of the rows
    start: np.ndarray  # a vector of this, from ``start_at`` on, is what ``fresh`` sums begin with;
    start_at: int
    fresh: bool  # others go on from what lies there


class Left(NamedTuple):
    """The factor of which a number at a time is used: array[first + rows[row] + cols[k]]."""

    array: np.ndarray
    first: int
    rows: np.ndarray
    cols: np.ndarray
    k: int  # the first that is used of cols
    size: int  # and how many


class Right(NamedTuple):
    """The factor of which a vector at a time is used: it begins at array[first + k * step]."""

    array: np.ndarray
    first: int
    step: int


@inner
def run_tile(sums, left, right, row, last, tile):
    """Compute the rows of a tile from ``row`` on; rows behind the last are the last again."""
    lines = starts(left.first, left.rows, row, last, tile)
    out = starts(sums.first, sums.places, row, last, tile)
    if sums.fresh:
        totals = repeated(load(sums.start, sums.start_at, tile), tile)
    else:
        totals = load_rows(sums.array, out, tile)
    for k in range(left.size):
        vector = load(right.array, right.first + k * right.step, tile)
        totals = add_products(totals, left.array, lines, at(left.cols, left.k + k), vector)
    store_rows(totals, sums.array, out)


@inner
def product(sums, left, right, lo, hi, wide):
    """Compute the rows from ``lo`` to ``hi``, tile by tile; two vectors to a row if ``wide``."""
    for row in range(lo, hi, ROWS):
        if wide:
            run_tile(sums, left, right, row, hi - 1, TWO)
        else:
            run_tile(sums, left, right, row, hi - 1, ONE)


@inner
def copy(source, target):
    """Copy as much as the shorter vector holds. (Assigning slices takes seconds to compile.)"""
    for e in range(min(source.size, target.size)):
        target[e] = source[e]


@inner
def fill(target):
    """Fill a vector with zeros."""
    for e in range(target.size):
        target[e] = 0

"""The tile of registers of tile.py, for rows and columns that lie at even steps.

    sums[row, :] += left[row, k] * right[k, :]        for 8 rows, and each k < count

Without tables of addresses a short sum takes half the time, and the sums of winograd's frequencies
are short.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.simd import load
from minicnn.kernels.simd_rows import add_products, even_starts, load_rows, repeated, store_rows
from minicnn.kernels.tile import Right


class EvenSums(NamedTuple):
    """Where the sums of each row lie: from array[first + row * step] on."""

    array: np.ndarray
    first: int
    step: int


class EvenLeft(NamedTuple):
    """The factor of which a number at a time is used: array[first + row * row_step + k * step]."""

    array: np.ndarray
    first: int
    row_step: int
    step: int


@inner
def fresh(sums, start, start_at, left, right, row, last, count, tile):
    """Write the sums of some rows, from ``row`` on; those behind the last are the last again.

    They begin with the vector of ``start`` that begins at ``start_at``.
    """
    lines = even_starts(left.first, left.row_step, row, last, tile)
    totals = repeated(load(start, start_at, tile), tile)
    for k in range(count):
        vector = load(right.array, right.first + k * right.step, tile)
        totals = add_products(totals, left.array, lines, k * left.step, vector)
    store_rows(totals, sums.array, even_starts(sums.first, sums.step, row, last, tile))


@inner
def more(sums, left, right, row, last, count, tile):
    """Add to the sums that lie there."""
    lines = even_starts(left.first, left.row_step, row, last, tile)
    places = even_starts(sums.first, sums.step, row, last, tile)
    totals = load_rows(sums.array, places, tile)
    for k in range(count):
        vector = load(right.array, right.first + k * right.step, tile)
        totals = add_products(totals, left.array, lines, k * left.step, vector)
    store_rows(totals, sums.array, places)


__all__ = ["EvenLeft", "EvenSums", "Right", "fresh", "more"]

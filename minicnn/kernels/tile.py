"""A tile of registers: the one product that the compiled convolutions are made of.

                     lanes of a vector, once or twice       e.g. 16 float32 in 512 bits, or 2 x 16
                   +---------------------+
              k    |       b[k, :]       |   one load, or two, used for 8 rows
                   +---------------------+
        +-----+    +---------------------+
   row  |     |    |  sums[row, :],      |   sums[row, :] += a[rows[row] + cols[k]] * b[k, :]
  8 at  |     |    |  held in registers  |
 a time +-----+    +---------------------+   one scalar load, spread over the lanes

What is multiplied is decided by tables of addresses alone.
"""

from __future__ import annotations

from minicnn.backend import inner
from minicnn.kernels.simd import ONE, ROWS, TWO, at, load
from minicnn.kernels.simd_rows import add_products, load_rows, repeated, starts, store_rows

__all__ = ["ROWS", "copy", "fill", "product", "run_tile"]


@inner
def run_tile(
    c, c0, places, start, s0, fresh, a, a0, rows, row, last, cols, k0, count, b, b0, bs, tile
):
    """Compute the rows of a tile from ``row`` on; rows behind the last are the last again:

    sums = start[s0 + lane] if fresh else c[c0 + places[row] + lane]
    c[c0 + places[row] + lane] = sums + sum_{k < count} a[a0 + rows[row] + cols[k0 + k]]
                                                      * b[b0 + k*bs + lane]
    """
    lines, out = starts(a0, rows, row, last, tile), starts(c0, places, row, last, tile)
    sums = repeated(load(start, s0, tile), tile) if fresh else load_rows(c, out, tile)
    for k in range(count):
        sums = add_products(sums, a, lines, at(cols, k0 + k), load(b, b0 + k * bs, tile))
    store_rows(sums, c, out)


@inner
def product(c, c0, places, start, s0, fresh, a, a0, rows, lo, hi, cols, k0, count, b, b0, bs, wide):
    """Compute the rows from ``lo`` to ``hi``, tile by tile; two vectors to a row if ``wide``."""
    for row in range(lo, hi, ROWS):
        if wide:
            run_tile(
                c, c0, places, start, s0, fresh, a, a0, rows, row, hi - 1, cols, k0, count, b, b0,
                bs, TWO,
            )  # fmt: skip
        else:
            run_tile(
                c, c0, places, start, s0, fresh, a, a0, rows, row, hi - 1, cols, k0, count, b, b0,
                bs, ONE,
            )  # fmt: skip


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

"""The tile of registers of tile.py, for rows and columns that lie at even steps.

    sums[row, :] += a[a0 + row*ar + k*ak] * b[b0 + k*bk, :]        for 8 rows, and each k < count

Without tables of addresses a short sum takes half the time, and the sums of winograd's frequencies
are short.
"""

from __future__ import annotations

from minicnn.backend import inner
from minicnn.kernels.simd import load
from minicnn.kernels.simd_rows import add_products, load_rows, repeated, steps, store_rows


@inner
def fresh(c, c0, cr, start, s0, a, a0, ar, ak, count, b, b0, bk, tile):
    """Write into c, at c0 + row*cr, the sums that begin with ``start``."""
    lines, sums = steps(a0, ar, tile), repeated(load(start, s0, tile), tile)
    for k in range(count):
        sums = add_products(sums, a, lines, k * ak, load(b, b0 + k * bk, tile))
    store_rows(sums, c, steps(c0, cr, tile))


@inner
def more(c, c0, cr, a, a0, ar, ak, count, b, b0, bk, tile):
    """Add the sums to c, at c0 + row*cr."""
    lines, sums = steps(a0, ar, tile), load_rows(c, steps(c0, cr, tile), tile)
    for k in range(count):
        sums = add_products(sums, a, lines, k * ak, load(b, b0 + k * bk, tile))
    store_rows(sums, c, steps(c0, cr, tile))

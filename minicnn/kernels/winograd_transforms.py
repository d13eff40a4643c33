"""The transformations of Winograd's convolution F(4x4, 3x3), as matrices and on vectors.

ops/conv2d/winograd.py derives them. ``BT`` transforms the inputs of a tile, ``G`` a kernel, and
``AT`` what their products give. Multiplying by the matrices would cost more than it spares: most
entries of a row equal those of its neighbour, up to the sign. So ``inputs``, ``outputs`` and
``gradients`` write the products out. They hold for anything that can be added, subtracted and
multiplied by a number: numbers, arrays of NumPy, and the vectors of simd.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backend import inner
from minicnn.kernels.simd import VECTOR_BYTES, Tile
from minicnn.kernels.simd_rows import load_column, steps, store_rows, transposed

OUT, IN = 4, 6  # the sides of a tile of outputs, and of the inputs that it sees
# The usual points, 1 and 2, make four times the error: with these, no number is far from 1.
POINT_A, POINT_B = 2 / 3, 3 / 2


# ------------------------------------------------------------------------------------ as matrices


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return B^T (6, 6), G (6, 3) and A^T (4, 6) for the points."""
    points = np.array([0, POINT_A, -POINT_A, POINT_B, -POINT_B])
    others = [np.delete(points, i) for i in range(5)]
    infinity = np.eye(1, IN, IN - 1)
    bt = np.zeros((IN, IN))
    for i in range(5):
        bt[i, :5] = np.poly(others[i])[::-1]
    bt[5] = np.poly(points)[::-1]
    scale = np.array([np.prod(p - q) for p, q in zip(points, others, strict=True)])
    g = np.vander(points, 3, increasing=True) / scale[:, None]
    a = np.vander(points, OUT, increasing=True)
    return bt, np.vstack([g, infinity[:, -3:]]), np.vstack([a, infinity[:, -OUT:]]).T


BT, G, AT = _matrices()
GG = np.kron(G, G)  # (36, 9): the transformation of a whole kernel
# A^T turns these into ones, on both sides (36,): so a bias is added at the frequencies.
ONES = np.kron(np.linalg.pinv(AT) @ np.ones(OUT), np.linalg.pinv(AT) @ np.ones(OUT))


# ------------------------------------------------------------------------------------ written out

_A2, _B2 = POINT_A**2, POINT_B**2  # a point and its opposite share their even and their odd terms


def inputs(d: Any) -> tuple:
    """Return B^T d."""
    even_a, odd_a = d[4] - d[2] * _B2, (d[3] - d[1] * _B2) * POINT_A
    even_b, odd_b = d[4] - d[2] * _A2, (d[3] - d[1] * _A2) * POINT_B
    return (
        d[0] * (_A2 * _B2) - d[2] * (_A2 + _B2) + d[4],
        even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b,
        d[1] * (_A2 * _B2) - d[3] * (_A2 + _B2) + d[5],
    )  # fmt: skip


def outputs(m: Any) -> tuple:
    """Return A^T m."""
    even_a, odd_a = m[1] + m[2], (m[1] - m[2]) * POINT_A
    even_b, odd_b = m[3] + m[4], (m[3] - m[4]) * POINT_B
    return (
        m[0] + even_a + even_b,
        odd_a + odd_b,
        even_a * _A2 + even_b * _B2,
        odd_a * _A2 + odd_b * _B2 + m[5],
    )


def gradients(y: Any) -> tuple:
    """Return A y."""
    even_a, odd_a = y[0] + y[2] * _A2, (y[1] + y[3] * _A2) * POINT_A
    even_b, odd_b = y[0] + y[2] * _B2, (y[1] + y[3] * _B2) * POINT_B
    return y[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y[3]


# ------------------------------------------------------- of the columns and of the rows of a patch

_inputs, _outputs = inner(inputs, inline=True), inner(outputs, inline=True)
_gradients = inner(gradients, inline=True)
_SIX, _FOUR = Tile(IN, VECTOR_BYTES), Tile(OUT, VECTOR_BYTES)


@inner(inline=True)
def transform_inputs(x, patch, y, place):
    """Transform 6 x 6 vectors of x, a Patch of simd.py, into the frequencies of a tile.

    ``place`` tells where these lie in y: the first, and the steps from row to row and from column
    to column.
    """
    first, row, column = place
    rows = transposed(
        (
            _inputs(load_column(x, patch, 0, _SIX)), _inputs(load_column(x, patch, 1, _SIX)),
            _inputs(load_column(x, patch, 2, _SIX)), _inputs(load_column(x, patch, 3, _SIX)),
            _inputs(load_column(x, patch, 4, _SIX)), _inputs(load_column(x, patch, 5, _SIX)),
        )
    )  # fmt: skip
    store_rows(_inputs(rows[0]), y, steps(first, column, _SIX))
    store_rows(_inputs(rows[1]), y, steps(first + row, column, _SIX))
    store_rows(_inputs(rows[2]), y, steps(first + 2 * row, column, _SIX))
    store_rows(_inputs(rows[3]), y, steps(first + 3 * row, column, _SIX))
    store_rows(_inputs(rows[4]), y, steps(first + 4 * row, column, _SIX))
    store_rows(_inputs(rows[5]), y, steps(first + 5 * row, column, _SIX))


@inner(inline=True)
def transform_outputs(x, patch, y, place):
    """Transform the frequencies of a tile, 6 x 6 vectors of x, into 4 x 4 outputs."""
    first, row, column = place
    rows = transposed(
        (
            _outputs(load_column(x, patch, 0, _SIX)), _outputs(load_column(x, patch, 1, _SIX)),
            _outputs(load_column(x, patch, 2, _SIX)), _outputs(load_column(x, patch, 3, _SIX)),
            _outputs(load_column(x, patch, 4, _SIX)), _outputs(load_column(x, patch, 5, _SIX)),
        )
    )  # fmt: skip
    store_rows(_outputs(rows[0]), y, steps(first, column, _FOUR))
    store_rows(_outputs(rows[1]), y, steps(first + row, column, _FOUR))
    store_rows(_outputs(rows[2]), y, steps(first + 2 * row, column, _FOUR))
    store_rows(_outputs(rows[3]), y, steps(first + 3 * row, column, _FOUR))


@inner(inline=True)
def transform_gradients(x, patch, y, place):
    """Transform the gradients of a tile, 4 x 4 vectors of x, into 6 x 6 frequencies."""
    first, row, column = place
    rows = transposed(
        (
            _gradients(load_column(x, patch, 0, _FOUR)),
            _gradients(load_column(x, patch, 1, _FOUR)),
            _gradients(load_column(x, patch, 2, _FOUR)),
            _gradients(load_column(x, patch, 3, _FOUR)),
        )
    )
    store_rows(_gradients(rows[0]), y, steps(first, column, _SIX))
    store_rows(_gradients(rows[1]), y, steps(first + row, column, _SIX))
    store_rows(_gradients(rows[2]), y, steps(first + 2 * row, column, _SIX))
    store_rows(_gradients(rows[3]), y, steps(first + 3 * row, column, _SIX))
    store_rows(_gradients(rows[4]), y, steps(first + 4 * row, column, _SIX))
    store_rows(_gradients(rows[5]), y, steps(first + 5 * row, column, _SIX))

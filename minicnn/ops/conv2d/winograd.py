"""Winograd's convolution F(4x4, 3x3) in NumPy: 36 products where the definition has 144.

Derivation
    Write polynomials u(t) = u0 + u1*t + u2*t^2 for a row of the kernel and v(t) for four numbers.
    Their product has degree 5, so six of its values determine it, and at each point t a value is
    one product u(t) * v(t): six, where multiplying out takes twelve. That is (Toom and Cook)

        u * v = V^-1 [(V u) . (V v)]      V: values at six points, 0, a, -a, b, -b and infinity

    (at infinity, the value is the leading coefficient). A correlation y[i] = sum_r d[i+r] u[r] is
    the transpose of this, linear in v: <y, v> = <d, u * v>. So four outputs cost six products:

        y = A^T [(G u) . (B^T d)]         A: values of v at the points, (6, 4)
                                          G: values of u, each divided by N below, (6, 3)
                                          B^T: the interpolation without its division, (6, 6)
    with the row of a point p
        A    1, p, p^2, p^3               of infinity  0, 0, 0, 1
        G    1, p, p^2  over N(p)         of infinity  0, 0, 1
        B^T  the coefficients of the product of (t - q) over the other points q; N(p) its value at p

    and over rows and columns, for a tile of 4x4 outputs and the 6x6 inputs that they see,

        y = A^T [(G u G^T) . (B^T d B)] A                   36 products where 4*4 * 3*3 = 144 were

    Summed over channels before A^T, this is a matrix product for each of the 36 "frequencies".
    The gradients follow by transposing: the sum is linear in d and in u.

        dx       the forward convolution of dy by the kernel turned by 180 degrees, inputs and
                 outputs exchanged
        dweight  G^T [sum over tiles of (A dy A^T) . (B^T d B)] G

Conventions
    Padding may be of any size, and differ from side to side; a tile at the border takes zeros.
    Where an input is NaN or infinite, none of the 16 outputs of a tile that sees it is finite, and
    an infinity may become NaN, as inf - inf. By definition only the windows that hold it do so.
    Values are those of the definition up to rounding, in float32 some 2e-6 of the greatest.
Source
    Lavin & Gray (2016), Fast algorithms for convolutional neural networks;
    Winograd (1980), Arithmetic complexity of computations.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels.winograd_transforms import AT, BT, IN, OUT, G
from minicnn.windows import Windows


def forward(x: np.ndarray, weight: np.ndarray, g: Windows) -> np.ndarray:
    """Return y as derived above."""
    u = np.einsum("pr,ocrs,qs->ocpq", G, weight, G)
    m = np.einsum("ocpq,nchwpq->nohwpq", u, _frequencies_of_tiles(x, g))
    y = (AT @ m @ AT.T).transpose(0, 1, 2, 4, 3, 5)  # (n, o, high, OUT, wide, OUT)
    n, o, high, _, wide, _ = y.shape
    return y.reshape(n, o, high * OUT, wide * OUT)[:, :, : g.oh, : g.ow]


def weight_gradient(dy: np.ndarray, x: np.ndarray, g: Windows) -> np.ndarray:
    """Return dweight as derived above."""
    n, o = dy.shape[:2]
    high, wide = -(-g.oh // OUT), -(-g.ow // OUT)
    tiles = np.zeros((n, o, high * OUT, wide * OUT))
    tiles[:, :, : g.oh, : g.ow] = dy
    tiles = tiles.reshape(n, o, high, OUT, wide, OUT).transpose(0, 1, 2, 4, 3, 5)
    m = np.einsum("nohwpq,nchwpq->ocpq", AT.T @ tiles @ AT, _frequencies_of_tiles(x, g))
    return np.asarray(G.T @ m @ G)


def _frequencies_of_tiles(x: np.ndarray, g: Windows) -> np.ndarray:
    """Return B^T d B of every tile, (n, c, high, wide, 6, 6)."""
    high, wide = -(-g.oh // OUT) * OUT, -(-g.ow // OUT) * OUT
    padded = np.zeros((*x.shape[:2], high + 2, wide + 2))
    h, w = min(g.h, high + 2 - g.top), min(g.w, wide + 2 - g.left)
    padded[:, :, g.top : g.top + h, g.left : g.left + w] = x[:, :, :h, :w]
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (IN, IN), axis=(2, 3))
    return np.asarray(BT @ tiles[:, :, ::OUT, ::OUT] @ BT.T)

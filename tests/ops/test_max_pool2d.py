"""Max pooling against loops, also where windows hold no pixel, on which torch is silent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels.argmax import HALF
from minicnn.ops import max_pool2d
from minicnn.testing.strategies import seeds
from minicnn.windows import Windows, pool_windows
from tests.arrays import impls

CHUNK = HALF.lanes(np.empty(0, np.float32))  # channels that are taken at a time


def by_loops(x: np.ndarray, dy: np.ndarray, g: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return y and dx of one channel by the definition: of equals the first, of NaN the last."""
    y, dx = np.full((g.oh, g.ow), -np.inf), np.zeros(x.shape)
    for i, j in np.ndindex(y.shape):
        winner = None
        for r, s in np.ndindex(g.kh, g.kw):
            p, q = i * g.sh + r * g.dh - g.top, j * g.sw + s * g.dw - g.left
            if 0 <= p < g.h and 0 <= q < g.w:
                v = x[p, q]
                if winner is None or v > y[i, j] or np.isnan(v):
                    winner, y[i, j] = (p, q), v
        if winner is not None:
            dx[winner] += dy[i, j]
    return y, dx


@impls
@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.integers(2, 3),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 4),
    ceil_mode=st.booleans(),
    channels=st.sampled_from([1, CHUNK, CHUNK + 3]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=seeds,
)
def test_equals_loops_even_where_a_window_lies_between_all_pixels(
    impl: str, image, kernel: int, stride: int, dilation: int, ceil_mode: bool,
    channels: int, dtype: type, seed: int,
) -> None:  # fmt: skip
    """Few channels are compared row by row, many as vectors."""
    rng = np.random.default_rng(seed)
    # As much padding as is allowed, and the pixels that it takes for the kernel to fit.
    padding = kernel // 2
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    h, w = (max(side, least) for side in image)
    shape, p = (2, channels, h, w), [0.3, 0.2, 0.2, 0.2, 0.1]
    x = rng.choice([-np.inf, -1.0, 0.0, 1.0, np.nan], shape, p=p).astype(dtype)
    options = (kernel, stride, padding, dilation, ceil_mode)
    y, cache = max_pool2d.forward(x, *options, impl=impl)
    dy = rng.integers(-9, 9, y.shape).astype(dtype)
    dx = max_pool2d.backward(dy, cache, impl=impl)
    g = pool_windows("max_pool2d", (h, w), *options)
    for n, c in np.ndindex(2, channels):
        expected, gradient = by_loops(x[n, c], dy[n, c], g)
        np.testing.assert_array_equal(y[n, c], expected)
        np.testing.assert_array_equal(dx[n, c], gradient)


@impls
def test_a_window_between_all_pixels_is_minus_infinity_and_passes_no_gradient(impl: str) -> None:
    x = np.ones((1, 1, 1, 1))
    y, cache = max_pool2d.forward(x, 2, 1, 1, 2, impl=impl)
    assert y.item() == -np.inf
    assert max_pool2d.backward(np.ones_like(y), cache, impl=impl).item() == 0


@impls
@pytest.mark.parametrize("turn", [1, -1])
def test_that_no_pixel_won_can_be_told_from_the_last_of_256(turn: int, impl: str) -> None:
    image, *options = (pair[::turn] for pair in ((128, 1), (128, 2), (1, 1), (0, 1), (1, 2)))
    x = np.ones((1, 1, *image))
    y, cache = max_pool2d.forward(x, *options, impl=impl)
    assert cache.winner.item() == 256
    assert not max_pool2d.backward(np.ones_like(y), cache, impl=impl).any()


@impls
@pytest.mark.parametrize("side", [8, 9, 16, 17])
def test_windows_too_large_for_a_list_or_a_byte(side: int, impl: str) -> None:
    rng = np.random.default_rng(side)
    x = rng.integers(0, 9, (1, CHUNK, side + 1, side + 2)).astype(np.float32)
    y, cache = max_pool2d.forward(x, side, 1, side // 2, impl=impl)
    dy = rng.integers(-9, 9, y.shape).astype(np.float32)
    dx = max_pool2d.backward(dy, cache, impl=impl)
    g = pool_windows("max_pool2d", x.shape[2:], side, 1, side // 2)
    for c in range(CHUNK):
        expected, gradient = by_loops(x[0, c], dy[0, c], g)
        np.testing.assert_array_equal(y[0, c], expected)
        np.testing.assert_array_equal(dx[0, c], gradient)


@impls
def test_padding_loses_even_against_minus_infinity(impl: str) -> None:
    x = np.full((1, 1, 2, 2), -np.inf)
    y, cache = max_pool2d.forward(x, 2, 2, 1, impl=impl)
    assert (y == -np.inf).all()
    dx = max_pool2d.backward(np.ones_like(y), cache, impl=impl)
    np.testing.assert_array_equal(dx, np.ones_like(x))  # each corner is alone in its window


@impls
@pytest.mark.parametrize("overlap", [1, 2])
def test_a_pixel_that_wins_several_windows_receives_the_sum(overlap: int, impl: str) -> None:
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 5
    y, cache = max_pool2d.forward(x, 2, 3 - overlap, impl=impl)
    dx = max_pool2d.backward(np.ones_like(y), cache, impl=impl)
    expected = np.zeros_like(x)
    expected[0, 0, 1, 1] = y.size
    np.testing.assert_array_equal(dx, expected)


@impls
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_goes_to_the_winner_only(impl: str, value: float) -> None:
    x = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    _, cache = max_pool2d.forward(x, (1, 2), impl=impl)
    dx = max_pool2d.backward(np.full((1, 1, 1, 1), value), cache, impl=impl)
    np.testing.assert_array_equal(dx, [[[[0.0, value]]]])

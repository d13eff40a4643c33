"""Local response normalisation against the definition in loops, and by itself."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError
from minicnn.backend import IMPLS
from minicnn.ops import local_response_norm
from tests.arrays import assert_threads_change_no_bit

impls = pytest.mark.parametrize("impl", IMPLS)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 9)
exponents = st.sampled_from([0.75, 0.5, 1.0, 0.0, 2.3])


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def by_loops(x: np.ndarray, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    """Return y of one pixel x (c,)."""
    y = np.empty_like(x)
    for c in range(x.size):
        window = range(c - size // 2, c + (size - 1) // 2 + 1)
        squares = sum(x[j] ** 2 for j in window if 0 <= j < x.size)
        y[c] = x[c] / (k + alpha / size * squares) ** beta
    return y


@impls
@given(c=st.integers(1, 9), size=sizes, beta=exponents, seed=seeds)
def test_is_what_the_definition_says(impl: str, c: int, size: int, beta: float, seed: int) -> None:
    x = 3 * normal(2, c, 3, seed=seed)
    y, _ = local_response_norm.forward(x, size, 0.7, beta, 1.3, impl=impl)
    for n, i in product(range(2), range(3)):
        np.testing.assert_allclose(y[n, :, i], by_loops(x[n, :, i], size, 0.7, beta, 1.3), 1e-12)


@impls
@given(c=st.integers(1, 9), size=sizes, beta=exponents, seed=seeds)
def test_backward_is_the_transpose_of_the_derivative(impl: str, c, size, beta, seed) -> None:
    x, v, dy = (normal(2, c, 3, seed=seed + i) for i in range(3))
    options, step = {"size": size, "alpha": 0.7, "beta": beta, "impl": impl}, 1e-5
    up, down = (local_response_norm.forward(x + t * v, **options)[0] for t in (step, -step))
    _, cache = local_response_norm.forward(x, **options)
    dx = local_response_norm.backward(dy, cache, impl=impl)
    left, right = dy * (up - down) / (2 * step), dx * v
    assert abs(left.sum() - right.sum()) <= 1e-8 * (np.abs(left).sum() + np.abs(right).sum() + 1)


@given(c=st.integers(1, 40), size=sizes, beta=exponents, seed=seeds)
def test_fast_equals_textbook_and_takes_its_cache(c: int, size: int, beta: float, seed) -> None:
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 2e-6)):
        x, dy = (normal(2, c, 2, 3, dtype=dtype, seed=seed + i) for i in range(2))
        results = []
        for before, after in product(IMPLS, IMPLS):
            y, cache = local_response_norm.forward(x, size, 0.7, beta, 1.3, impl=before)
            results.append([y, local_response_norm.backward(dy, cache, impl=after)])
        for result in results[1:]:
            for a, b in zip(result, results[0], strict=True):
                assert a.dtype == b.dtype == dtype
                scale = max(1, np.abs(b).max())
                np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


@impls
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_may_lie_anywhere_and_are_not_written_to(dtype: type, impl: str) -> None:
    base = normal(8, 5, 6, dtype=dtype), normal(8, 5, 6, dtype=dtype, seed=1)
    plain = [b[::-2, ::2, ::3].copy() for b in base]
    y, cache = local_response_norm.forward(plain[0], 3, impl=impl)
    expected = [y, local_response_norm.backward(plain[1], cache, impl=impl)]
    for b in base:
        b.setflags(write=False)
    x, dy = (b[::-2, ::2, ::3] for b in base)
    y, cache = local_response_norm.forward(x, 3, impl=impl)
    results = [y, local_response_norm.backward(dy, cache, impl=impl)]
    for a, e in zip((*results, x, dy), (*expected, *plain), strict=True):
        np.testing.assert_array_equal(a, e)
    assert not any(np.may_share_memory(a, b) for a, b in product(results, base))


@impls
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_gives_nothing(shape: tuple[int, ...], impl: str) -> None:
    x = np.zeros(shape)
    y, cache = local_response_norm.forward(x, 5, impl=impl)
    dx = local_response_norm.backward(y, cache, impl=impl)
    assert y.shape == dx.shape == shape
    assert y is not x
    assert dx is not y


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x, dy = (normal(4, 24, 7, 5, dtype=np.float32, seed=seed) for seed in (0, 1))

    def results() -> list[np.ndarray]:
        y, cache = local_response_norm.forward(x, 5)
        return [y, local_response_norm.backward(dy, cache)]

    assert_threads_change_no_bit(results)


@impls
@pytest.mark.parametrize(
    ("x", "size", "kind", "message"),
    [
        (np.zeros((2, 3)), 5, ShapeError, "x must have 3 axes or more (n, c, ...), got 2 with "
         "shape (2, 3)."),
        (np.zeros((2, 3, 4)), 0, ShapeError, "size must be at least 1, got 0."),
        (np.zeros((2, 3, 4)), 1.5, TypeError, "size must be an integer, got 1.5."),
        (np.zeros((2, 3, 4), int), 5, TypeError, "x has dtype int64; float32 and float64 are "
         "supported. Use x.astype(np.float32)."),
    ],
)  # fmt: skip
def test_text_of_errors(x, size, kind, message: str, impl: str) -> None:
    with pytest.raises(kind) as error:
        local_response_norm.forward(x, size, impl=impl)
    assert str(error.value) == f"local_response_norm: {message}"

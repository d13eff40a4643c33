"""Dropout: what the mask is, how often it keeps, and that chance comes from rng alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.ops import dropout
from minicnn.testing.strategies import LAYOUTS, arranged, seeds
from tests.arrays import dtypes, impls

shares = st.floats(0, 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@impls
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_keeps_the_share_it_should_and_the_mean(p: float, impl: str) -> None:
    x = np.ones((100, 1000))
    y, _ = dropout.forward(x, p, rng=rng(1), impl=impl)
    kept = y != 0
    spread = np.sqrt(p * (1 - p) / x.size)  # of the share, one standard deviation
    assert abs(kept.mean() - (1 - p)) < 5 * spread
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-12)
    assert abs(y.mean() - 1) < 5 * spread / (1 - p)


@given(p=shares, seed=seeds)
def test_both_implementations_draw_the_same_mask(p: float, seed: int) -> None:
    x = rng(seed).standard_normal((3, 4, 5))
    fast, textbook = (dropout.forward(x, p, rng=rng(seed), impl=i)[0] for i in ("fast", "textbook"))
    np.testing.assert_array_equal(fast, textbook)


@impls
@given(layout=st.sampled_from(LAYOUTS), seed=seeds)
def test_the_mask_does_not_depend_on_the_order_in_memory(impl, layout: str, seed: int) -> None:
    x = np.ones((3, 4, 5), np.float32)
    straight, _ = dropout.forward(x, rng=rng(seed), impl=impl)
    other, _ = dropout.forward(arranged(x, layout), rng=rng(seed), impl=impl)
    np.testing.assert_array_equal(other, straight)


@impls
@dtypes
@given(p=shares, seed=seeds)
def test_backward_applies_the_mask_of_forward(impl: str, dtype: type, p: float, seed: int) -> None:
    x = np.ones((4, 5, 3), dtype)
    y, cache = dropout.forward(x, p, rng=rng(seed), impl=impl)
    dy = rng(seed + 1).standard_normal(x.shape).astype(dtype)
    dx = dropout.backward(dy, cache, impl=impl)
    assert dx.dtype == y.dtype == dtype
    np.testing.assert_allclose(dx, y * dy, rtol=1e-6)


@impls
@pytest.mark.parametrize("options", [{"training": False}, {"p": 0.0}])
def test_is_the_identity_and_draws_nothing(options: dict, impl: str) -> None:
    x, generator = rng().standard_normal((2, 3)), rng(5)
    y, cache = dropout.forward(x, **options, rng=generator, impl=impl)
    dx = dropout.backward(x, cache, impl=impl)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, x)
    assert not np.shares_memory(y, x)
    assert not np.shares_memory(dx, x)
    assert generator.random() == rng(5).random()


@impls
def test_inference_needs_no_rng(impl: str) -> None:
    x = np.ones(3)
    np.testing.assert_array_equal(dropout.forward(x, training=False, impl=impl)[0], x)


@impls
def test_p_1_leaves_nothing(impl: str) -> None:
    y, cache = dropout.forward(np.ones(9), 1.0, rng=rng(), impl=impl)
    assert (y == 0).all()
    assert (dropout.backward(np.ones(9), cache, impl=impl) == 0).all()


@impls
def test_a_draw_equal_to_p_is_kept(impl: str) -> None:
    """Of the numbers in [0, 1) that are drawn, a share of p is less than p, as near as can be."""
    p = float(rng(3).random(dtype=np.float32))
    np.testing.assert_allclose(
        dropout.forward(np.ones(1), p, rng=rng(3), impl=impl)[0], 1 / (1 - p)
    )


@impls
def test_rng_moves_on_by_one_draw_for_each_number(impl: str) -> None:
    generator, other = rng(3), rng(3)
    for _ in range(2):
        y, _ = dropout.forward(np.ones((2, 3)), 0.5, rng=generator, impl=impl)
        np.testing.assert_array_equal(y != 0, other.random((2, 3), np.float32) >= 0.5)

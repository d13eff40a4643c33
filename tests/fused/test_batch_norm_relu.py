"""Batch norm, sum and ReLU in one operation against the three of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.fused import batch_norm_relu
from minicnn.ops import batch_norm, relu
from minicnn.shapes import ShapeError
from minicnn.testing import check_op
from minicnn.testing.strategies import calls
from tests.arrays import assert_close, dtypes, impls, untouched

residuals = st.booleans()


@impls
@given(call=calls.batch_norm(), with_residual=residuals, seed=st.integers(0, 99))
def test_equals_the_three_operations(
    impl: str, call: calls.Call, with_residual: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, *arrays = call.arrays
    assert x is not None
    residual = rng.choice([-1.0, 0.0, 1.0], x.shape).astype(x.dtype) if with_residual else None
    own, theirs = ([None if a is None else a.copy() for a in arrays] for _ in range(2))
    with untouched(x, residual):
        y, cache = batch_norm_relu.forward(x, *own, residual=residual, **call.options, impl=impl)
    z, norm = batch_norm.forward(x, *theirs, **call.options, impl="textbook")
    expected, _ = relu.forward(z if residual is None else z + residual, impl="textbook")
    assert y.dtype == x.dtype
    assert_close(y, expected, "y")
    for a, b in zip(own, theirs, strict=True):  # what runs has moved alike
        assert (a is None) == (b is None)
        if a is not None:
            assert_close(a, b, "running")
    dy = rng.standard_normal(x.shape).astype(x.dtype)
    with untouched(dy, y):
        dx, dweight, dbias, dresidual = batch_norm_relu.backward(dy, cache, impl=impl)
    # From the y that forward gave, so that rounding at the kink decides nothing.
    g = relu.backward(dy, relu.Cache(y), impl="textbook")
    wanted = batch_norm.backward(g, norm, impl="textbook")
    for name, a, b in zip(("dx", "dweight", "dbias"), (dx, dweight, dbias), wanted, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            scale = np.abs(norm.scale).max(initial=1) * max(1, x.size)
            assert_close(a, b, name, scale)
    if with_residual:
        np.testing.assert_array_equal(dresidual, g)
    else:
        assert dresidual is None


def arrays(shape: tuple[int, ...], dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    c = shape[1]
    drawn = rng.standard_normal(shape), rng.uniform(0.5, 2, c), rng.standard_normal(c)
    return [array.astype(dtype) for array in (*drawn, np.zeros(c), np.ones(c))]


@check_op(st.just(tuple(arrays((3, 2, 2, 4))[:3])), examples=1)
def test_gradients_without_a_shortcut():
    def forward(x, weight, bias):
        return batch_norm_relu.forward(x, weight, bias, training=True)

    def backward(dy, cache):
        return batch_norm_relu.backward(dy, cache)[:3]

    return forward, backward


@dtypes
def test_what_is_not_asked_for_is_none(dtype: type) -> None:
    x, *rest = arrays((4, 3, 5, 5), dtype)
    y, cache = batch_norm_relu.forward(x, *rest, residual=x, training=True)
    assert batch_norm_relu.backward(y, cache, input_grad=False)[::3] == (None, None)
    assert batch_norm_relu.backward(y, cache, param_grad=False)[1:3] == (None, None)


@impls
def test_nan_passes_and_passes_on_its_gradient(impl: str) -> None:
    x, weight, bias, mean, var = arrays((2, 1, 2, 2))
    x[0, 0, 0, 0] = np.nan
    y, cache = batch_norm_relu.forward(x, weight, bias, mean, var, impl=impl)
    dx = batch_norm_relu.backward(np.ones_like(y), cache, impl=impl)[0]
    assert np.isnan(y[0, 0, 0, 0])
    assert dx[0, 0, 0, 0] == cache.norm.scale[0]


def test_a_shortcut_of_another_shape_is_refused() -> None:
    x, *rest = arrays((2, 3, 4, 4))
    with pytest.raises(
        ShapeError,
        match=re.escape(
            "batch_norm_relu: residual must have the shape of x, (2, 3, 4, 4), got (2, 3, 4, 5)."
        ),
    ):
        batch_norm_relu.forward(x, *rest, residual=np.zeros((2, 3, 4, 5)), training=True)

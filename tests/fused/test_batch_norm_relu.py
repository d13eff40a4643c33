"""What is special about batch norm, sum and ReLU in one; what is not is in test_contract.py."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import strategies as st

from minicnn.fused import batch_norm_relu
from minicnn.ops import batch_norm
from minicnn.shapes import ShapeError
from minicnn.testing import check_op
from tests.arrays import assert_close, impls


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


@impls
@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_what_runs_moves_as_in_batch_norm(impl: str, momentum: float) -> None:
    x, weight, bias, *own = arrays((4, 3, 5, 5))
    theirs = [array.copy() for array in own]
    options = {"training": True, "momentum": momentum}
    batch_norm_relu.forward(x, weight, bias, *own, residual=x, **options, impl=impl)
    batch_norm.forward(x, weight, bias, *theirs, **options, impl="textbook")
    for a, b in zip(own, theirs, strict=True):
        assert_close(a, b, "running")


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

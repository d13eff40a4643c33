"""Linear layer and ReLU in one operation against the two of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from minicnn.fused import linear_relu
from minicnn.ops import linear, relu
from minicnn.testing.strategies import calls
from tests.arrays import assert_close, impls, untouched


@impls
@given(call=calls.linear())
def test_equals_the_two_operations(impl: str, call: calls.Call) -> None:
    with untouched(*call.arrays):
        y, cache = linear_relu.forward(*call.arrays, impl=impl)
    z, product = linear.forward(*call.arrays, impl="textbook")
    expected, _ = relu.forward(z, impl="textbook")
    assert y.dtype == call.dtype
    assert_close(y, expected, "y", np.abs(z[np.isfinite(z)]).max(initial=0))
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    with untouched(dy, y):
        gradients = linear_relu.backward(dy, cache, impl=impl)
    # From the y that forward gave, so that rounding at the kink decides nothing.
    g = relu.backward(dy, relu.Cache(y), impl="textbook")
    wanted = linear.backward(g, product, impl="textbook")
    for name, got, want in zip(("dx", "dweight", "dbias"), gradients, wanted, strict=True):
        assert (got is None) == (want is None), name
        if got is not None:
            assert want is not None
            assert_close(got, want, name, max(1, y.size))


def test_what_is_not_asked_for_is_none() -> None:
    x, weight = np.ones((2, 3)), np.ones((4, 3))
    y, cache = linear_relu.forward(x, weight, np.ones(4))
    assert linear_relu.backward(y, cache, input_grad=False)[0] is None
    assert linear_relu.backward(y, cache, param_grad=False)[1:] == (None, None)
    y, cache = linear_relu.forward(x, weight)
    assert linear_relu.backward(y, cache)[2] is None

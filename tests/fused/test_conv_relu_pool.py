"""What is special about convolution, ReLU and pool in one; what is not is in test_contract.py."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest

from minicnn.fused import conv_relu_pool
from minicnn.ops import conv2d, max_pool2d, relu
from minicnn.shapes import ShapeError
from tests.arrays import assert_close, compiled, dtypes, impls, untouched


class Case(NamedTuple):
    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pool: tuple[tuple[int, int], tuple[int, int], tuple[int, int], bool] = (
        (2, 2),
        (2, 2),
        (0, 0),
        False,
    )

    def options(self) -> dict[str, Any]:
        size, stride, padding, ceil_mode = self.pool
        return {
            "stride": self.stride, "padding": self.padding, "pool_size": size,
            "pool_stride": stride, "pool_padding": padding, "ceil_mode": ceil_mode,
        }  # fmt: skip


def whole_numbers(shape: tuple[int, ...], seed: int, dtype: type) -> np.ndarray:
    """Return numbers whose products and sums are exact, so that equal ones are equal."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)


LENET = Case((5, 1, 12, 13), (6, 1, 5, 5))
# A window of the pool sees more columns than the image has.
WIDER = Case((3, 1, 2, 4), (9, 1, 2, 4), (2, 2), (2, 0), ((2, 3), (5, 1), (0, 1), False))
BOTH = Case((3, 6, 9, 8), (33, 6, 3, 3), (1, 2), (1, 0), ((2, 2), (2, 3), (1, 1), True))
NOTHING = LENET._replace(x=(0, 1, 12, 13))
OVERLAPPING = Case((2, 2, 11, 12), (5, 2, 5, 5), pool=((3, 3), (2, 2), (1, 0), False))


# The last of an odd number of pixels is taken together with one that is not there.
ODD = [
    Case((2, c, kh + oh - 1, kw + ow - 1), (o, c, kh, kw), pool=(pool, pool, (0, 0), False))
    for c, o, kh, kw in [(1, 1, 1, 3), (2, 3, 2, 5), (1, 4, 1, 2), (3, 2, 5, 2)]
    for oh, ow, pool in [(2, 3, (2, 3)), (1, 5, (1, 2)), (4, 7, (2, 2))]
]


@impls
@dtypes
@pytest.mark.parametrize("case", [LENET, BOTH, WIDER, OVERLAPPING, NOTHING, *ODD])
def test_equals_the_three_operations(dtype: type, impl: str, case: Case) -> None:
    x, weight = whole_numbers(case.x, 1, dtype), whole_numbers(case.weight, 2, dtype)
    bias = whole_numbers(case.weight[:1], 3, dtype)
    with untouched(x, weight, bias):
        y, cache = conv_relu_pool.forward(x, weight, bias, **case.options(), impl=impl)
    z, conv = conv2d.forward(x, weight, bias, case.stride, case.padding, impl="textbook")
    passed, active = relu.forward(z, impl="textbook")
    size, stride, padding, ceil_mode = case.pool
    expected, pool = max_pool2d.forward(
        passed, size, stride, padding, 1, ceil_mode, impl="textbook"
    )  # fmt: skip
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)

    dy = whole_numbers(y.shape, 4, dtype)
    with untouched(dy, x, weight):
        gradients = conv_relu_pool.backward(dy, cache, impl=impl)
    dz = relu.backward(max_pool2d.backward(dy, pool, impl="textbook"), active, impl="textbook")
    wanted = conv2d.backward(dz, conv, impl="textbook")
    for name, got, want in zip(("dx", "dweight", "dbias"), gradients, wanted, strict=True):
        assert (got is None) == (want is None), name
        if got is not None:
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, want, err_msg=name)


def drawn(case: Case, dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = case.x, case.weight, case.weight[:1]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("case", [LENET, BOTH, OVERLAPPING])
def test_backward_may_run_twice_and_as_textbook(case: Case) -> None:
    x, weight, bias = drawn(case)
    y, cache = conv_relu_pool.forward(x, weight, bias, **case.options())
    assert isinstance(cache, conv_relu_pool.Cache)
    once, again = (conv_relu_pool.backward(y, cache) for _ in range(2))
    formula = conv_relu_pool.backward(y, cache, impl="textbook")
    for got, same, want in zip(once, again, formula, strict=True):
        np.testing.assert_array_equal(got, same)
        assert got is not None
        assert want is not None
        assert_close(got, want, "gradient")


@pytest.mark.parametrize("impl", ["direct", "winograd"])
def test_an_algorithm_that_is_asked_for_is_taken(impl: conv2d.Impl) -> None:
    x, weight, bias = drawn(Case((2, 4, 9, 8), (5, 4, 3, 3)))
    y, cache = conv_relu_pool.forward(x, weight, bias, pool_size=2, impl=impl)
    assert isinstance(cache, conv_relu_pool.Steps)
    expected, textbook = conv_relu_pool.forward(x, weight, bias, pool_size=2, impl="textbook")
    assert_close(y, expected, "y")
    gradients = conv_relu_pool.backward(y, cache, impl=impl)
    wanted = conv_relu_pool.backward(y, textbook, impl="textbook")
    for got, want in zip(gradients, wanted, strict=True):
        assert got is not None
        assert want is not None
        assert_close(got, want, "gradient")


def test_what_patches_do_not_suit_takes_the_three_operations() -> None:
    def kind(*shapes: tuple[int, ...], pool_stride: int = 2) -> type:
        x, weight = (np.ones(shape, np.float32) for shape in shapes)
        return type(conv_relu_pool.forward(x, weight, pool_size=2, pool_stride=pool_stride)[1])

    assert kind((1, 1, 28, 28), (6, 1, 5, 5)) is conv_relu_pool.Cache
    assert kind((1, 16, 8, 8), (16, 16, 3, 3)) is conv_relu_pool.Steps
    assert kind((1, 17, 28, 28), (6, 17, 5, 5)) is conv_relu_pool.Steps
    assert kind((1, 1, 28, 28), (6, 1, 5, 5), pool_stride=1) is conv_relu_pool.Steps


@compiled
def test_an_image_that_is_too_large_for_a_buffer_takes_them_too() -> None:
    x, weight = np.ones((1, 3, 224, 224), np.float32), np.ones((16, 3, 3, 3), np.float32)
    _, cache = conv_relu_pool.forward(x, weight, pool_size=2)
    assert isinstance(cache, conv_relu_pool.Steps)


@impls
def test_nan_passes_and_passes_on_its_gradient(impl: str) -> None:
    x, weight, bias = drawn(LENET)
    x[1, 0, 0, 0] = np.nan
    y, cache = conv_relu_pool.forward(x, weight, bias, pool_size=2, impl=impl)
    dy = np.zeros_like(y)
    dy[1, 2, 0, 0] = 1
    dbias = conv_relu_pool.backward(dy, cache, impl=impl)[2]
    assert np.isnan(y[1, :, 0, 0]).all()
    assert np.isfinite(y[[0, 2, 3, 4]]).all()
    assert np.isfinite(y[1, :, :, 2:]).all()
    np.testing.assert_array_equal(dbias, [0, 0, 1, 0, 0, 0])


@impls
def test_errors_are_those_of_the_operations(impl: str) -> None:
    x, weight, bias = drawn(LENET)
    with pytest.raises(ShapeError, match=re.escape("conv2d: x has 2 channels, but weight")):
        conv_relu_pool.forward(np.ones((1, 2, 9, 9)), weight, bias, pool_size=2, impl=impl)
    with pytest.raises(ShapeError, match=re.escape("conv2d: bias has 5 along o")):
        conv_relu_pool.forward(x, weight, bias[:5], pool_size=2, impl=impl)
    with pytest.raises(TypeError, match="conv2d: weight is float32 but x is float64"):
        conv_relu_pool.forward(x, weight.astype(np.float32), bias, pool_size=2, impl=impl)
    with pytest.raises(ShapeError, match="max_pool2d: the kernel does not fit along height"):
        conv_relu_pool.forward(x, weight, bias, pool_size=99, impl=impl)
    y, cache = conv_relu_pool.forward(x, weight, bias, pool_size=2, impl=impl)
    with pytest.raises(ShapeError, match="dy must have the shape of the output"):
        conv_relu_pool.backward(y[:1], cache, impl=impl)

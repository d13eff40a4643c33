"""Convolution, ReLU and max pooling in one operation against the three of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minicnn.fused import conv_relu_pool
from minicnn.ops import conv2d, max_pool2d, relu
from minicnn.shapes import ShapeError
from minicnn.testing import check_op
from minicnn.testing.strategies import LAYOUTS, arranged
from tests.arrays import assert_close, compiled, dtypes, impls, on_threads, untouched


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


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    (kh, kw), (ph, pw) = draw(pairs(1, 3)), draw(pairs(1, 3))
    stride, padding = draw(pairs(1, 3)), draw(pairs(0, 2))
    pool_padding = draw(st.integers(0, ph // 2)), draw(st.integers(0, pw // 2))
    # Sizes for which, padding included, one window of the pool at least fits, and some pixels more.
    h, w = (
        max(1, (max(1, pool - 2 * around) - 1) * step + kernel - 2 * pad) + draw(st.integers(0, 6))
        for pool, around, step, kernel, pad in zip(
            (ph, pw), pool_padding, stride, (kh, kw), padding, strict=True
        )
    )
    c, o = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4, 5, 6, 8, 9, 16, 17, 33]))
    pool = (ph, pw), draw(pairs(1, 3)), pool_padding, draw(st.booleans())
    return Case((draw(st.integers(0, 9)), c, h, w), (o, c, kh, kw), stride, padding, pool)


def whole_numbers(shape: tuple[int, ...], seed: int, dtype: type) -> np.ndarray:
    """Return numbers whose products and sums are exact, so that equal ones are equal."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)


LENET = Case((5, 1, 12, 13), (6, 1, 5, 5))
# A window of the pool sees more columns than the image has.
WIDER = Case((3, 1, 2, 4), (9, 1, 2, 4), (2, 2), (2, 0), ((2, 3), (5, 1), (0, 1), False))
BOTH = Case((3, 6, 9, 8), (33, 6, 3, 3), (1, 2), (1, 0), ((2, 2), (2, 3), (1, 1), True))
OVERLAPPING = Case((2, 2, 11, 12), (5, 2, 5, 5), pool=((3, 3), (2, 2), (1, 0), False))


@impls
@dtypes
@given(case=cases(), with_bias=st.booleans(), layout=st.sampled_from(LAYOUTS))
@example(case=LENET, with_bias=True, layout=LAYOUTS[0])
@example(case=BOTH, with_bias=True, layout=LAYOUTS[-1])
@example(case=WIDER, with_bias=True, layout=LAYOUTS[0])
@example(case=OVERLAPPING, with_bias=True, layout=LAYOUTS[0])
def test_equals_the_three_operations(
    dtype: type, impl: str, case: Case, with_bias: bool, layout: str
) -> None:
    x = arranged(whole_numbers(case.x, 1, dtype), layout)
    weight = arranged(whole_numbers(case.weight, 2, dtype), layout)
    bias = whole_numbers(case.weight[:1], 3, dtype) if with_bias else None
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

    dy = arranged(whole_numbers(y.shape, 4, dtype), layout)
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
def test_gradients(case: Case) -> None:
    @check_op(st.just(tuple(drawn(case._replace(x=(2, *case.x[1:]))))), examples=1)
    def check():
        def forward(x, weight, bias):
            return conv_relu_pool.forward(x, weight, bias, **case.options())

        return forward, conv_relu_pool.backward

    check()


@dtypes
def test_what_is_not_asked_for_is_none(dtype: type) -> None:
    x, weight, bias = drawn(LENET, dtype)
    y, cache = conv_relu_pool.forward(x, weight, bias, pool_size=2)
    all_three = conv_relu_pool.backward(y, cache)
    dx, *nothing = conv_relu_pool.backward(y, cache, param_grad=False)
    np.testing.assert_array_equal(dx, all_three[0])
    assert nothing == [None, None]
    nothing, *both = conv_relu_pool.backward(y, cache, input_grad=False)
    assert nothing is None
    for got, want in zip(both, all_three[1:], strict=True):
        np.testing.assert_array_equal(got, want)


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
    assert kind((1, 3, 224, 224), (16, 3, 3, 3)) is conv_relu_pool.Steps
    assert kind((1, 17, 28, 28), (6, 17, 5, 5)) is conv_relu_pool.Steps
    assert kind((1, 1, 28, 28), (6, 1, 5, 5), pool_stride=1) is conv_relu_pool.Steps


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


@compiled
@dtypes
def test_the_number_of_threads_changes_no_bit(dtype: type) -> None:
    x, weight, bias = drawn(LENET._replace(x=(13, 1, 12, 13)), dtype)

    def everything() -> list[bytes]:
        y, cache = conv_relu_pool.forward(x, weight, bias, pool_size=2)
        return [a.tobytes() for a in (y, *conv_relu_pool.backward(y, cache)) if a is not None]

    shared = everything()
    with on_threads(1):
        assert everything() == shared


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

"""Arrays without elements, or without axes, give what they give in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn.testing.strategies import Call, Fill
from tests import oracle
from tests.arrays import assert_close, impls


def call(name: str, *shapes: tuple[int, ...] | None, target=None, **options: Any) -> Call:
    fill = Fill(np.float32, "normal", ("contiguous",), frozen=True, seed=0)
    arrays = [None if shape is None else fill(*shape) for shape in shapes]
    if target is not None:
        arrays.append(np.asarray(target, dtype=np.int64))
    return Call(name, fill, tuple(arrays), options, 1 if target is not None else len(arrays))


def assert_like_torch(call: Call, impl: str) -> None:
    expected, dy, gradients = oracle.answer(call)
    y, cache = call.forward(impl)
    assert y.dtype == call.dtype
    assert y is not call.arrays[0]
    assert_close(y, expected, "y")
    for ours, theirs in zip(call.backward(dy, cache, impl), gradients, strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert ours is not dy
            assert_close(ours, theirs, "gradient")


NO_IMAGES = [
    call("conv2d", (0, 2, 5, 4), (3, 2, 3, 3), (3,)),
    call("conv2d", (0, 2, 5, 4), (4, 1, 2, 3), None, groups=2, padding=1, stride=2),
    call("unfold", (0, 2, 5, 4), kernel_size=3),
    call("fold", (0, 18, 6), output_size=(5, 4), kernel_size=3),
    call("max_pool2d", (0, 2, 5, 4), kernel_size=2),
    call("avg_pool2d", (0, 2, 5, 4), kernel_size=2),
    call("adaptive_avg_pool2d", (0, 2, 5, 4), output_size=2),
    call("linear", (0, 5), (4, 5), (4,)),
    call("linear", (2, 0, 5), (4, 5), (4,)),
    call("log_softmax", (0, 3), dim=1),
    call("softmax", (0, 3), dim=1),
    *[
        call(name, (0, 3), target=np.zeros(0), reduction=reduction)
        for name in ("nll_loss", "cross_entropy")
        for reduction in ("mean", "sum", "none")
    ],
]


@impls
@pytest.mark.parametrize("call", NO_IMAGES, ids=lambda call: f"{call.name} {call.options}")
def test_a_batch_of_no_images(call: Call, impl: str) -> None:
    assert_like_torch(call, impl)


ELEMENTWISE = ["relu", "leaky_relu", "gelu", "sigmoid", "tanh"]


@impls
@pytest.mark.parametrize("shape", [(0,), (2, 0, 3)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_of_nothing(name: str, shape: tuple[int, ...], impl: str) -> None:
    assert_like_torch(call(name, shape), impl)


@impls
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_of_an_array_without_axes(name: str, impl: str) -> None:
    assert_like_torch(call(name, ()), impl)


@impls
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), [((3, 0), 1), ((3, 0), 0), ((0,), 0)])
def test_softmax_of_nothing(name: str, shape: tuple[int, ...], dim: int, impl: str) -> None:
    assert_like_torch(call(name, shape, dim=dim), impl)


@impls
@pytest.mark.parametrize("shapes", [((3, 0), (4, 0), (4,)), ((3, 5), (0, 5), (0,))])
def test_linear_from_or_to_no_features(shapes, impl: str) -> None:
    assert_like_torch(call("linear", *shapes), impl)


@impls
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
def test_minus_infinity_where_the_target_is_ignored(name: str, reduction: str, impl: str) -> None:
    x = np.array([[-np.inf, 0.0], [0.5, 0.25]])
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=True, seed=0)
    arrays = (x, np.array([-100, 1]), None)
    assert_like_torch(Call(name, fill, arrays, {"reduction": reduction}), impl)


@impls
@pytest.mark.parametrize("masked", [0, 1, 2])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy"])
def test_minus_infinity_as_a_mask(name: str, masked: int, impl: str) -> None:
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=False, seed=0)
    x = fill(4, 3)
    x[1:, masked] = -np.inf
    if name == "cross_entropy":
        target = np.array([masked, (masked + 1) % 3, (masked + 2) % 3, -100])
        assert_like_torch(Call(name, fill, (x, target), {}), impl)
    else:
        assert_like_torch(Call(name, fill, (x,), {"dim": 1}), impl)


@impls
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy"])
def test_a_large_common_offset_costs_no_digits(name: str, impl: str) -> None:
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=False, seed=0)
    x = 1e6 + fill(5, 4)
    arrays = (x, np.array([0, 1, 2, 3, 0])) if name == "cross_entropy" else (x,)
    assert_like_torch(Call(name, fill, arrays, {} if len(arrays) > 1 else {"dim": 1}), impl)


@impls
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_over_classes_that_all_weigh_nothing_is_nan(smoothing: float, impl: str) -> None:
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=True, seed=0)
    arrays = (fill(2, 3), np.array([0, 2]), np.array([0.0, 1.0, 0.0]))
    call = Call("cross_entropy", fill, arrays, {"label_smoothing": smoothing})
    assert np.isnan(oracle.answer(call)[0])
    assert np.isnan(call.forward(impl)[0])


@impls
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_the_mean_over_targets_that_are_all_ignored_is_nan(
    name: str, smoothing: float, impl: str
) -> None:
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=True, seed=0)
    options = {"label_smoothing": smoothing} if name == "cross_entropy" else {}
    assert_like_torch(Call(name, fill, (fill(2, 3), np.array([-100, -100])), options), impl)

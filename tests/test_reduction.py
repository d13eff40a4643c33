"""What losses share: the sum and its transpose, and the checks of targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError
from minicnn.reduction import check_classes, check_reduction, class_weights, reduce, spread
from minicnn.testing.strategies import seeds
from tests.arrays import dtypes


@dtypes
@pytest.mark.parametrize(
    ("reduction", "expected"), [("none", [1, 2, 6]), ("sum", 9), ("mean", 4.5)]
)
def test_reduce(reduction: str, expected: object, dtype: type) -> None:
    y = reduce(np.array([1, 2, 6], dtype), 2.0, reduction)
    assert isinstance(y, np.ndarray)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    seed=seeds,
)
def test_spread_is_the_transpose_of_reduce(shape: tuple, reduction: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, total = rng.standard_normal(shape), float(rng.uniform(0.5, 3))
    y = reduce(losses, total, reduction)
    dy = rng.standard_normal(y.shape)
    grad = spread("op", dy, shape, losses.dtype, total, reduction)
    assert grad.shape == shape
    np.testing.assert_allclose((dy * y).sum(), (grad * losses).sum(), rtol=1e-12)


@dtypes
def test_the_mean_of_nothing_is_nan_and_its_gradient_zero(dtype: type) -> None:
    assert np.isnan(reduce(np.zeros(3, dtype), 0.0, "mean"))
    grad = spread("op", 1.0, (3,), np.dtype(dtype), 0.0, "mean")
    assert grad.dtype == dtype
    np.testing.assert_array_equal(grad, np.zeros(3))


def test_spread_checks_the_shape_of_dy() -> None:
    with pytest.raises(ShapeError) as error:
        spread("op", np.zeros(3), (2,), np.dtype(np.float32), 2.0, "none")
    assert str(error.value) == (
        "op: dy must have the shape of the loss, (2,) for reduction='none', got (3,)."
    )
    with pytest.raises(ShapeError) as error:
        spread("op", np.zeros(2), (2,), np.dtype(np.float32), 2.0, "mean")
    assert str(error.value) == (
        "op: dy must have the shape of the loss, () for reduction='mean', got (2,)."
    )


def test_class_weights_are_ones_or_those_given() -> None:
    np.testing.assert_array_equal(class_weights("op", None, 3, np.dtype(np.float32)), [1, 1, 1])
    weight = np.array([1.0, 2.0])
    assert class_weights("op", weight, 2, weight.dtype) is weight
    with pytest.raises(ShapeError) as error:
        class_weights("op", weight, 3, weight.dtype)
    assert str(error.value) == (
        "op: weight has 2 along classes (axis 0) where 3 is needed; its shape is (2,)."
    )


def test_check_classes_returns_which_count() -> None:
    counts = check_classes("op", np.array([0, -100, 2]), (3,), 3, -100)
    np.testing.assert_array_equal(counts, [True, False, True])


@pytest.mark.parametrize(
    ("target", "got"), [([0, 1], "list"), (np.zeros(2), "float64"), (np.zeros(2, bool), "bool")]
)
def test_targets_are_integers(target: object, got: str) -> None:
    with pytest.raises(TypeError) as error:
        check_classes("op", target, (2,), 3, -100)
    assert str(error.value) == (
        f"op: target must be an integer array of classes (labels are integers), got {got}. "
        "Use np.asarray(target, dtype=np.int64)."
    )


def test_targets_have_the_shape_of_the_input_without_classes() -> None:
    with pytest.raises(ShapeError) as error:
        check_classes("op", np.zeros((2, 1), int), (2,), 3, -100)
    assert str(error.value) == (
        "op: target has shape (2, 1) where (2,) is needed: "
        "that of the input without its class axis. Use target.reshape((2,))."
    )


@pytest.mark.parametrize("value", [3, -1])
def test_a_target_that_is_no_class_is_named(value: int) -> None:
    target = np.array([[0, 1], [2, value]])
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        check_classes("op", target, (2, 2), 3, -100)
    assert str(error.value) == (
        f"op: target {value} at index (1, 1) is not a class: there are 3, 0 to 2. Correct the "
        f"label, or leave it out with ignore_index={value}."
    )


def test_check_reduction() -> None:
    with pytest.raises(ValueError, match=r"^op: reduction must be one of mean, sum, none, got 'x'"):
        check_reduction("op", "x")

"""Losses by hand, and targets of every integer type."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minicnn.ops import cross_entropy, log_softmax, nll_loss, softmax
from tests.arrays import impls

LOGITS = np.array([[0.0, math.log(2), math.log(5)], [math.log(4), 0.0, math.log(3)]])
TARGET = np.array([2, 1])  # of probability 5/8 and 1/8
LOSSES = [math.log(8 / 5), math.log(8)]


@impls
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reduction": "none"}, LOSSES),
        ({"reduction": "sum"}, sum(LOSSES)),
        ({}, sum(LOSSES) / 2),
        ({"ignore_index": 1}, LOSSES[0]),
        ({"weight": np.array([9.0, 1.0, 3.0])}, (3 * LOSSES[0] + LOSSES[1]) / 4),
    ],
)
def test_by_hand(options: dict, expected: object, impl: str) -> None:
    y, _ = cross_entropy.forward(LOGITS, TARGET, **options, impl=impl)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    log_p, _ = log_softmax.forward(LOGITS, 1, impl=impl)
    y, _ = nll_loss.forward(log_p, TARGET, **options, impl=impl)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@impls
def test_smoothing_mixes_in_the_uniform_distribution(impl: str) -> None:
    y, _ = cross_entropy.forward(LOGITS[:1], TARGET[:1], label_smoothing=0.3, impl=impl)
    log_p = np.log([1 / 8, 2 / 8, 5 / 8])
    np.testing.assert_allclose(y, -0.7 * log_p[2] - 0.3 * log_p.mean(), rtol=1e-12)


@impls
def test_the_gradient_is_probability_minus_target(impl: str) -> None:
    _, cache = cross_entropy.forward(LOGITS, TARGET, reduction="sum", impl=impl)
    dx = cross_entropy.backward(1.0, cache, impl=impl)
    expected = np.array([[1 / 8, 2 / 8, 5 / 8 - 1], [4 / 8, 1 / 8 - 1, 3 / 8]])
    np.testing.assert_allclose(dx, expected, rtol=1e-12)


@impls
def test_a_negative_ignore_index_is_no_class_and_may_stand_beside_probabilities(impl: str) -> None:
    target = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    y, wanted = (
        cross_entropy.forward(LOGITS, target, ignore_index=i, impl=impl)[0] for i in (-1, -100)
    )
    assert y == wanted


@impls
@pytest.mark.parametrize("op", [softmax, log_softmax])
def test_the_last_axis_is_taken_unless_another_is_given(op, impl: str) -> None:
    x = np.sin(np.arange(24.0)).reshape(2, 3, 4)
    y, taken = (op.forward(x, *dim, impl=impl)[0] for dim in ([], [2]))
    np.testing.assert_array_equal(y, taken)


@impls
@pytest.mark.parametrize("kind", [np.uint8, np.int32])
@pytest.mark.parametrize("loss", [cross_entropy, nll_loss])
def test_targets_of_every_integer_type(loss, kind: type, impl: str) -> None:
    y, cache = loss.forward(LOGITS, TARGET.astype(kind), impl=impl)
    wanted, wanted_cache = loss.forward(LOGITS, TARGET, impl=impl)
    assert y == wanted
    np.testing.assert_array_equal(
        loss.backward(1.0, cache, impl=impl), loss.backward(1.0, wanted_cache, impl=impl)
    )


@impls
@pytest.mark.parametrize("loss", [cross_entropy, nll_loss])
def test_the_first_wrong_label_is_named_with_its_place(loss, impl: str) -> None:
    with pytest.raises(ValueError, match=r"target 7 at index \(1,\) is not a class: there are 3"):
        loss.forward(LOGITS, np.array([0, 7]), impl=impl)

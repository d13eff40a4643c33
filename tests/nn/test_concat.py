"""Branches side by side: gradients, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError, nn
from minicnn.nn.summary import summarize
from minicnn.testing import gradcheck
from tests.arrays import impls, large


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return rng(1).standard_normal(shape)


def conv(inward: int, outward: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, side, padding=side // 2, rng=rng(outward), dtype=np.float64)


def inception() -> nn.Concat:
    return nn.Concat(
        one=conv(3, 2, 1),
        three=nn.Sequential(conv(3, 2, 1), nn.Tanh(), conv(2, 4)),
        pool=nn.Sequential(nn.AvgPool2d(3, 1, padding=1), conv(3, 1, 1)),
    )


X = numbers(2, 3, 6, 5)


@impls
def test_the_gradients(impl: str) -> None:
    report = gradcheck(inception().set_impl(impl), X, elements=40)
    assert [a.name for a in report.arguments][:2] == ["x", "one.weight"]


def test_channels_stand_in_the_order_of_the_branches() -> None:
    block = inception()
    y = block(X)
    assert y.shape == (2, 7, 6, 5)
    for branch, part in zip(block.branches(), np.split(y, [2, 6], axis=1), strict=True):
        np.testing.assert_array_equal(branch[0](X), part)


def test_each_branch_receives_the_gradient_of_its_channels() -> None:
    block = inception()
    y, cache = block.forward(X, training=True)
    dy = numbers(*y.shape)
    dx = block.backward(dy, cache)
    apart = 0
    for (branch,), part in zip(block.branches(), np.split(dy, [2, 6], axis=1), strict=True):
        grads = [param.grad.copy() for param in branch.parameters()]
        branch.zero_grad()
        apart = apart + branch.backward(part, branch.forward(X, training=True)[1])
        for param, grad in zip(branch.parameters(), grads, strict=True):
            np.testing.assert_allclose(param.grad, grad, rtol=1e-12)
    np.testing.assert_allclose(dx, apart, rtol=1e-12)


@large
def test_an_empty_branch_hands_x_on() -> None:
    """As in a dense layer."""
    dense = nn.Concat(nn.Sequential(), nn.Sequential(conv(3, 2), nn.Tanh()))
    np.testing.assert_array_equal(dense(X)[:, :3], X)
    assert gradcheck(dense, X).ok
    assert gradcheck(nn.Sequential(dense, nn.Concat(nn.Sequential(), conv(5, 1))), X).ok


def test_one_branch_is_itself() -> None:
    layer = conv(3, 2)
    np.testing.assert_array_equal(nn.Concat(layer)(X), layer(X))
    assert gradcheck(nn.Concat(layer), X).ok


@pytest.mark.slow
def test_blocks_within_blocks() -> None:
    block = nn.Concat(inception(), nn.Residual(nn.Sequential(inception(), conv(7, 3)), nn.ReLU()))
    assert block.output_shape((3, 6, 5)) == (10, 6, 5)
    assert gradcheck(block, X, elements=10).ok


def test_a_module_in_two_branches_receives_both_gradients() -> None:
    shared = conv(3, 3)
    block = nn.Concat(shared, nn.Sequential(shared, nn.Tanh(), shared))
    assert [name for name, _ in block.named_parameters()] == ["0.weight", "0.bias"]
    assert gradcheck(block, X, elements=25).ok


def test_branches_of_vectors() -> None:
    def layer(features: int) -> nn.Linear:
        return nn.Linear(4, features, rng=rng(), dtype=np.float64)

    block = nn.Concat(layer(2), layer(3))
    assert block.output_shape((4,)) == (5,)
    assert gradcheck(block, numbers(3, 4)).ok


@impls
def test_without_input_grad_the_parameters_receive_the_same(impl: str) -> None:
    block = inception().set_impl(impl)
    y, cache = block.forward(X, training=True)
    dy = numbers(*y.shape)
    block.backward(dy, cache)
    grads = [param.grad.copy() for param in block.parameters()]
    block.zero_grad()
    assert block.backward(dy, cache, input_grad=False) is None
    for param, grad in zip(block.parameters(), grads, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


class Stubborn(nn.Module):
    """Has no gradient for its input."""

    def forward(self, x, *, training):
        return x, None

    def backward(self, dy, cache, *, input_grad=True):
        raise AssertionError("nobody needs this gradient")


def test_without_input_grad_a_branch_goes_back_no_further_than_to_its_first_parameter() -> None:
    block = nn.Concat(nn.Sequential(Stubborn(), conv(3, 2), nn.Tanh()), Stubborn())
    y, cache = block.forward(X, training=True)
    assert block.backward(np.ones_like(y), cache, input_grad=False) is None
    assert block.parameters()[0].grad.any()


def test_branches_that_do_not_join_are_rejected() -> None:
    block = nn.Concat(conv(3, 2), nn.MaxPool2d(2))
    message = (
        "Concat: the branches give {}; only shapes that differ only in the channels can be "
        "joined. Use padding within the branches, so that each keeps the size of the image."
    )
    with pytest.raises(ShapeError) as error:
        block.forward(X, training=True)
    assert str(error.value) == message.format("(2, 2, 6, 5), (2, 3, 3, 2)")
    with pytest.raises(ShapeError) as error:
        block.output_shape((3, 6, 5))
    assert str(error.value) == message.format("(2, 6, 5), (3, 3, 2)")


def test_what_makes_no_block_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^Concat: at least one branch is needed\.$"):
        nn.Concat()
    with pytest.raises(TypeError, match=r"^Concat: 0 must be a Module, got 3\.$"):
        nn.Concat(3)
    with pytest.raises(ValueError, match=r"^Concat: 'branches' is taken; choose another name\.$"):
        nn.Concat(branches=nn.ReLU())


def test_the_row_of_a_block() -> None:
    (row,) = summarize(inception(), (3, 6, 5))
    products = 30 * (2 * 3 + 2 * 3 + 4 * 2 * 9 + 3)
    parameters = 8 + 8 + 76 + 4
    assert row == ("model", "Concat", (7, 6, 5), parameters, products, (3, 3))


def test_a_branch_that_sees_all_makes_a_block_that_sees_all() -> None:
    everywhere = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, rng=rng()))
    vector = nn.Concat(everywhere, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    (row,) = summarize(vector, (3, 6, 5))
    assert row.output == (5,)
    assert row.field is None

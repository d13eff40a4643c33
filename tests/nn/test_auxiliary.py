"""Heads that leave a chain: outputs and gradients as tuples in training, the chain in inference."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn
from minicnn.nn.summary import as_text, summarize
from minicnn.testing import gradcheck
from tests.arrays import impls, large


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return rng(1).standard_normal(shape)


def conv(inward: int, outward: int) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, padding=1, rng=rng(outward), dtype=np.float64)


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3, rng=rng(), dtype=np.float64)
    )


def network(heads: int = 2) -> nn.AuxiliaryHeads:
    stages = [
        nn.Sequential(conv(2, 3), nn.Tanh()),
        nn.Sequential(conv(3, 4), nn.Tanh(), nn.MaxPool2d(2)),
        head(4),
    ]
    return nn.AuxiliaryHeads(stages, [head(3), head(4)][:heads])


X = numbers(4, 2, 6, 5)


class Joined(nn.Module):
    """The outputs of a network with heads beside each other, as one array."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def forward(self, x, *, training):
        outputs, cache = self.model.forward(x, training=training)
        return np.concatenate(outputs, axis=1), cache

    def backward(self, dy, cache, *, input_grad=True):
        parts = tuple(np.split(dy, dy.shape[1] // 3, axis=1))
        return self.model.backward(parts, cache, input_grad=input_grad)


@large
@impls
@pytest.mark.parametrize("heads", [1, 2])
def test_the_gradients_of_all_losses(heads: int, impl: str) -> None:
    report = gradcheck(Joined(network(heads).set_impl(impl)), X, elements=20)
    assert "model.head1.2.weight" in [argument.name for argument in report.arguments]


def test_outputs_stand_in_the_order_chain_last_head_first_head() -> None:
    model = network()
    y, late, early = model.forward(X, training=True)[0]
    h1 = model.stage1(X)
    h2 = model.stage2(h1)
    for actual, expected in [
        (y, model.stage3(h2)),
        (late, model.head2(h2)),
        (early, model.head1(h1)),
    ]:
        np.testing.assert_array_equal(actual, expected)


def test_inference_gives_the_chain_alone() -> None:
    model = network()
    y, cache = model.forward(X, training=False)
    np.testing.assert_array_equal(y, model.forward(X, training=True)[0][0])
    np.testing.assert_array_equal(model(X), y)
    dy = numbers(*y.shape)
    dx = model.backward(dy, cache)
    assert not model.head1[2].weight.grad.any()
    chain = nn.Sequential(model.stage1, model.stage2, model.stage3)
    np.testing.assert_array_equal(dx, chain.backward(dy, chain.forward(X, training=False)[1]))


@large
def test_without_heads_it_is_a_chain() -> None:
    model = network(heads=0)
    y, cache = model.forward(X, training=True)
    assert y.shape == (4, 3)
    assert model.backward(np.ones_like(y), cache).shape == X.shape
    assert gradcheck(model, X, elements=20).ok


def test_gradients_of_the_losses_add() -> None:
    """With a zero for the loss of a head, the gradient is that of the others."""
    model = network()
    outputs, cache = model.forward(X, training=True)
    dys = [numbers(*y.shape) * scale for y, scale in zip(outputs, (1, 0.3, 0.3), strict=True)]
    total = model.backward(tuple(dys), cache)
    grads = [param.grad.copy() for param in model.parameters()]
    model.zero_grad()
    apart = 0
    for i in range(3):
        alone = tuple(dy if i == j else 0 * dy for j, dy in enumerate(dys))
        apart = apart + model.backward(alone, cache)
    np.testing.assert_allclose(total, apart, rtol=1e-10, atol=1e-14)
    for param, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_allclose(param.grad, grad, rtol=1e-10, atol=1e-14)


@impls
def test_without_input_grad_the_parameters_receive_the_same(impl: str) -> None:
    model = network().set_impl(impl)
    outputs, cache = model.forward(X, training=True)
    dy = tuple(numbers(*y.shape) for y in outputs)
    model.backward(dy, cache)
    grads = [param.grad.copy() for param in model.parameters()]
    model.zero_grad()
    assert model.backward(dy, cache, input_grad=False) is None
    for param, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


class Watched(nn.Module):
    """A layer by itself that remembers what its backward was asked for."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.asked = layer, []

    def forward(self, x, *, training):
        return self.layer.forward(x, training=training)

    def backward(self, dy, cache, *, input_grad=True):
        self.asked.append(input_grad)
        return self.layer.backward(dy, cache, input_grad=input_grad)


@pytest.mark.parametrize("learning", ["", "stage1", "stage2", "stage3", "head1", "head2"])
@pytest.mark.parametrize("input_grad", [True, False])
def test_backward_goes_no_lower_than_what_learns(learning: str, input_grad: bool) -> None:
    parts = {name: Watched(part) for name, part in network().named_children()}
    stages, heads = ([parts[name] for name in parts if kind in name] for kind in ("stage", "head"))
    model = nn.AuxiliaryHeads(stages, heads)
    outputs, cache = model.forward(X, training=True)
    dy = tuple(numbers(*y.shape) for y in outputs)
    dx = model.backward(dy, cache)
    grads = {name: param.grad.copy() for name, param in model.named_parameters()}
    model.zero_grad()
    for part in parts.values():
        part.asked.clear()
    model.freeze()
    if learning:
        getattr(model, learning).freeze(False)
    again = model.backward(dy, cache, input_grad=input_grad)
    assert input_grad or again is None
    if input_grad:
        np.testing.assert_array_equal(again, dx)
    for name, param in model.named_parameters():
        expected = grads[name] if learning and name.startswith(learning) else 0
        np.testing.assert_array_equal(param.grad, expected, err_msg=name)
    above = {  # what stands above the lowest stage that learns, which alone is not asked
        "stage1": ["stage3", "stage2", "head2", "head1"], "stage2": ["stage3", "head2"],
    }.get(learning, [])  # fmt: skip
    for name, part in parts.items():
        if input_grad or name in above:
            assert part.asked == [True], name
        else:
            assert part.asked == ([False] if name == learning or "head" in name else []), name


def test_heads_are_in_training_when_the_chain_is() -> None:
    wet = nn.Sequential(nn.Dropout(0.5, rng=rng()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.AuxiliaryHeads([nn.ReLU(), nn.ReLU()], [wet])
    first, second = (model.forward(X, training=True)[0][1] for _ in range(2))
    assert (first != second).any()


def test_gradients_come_in_any_sequence() -> None:
    model = network()
    outputs, cache = model.forward(X, training=True)
    dy = [numbers(*y.shape) for y in outputs]
    np.testing.assert_array_equal(model.backward(dy, cache), model.backward(tuple(dy), cache))
    with pytest.raises(ValueError, match=r"had 3 outputs, and backward needs .* got 2"):
        model.backward(dy[:2], cache)


def test_a_gradient_is_needed_for_every_output() -> None:
    model = network()
    (y, *_), cache = model.forward(X, training=True)
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        model.backward(y, cache)
    assert str(error.value) == (
        "AuxiliaryHeads: this forward had 3 outputs, and backward needs a gradient for each, got "
        "1. With heads in training, give a tuple in the order of the outputs."
    )
    with pytest.raises(ValueError, match=r"had 1 outputs, and backward needs .* got 2"):
        model.backward((y, y), model.forward(X, training=False)[1])


def test_the_last_stage_has_no_head() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        nn.AuxiliaryHeads([conv(2, 3)], [head(3)])
    assert str(error.value) == (
        "AuxiliaryHeads: 1 heads on 1 stages. The last stage has no head, so there must be one "
        "stage more than heads."
    )


def test_the_summary_has_heads_where_they_leave_the_chain() -> None:
    model, image = network(), (2, 6, 5)
    rows = summarize(model, image)
    assert [(row.name, row.output, row.parameters, row.multiply_adds) for row in rows] == [
        ("stage1.0", (3, 6, 5), 57, 30 * 54),
        ("stage1.1", (3, 6, 5), 0, 0),
        ("head1", (3,), 12, 0),
        ("stage2.0", (4, 6, 5), 112, 30 * 108),
        ("stage2.1", (4, 6, 5), 0, 0),
        ("stage2.2", (4, 3, 2), 0, 0),
        ("head2", (3,), 15, 0),
        ("stage3.0", (4, 1, 1), 0, 0),
        ("stage3.1", (4,), 0, 0),
        ("stage3.2", (3,), 15, 12),
    ]
    assert rows[3].field == (5, 5)
    assert model.multiply_adds(image) == sum(row.multiply_adds for row in rows)
    assert model.output_shape(image) == (3,)
    assert model.window(image) is None
    assert "head1" in as_text(rows, image)

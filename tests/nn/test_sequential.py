"""The chain of modules: names, order, and how far down the gradient goes."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import nn


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Recorder(nn.Module):
    """The identity; notes each backward and whether its input's gradient was asked for."""

    def __init__(self, notes: list, learns: bool) -> None:
        self.notes = notes
        if learns:
            self.weight = nn.Param(np.zeros(1, np.float32))

    def forward(self, x, *, training):
        return x, len(self.notes)

    def backward(self, dy, cache, *, input_grad=True):
        self.notes.append((self, input_grad))
        return dy if input_grad else None


def chain(*learns: bool) -> tuple[nn.Sequential, list]:
    notes: list = []
    return nn.Sequential(*[Recorder(notes, one) for one in learns]), notes


def visited(model: nn.Sequential, notes: list) -> list[tuple[int, bool]]:
    modules = [model[i] for i in range(len(model))]
    return [(modules.index(module), input_grad) for module, input_grad in notes]


def test_names_are_numbers_or_as_written() -> None:
    a, b = nn.ReLU(), nn.Tanh()
    assert [n for n, _ in nn.Sequential(a, b).named_children()] == ["0", "1"]
    assert [n for n, _ in nn.Sequential(first=a, second=b).named_children()] == ["first", "second"]
    model = nn.Sequential(a, last=b)
    assert len(model) == 2
    assert model[0] is a
    assert model[-1] is model.last is b


def test_an_empty_chain_is_the_identity() -> None:
    x = np.ones((2, 3))
    y, cache = nn.Sequential().forward(x, training=True)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(nn.Sequential().backward(x, cache), x)


def test_what_is_no_module_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"^Sequential: 1 must be a Module, got 'relu'\.$"):
        nn.Sequential(nn.ReLU(), "relu")


@pytest.mark.parametrize("name", ["forward", "impl", "freeze"])
def test_a_name_that_a_module_needs_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=f"^Sequential: '{name}' is taken; choose another name.$"):
        nn.Sequential(**{name: nn.ReLU()})


@pytest.mark.parametrize(
    ("learns", "input_grad", "expected"),
    [
        ((True, False, True), True, [(2, True), (1, True), (0, True)]),
        ((True, False, True), False, [(2, True), (1, True), (0, False)]),
        ((False, False, True), False, [(2, False)]),
        ((False, True, False), False, [(2, True), (1, False)]),
        ((False, False, False), False, []),
    ],
)
def test_the_gradient_goes_down_to_where_it_is_needed(learns, input_grad, expected) -> None:
    model, notes = chain(*learns)
    dy = np.ones((1, 1))
    _, cache = model.forward(dy, training=True)
    dx = model.backward(dy, cache, input_grad=input_grad)
    assert (dx is not None) == input_grad
    assert visited(model, notes) == expected


def test_a_frozen_module_needs_no_gradient() -> None:
    model, notes = chain(True, True)
    model[0].freeze()
    _, cache = model.forward(np.ones((1, 1)), training=True)
    model.backward(np.ones((1, 1)), cache, input_grad=False)
    assert visited(model, notes) == [(1, False)]


def test_training_reaches_the_modules() -> None:
    model = nn.Sequential(nn.Sequential(nn.Dropout(0.5, rng=rng())))
    x = np.ones(1000, np.float32)
    assert (model.forward(x, training=True)[0] == 0).any()
    assert (model.forward(x, training=False)[0] == x).all()


def test_the_window_of_a_chain_is_that_of_one_kernel_that_sees_as_much() -> None:
    def conv(kernel: tuple[int, int], **options) -> nn.Conv2d:
        return nn.Conv2d(1, 1, kernel, rng=rng(), **options)

    layers = conv((3, 2), stride=(2, 3)), conv((2, 4), dilation=(3, 1)), nn.MaxPool2d((1, 2))
    whole = nn.Sequential(nn.Flatten(), nn.Linear(54, 2, rng=rng()))
    # Down: 3, then 3 more units 2 pixels apart. Across: 2, then 3 units 3 apart, then 1 of 3.
    expected = (3 + 3 * 2, 2 + 3 * 3 + 3), (2, 6), (1, 1)
    assert nn.Sequential(*layers).window((1, 20, 40)) == expected
    assert nn.Sequential(*layers, whole).window((1, 20, 40)) is None
    assert nn.Sequential().window((1, 5, 5)) == ((1, 1), (1, 1), (1, 1))

"""What a network of the reader's own lacks is said before it is trained."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError, nn
from minicnn.models import trial

IMAGE = (1, 4, 4)


class NoBack(nn.Linear):
    def backward(self, dy, cache, *, input_grad=True):
        pass


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def check(model: nn.Module) -> None:
    trial.check("net", model, IMAGE, 3)


def test_a_network_that_learns_is_left_in_peace():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, rng=rng()), nn.Softmax())
    check(model)
    assert not model.parameters()[0].grad.any()


def test_a_backward_that_does_nothing_is_said():
    model = nn.Sequential(nn.Flatten(), NoBack(16, 3, rng=rng()))
    with pytest.raises(TypeError, match=r"^net: after its backward no param"):
        check(model)


def test_parameters_without_a_gradient_are_named():
    model = nn.Sequential(nn.Flatten(), NoBack(16, 8, rng=rng()), nn.Linear(8, 3, rng=rng()))
    with pytest.warns(trial.NotLearnt, match=r"will not learn: 1\.weight, 1\.bias\. "):
        check(model)
    for param in model[1].parameters():
        param.trainable = False  # on purpose
    check(model)


def test_parameters_whose_gradient_is_zero_are_learnt():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, rng=rng()), nn.Linear(8, 3, rng=rng()))
    model[2].weight.data[...] = 0  # so the layer before has gradients, of zero
    check(model)


def test_a_layer_that_gives_no_gradient_to_the_one_before_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, rng=rng()), NoBack(8, 3, rng=rng()))
    with pytest.raises(TypeError, match=r"NoBack: its backward returned no gradient.*layer 2 of a"):
        check(model)
    with pytest.raises(ShapeError, match="does not take images"):
        trial.check("net", model, (1, 5, 5), 3)

"""The networks of the courses against torch: logits and the gradient of every parameter."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn as theirs

from minicnn import models, nn
from tests.arrays import assert_close, impls, whole_networks
from tests.oracle import device, to_numpy, to_torch


def chain(**layers: theirs.Module) -> theirs.Sequential:
    return theirs.Sequential(OrderedDict(layers))


def lenet5() -> theirs.Sequential:
    return chain(
        conv1=theirs.Conv2d(1, 6, 5), act1=theirs.ReLU(), pool1=theirs.MaxPool2d(2),
        conv2=theirs.Conv2d(6, 16, 5), act2=theirs.ReLU(), pool2=theirs.MaxPool2d(2),
        flatten=theirs.Flatten(),
        fc1=theirs.Linear(16 * 4 * 4, 120), act3=theirs.ReLU(),
        fc2=theirs.Linear(120, 84), act4=theirs.ReLU(),
        fc3=theirs.Linear(84, 10),
    )  # fmt: skip


def lenet5_1998() -> theirs.Sequential:
    return chain(
        conv1=theirs.Conv2d(1, 6, 5, padding=2), act1=theirs.Tanh(), pool1=theirs.AvgPool2d(2),
        conv2=theirs.Conv2d(6, 16, 5), act2=theirs.Tanh(), pool2=theirs.AvgPool2d(2),
        flatten=theirs.Flatten(),
        fc1=theirs.Linear(16 * 5 * 5, 120), act3=theirs.Tanh(),
        fc2=theirs.Linear(120, 84), act4=theirs.Tanh(),
        fc3=theirs.Linear(84, 10),
    )  # fmt: skip


def cnn3() -> theirs.Sequential:
    return chain(
        conv1=theirs.Conv2d(1, 16, 5), act1=theirs.ReLU(),
        conv2=theirs.Conv2d(16, 32, 5), act2=theirs.ReLU(), pool2=theirs.MaxPool2d(2),
        conv3=theirs.Conv2d(32, 64, 5), act3=theirs.ReLU(), pool3=theirs.MaxPool2d(2),
        flatten=theirs.Flatten(),
        fc1=theirs.Linear(576, 100), act4=theirs.ReLU(),
        fc2=theirs.Linear(100, 10),
    )  # fmt: skip


def convnet() -> theirs.Sequential:
    return chain(
        conv1=theirs.Conv2d(1, 10, 5), pool1=theirs.MaxPool2d(2), act1=theirs.ReLU(),
        conv2=theirs.Conv2d(10, 20, 5), pool2=theirs.MaxPool2d(2), act2=theirs.ReLU(),
        flatten=theirs.Flatten(),
        fc=theirs.Linear(320, 10),
        log_softmax=theirs.LogSoftmax(dim=1),
    )  # fmt: skip


NETWORKS = {"lenet5": lenet5, "lenet5-1998": lenet5_1998, "cnn3": cnn3, "convnet": convnet}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_in_the_state_dict_are_torchs(name: str) -> None:
    expected = {key: tuple(value.shape) for key, value in NETWORKS[name]().state_dict().items()}
    ours = {key: value.shape for key, value in models.create(name).state_dict().items()}
    assert list(ours.items()) == list(expected.items())


def test_torchs_weights_move_here_and_back() -> None:
    source = lenet5()
    model = models.create("lenet5")
    model.load_state_dict({key: value.numpy() for key, value in source.state_dict().items()})
    target = lenet5()
    target.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])


def passes(model: nn.Module, network: theirs.Module, x: np.ndarray, target: np.ndarray):
    """Return (ours, torch's) logits, loss and gradients by name, with the weights of ``model``."""
    state = {key: torch.from_numpy(value) for key, value in model.state_dict().items()}
    network.double().load_state_dict(state)
    network.to(device())
    logits = network(to_torch(x))
    loss = theirs.functional.cross_entropy(logits, to_torch(target))
    loss.backward()
    y, cache = model.forward(x, training=True)
    criterion = nn.CrossEntropyLoss(impl=model.impl)
    value, loss_cache = criterion.forward(y, target)
    assert model.backward(criterion.backward(1.0, loss_cache), cache, input_grad=False) is None
    ours = {"logits": y, "loss": value} | {k: p.grad for k, p in model.named_parameters()}
    expected = {"logits": logits, "loss": loss} | {k: p.grad for k, p in network.named_parameters()}
    return ours, {key: to_numpy(tensor) for key, tensor in expected.items()}


@whole_networks
@impls
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("images", [1, 11])
def test_logits_and_all_gradients(name: str, images: int, impl: str) -> None:
    rng = np.random.default_rng(images)
    model = models.create(name, rng=rng).astype(np.float64).set_impl(impl)
    x, target = rng.standard_normal((images, 1, 28, 28)), rng.integers(0, 10, images)
    ours, expected = passes(model, NETWORKS[name](), x, target)
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert np.abs(value).max() > 0
        assert_close(ours[key], value, key)


@whole_networks
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_all_gradients_in_float32(name: str) -> None:
    rng = np.random.default_rng(7)
    model = models.create(name, rng=rng)
    x = rng.standard_normal((64, 1, 28, 28)).astype(np.float32)
    ours, expected = passes(model, NETWORKS[name](), x, rng.integers(0, 10, 64))
    for key, value in expected.items():
        assert ours[key].dtype == np.float32
        assert_close(ours[key], value, key)

"""What a learner writes in the first hour, and is told: each message says what to write instead."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn import data, nn, optim
from minicnn.data import DataError, Dataset, Normalization
from minicnn.ops import conv2d

rng = np.random.default_rng(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, rng=rng))
x = rng.standard_normal((4, 1, 4, 4), dtype=np.float32)
logits, cache = net.forward(x, training=True)
labels = np.array([0, 1, 2, 1])
few = Dataset("few", np.zeros((4, 4, 4, 1), np.uint8), labels, ("a", "b", "c"))
normalization = Normalization((0.5,), (0.5,))
parts = data.Splits(few, few, few)


def cross_entropy(target: Any) -> Callable[[], Any]:
    return lambda: nn.CrossEntropyLoss().forward(logits, target)


def nll(target: Any) -> Callable[[], Any]:
    return lambda: nn.NLLLoss().forward(logits, target)


MISTAKES = [
    # batches
    (lambda: net((x, labels)), "a loader gives (images, labels): take the array out of the tuple"),
    (lambda: net(net.forward(x, training=False)), "forward returns (y, cache)"),
    (lambda: data.Loader(few, 2), "Use normalization=data.normalization(train)"),
    (lambda: data.Loader(few, 2, normalization=few), "must be a Normalization, got Dataset."),
    (lambda: data.Loader((x, labels), 2), "got tuple. Use data.from_arrays(images, labels)."),
    (lambda: data.Loader(parts, 2), "got Splits. Take one of its parts: .train, .validation"),
    (lambda: data.normalize(few.images[0], normalization), "make a batch: image[None]"),
    (lambda: data.normalize(few.images / 255, normalization), "must be uint8 from 0 to 255"),
    (lambda: nn.Conv2d(1, 2, 3, rng=rng)(x[0]), "Of one image make a batch: x[None]."),
    (lambda: nn.Conv2d(1, 2, 3, rng=rng)(x[:, 0]), "channels get one: x[:, None]."),
    (
        lambda: nn.Conv2d(1, 2, 3, rng=rng)(x.transpose(0, 2, 3, 1)),
        "If its channels are last, use x.transpose(0, 3, 1, 2).",
    ),
    (
        lambda: conv2d.prepare(np.ones((2, 1, 3, 3), np.float32))(x.transpose(0, 2, 3, 1)),
        "got (4, 4, 4, 1). If its channels are last, use x.transpose(0, 3, 1, 2).",
    ),
    # labels
    (cross_entropy(labels.astype(float)), "(labels are integers), got float64. Use np.asarray("),
    (cross_entropy(labels.astype(np.float32)), "(labels are integers), got float32. Use np.asar"),
    (cross_entropy(labels[:, None].astype(np.float32)), "target probabilities have shape (4, 1)"),
    (cross_entropy(labels.tolist()), "(labels are integers), got list. Use np.asarray(target"),
    (cross_entropy(np.array(list("abcb"))), "np.unique(target, return_inverse=True)[1]"),
    (cross_entropy(np.eye(3, dtype=int)[labels]), "It looks one-hot: use target.argmax(axis=1)."),
    (cross_entropy(labels[:, None]), "Use target.reshape((4,))."),
    (nll(labels.astype(float)), "(labels are integers), got float64."),
    (nll(np.eye(3, dtype=int)[labels]), "It looks one-hot: use target.argmax(axis=1)."),
    # optimisers
    (lambda: optim.Adam(nn.Linear), "got the class Linear. Use for example Adam(model, lr=0.01)."),
    (lambda: optim.Adam(net.parameters), "got the function parameters, which is not called."),
    (lambda: optim.Adam(net.named_parameters()), "is a tuple, which lacks data, grad or trainable"),
    (lambda: optim.SGD(net.state_dict(), 0.1), "Pass the network itself, or what its parameters()"),
    (lambda: optim.CosineLR(0.1, T_max=5).step(), "use apply(optimizer, step)"),
    # networks
    (lambda: nn.Sequential([nn.ReLU()]), "Write Sequential(*layers), with a star."),
    (lambda: nn.Sequential(nn.ReLU), "Write ReLU(...), with parentheses."),
    (lambda: nn.Linear(2, 2, rng=7), "got int. Use rng=np.random.default_rng(7)."),
    (lambda: nn.Dropout(rng=None), "got NoneType. Use rng=np.random.default_rng(0)."),
    (lambda: net.train(), "training is an argument: forward(x, training=True)"),
    (lambda: net.eval(), "or model(x)"),
    (lambda: net.to("cuda"), "minicnn computes on the CPU"),
    (lambda: net.requires_grad_(False), "use freeze()"),
]


@pytest.mark.parametrize(("mistake", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_the_message_says_what_to_write(mistake: Callable[[], Any], told: str) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError, DataError), match=re.escape(told)):
        mistake()


def test_what_learners_write_works() -> None:
    loader = data.Loader(few, 2, normalization=normalization)
    optimizer, loss_function = optim.Adam(net), nn.CrossEntropyLoss()
    for images, target in loader:
        y, seen = net.forward(images, training=True)
        loss, loss_cache = loss_function.forward(y, target)
        assert loss_function(y, target) == loss
        net.backward(loss_function.backward(1.0, loss_cache), seen)
        optimizer.step()
    assert nn.NLLLoss()(logits, labels) == nn.NLLLoss().forward(logits, labels)[0]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_step_before_any_backward_is_told_once(kind: type) -> None:
    optimizer = kind(nn.Linear(2, 2, rng=rng), lr=0.1)
    with pytest.warns(UserWarning, match=r"backward after zero_grad\(\) and") as told:
        optimizer.step()
    assert told[0].filename == __file__
    optimizer.step()


def test_a_step_after_backward_is_not() -> None:
    layer = nn.Linear(2, 2, rng=rng)
    optimizer = optim.SGD(layer, lr=0.1)
    layer.bias.grad[0] = 1e-30
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()  # a dead network later on is no mistake of the loop
    frozen = optim.SGD(nn.Linear(2, 2, rng=rng).freeze(), lr=0.1)
    frozen.step()


def test_an_optimiser_that_goes_on_is_not() -> None:
    layer = nn.Linear(2, 2, rng=rng)
    before = optim.Adam(layer)
    layer.weight.grad[...] = 1
    before.step()
    after = optim.Adam(layer)
    after.load_state_dict(before.state_dict())
    after.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after.step()


def test_names_that_a_module_lacks_are_still_errors_of_the_usual_kind() -> None:
    assert not hasattr(net, "train")
    assert getattr(net, "nothing", 3) == 3
    with pytest.raises(AttributeError, match=r"^'Sequential' object has no attribute 'nothing'$"):
        net.nothing  # noqa: B018


def test_what_a_property_raises_is_not_hidden() -> None:
    class Net(nn.Module):
        @property
        def size(self) -> int:
            return self.absent.size

    with pytest.raises(AttributeError, match="'Net' object has no attribute 'absent'"):
        _ = Net().size

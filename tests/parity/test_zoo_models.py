"""The larger networks against torchvision's: outputs, all gradients, running statistics, training.

Here on small images and with few blocks; ``python -m tests.parity.full_size`` has them in full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numba
import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.densenet import DenseNet
from torchvision.models.vgg import VGG, make_layers

from minicnn import models, nn, optim
from minicnn.models.densenet import densenet
from minicnn.models.resnet import BasicBlock, Bottleneck, resnet
from minicnn.models.vgg import vgg
from minicnn.nn.init import Undrawn
from reference.models import MODELS, CifarResNet, GoogLeNet2014
from tests.networks import well_scaled
from tests.oracle import device, to_numpy
from tests.parity import zoo

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="whole networks take too long as plain Python"
)


class Pair(NamedTuple):
    ours: Callable[..., nn.Module]
    theirs: Callable[[], torch.nn.Module]
    shape: tuple[int, ...]


def small_vgg(batch_norm: bool) -> VGG:
    network = VGG(make_layers([6, "M", 9, 8, "M", 512], batch_norm), num_classes=5)
    network.classifier = torch.nn.Sequential(
        torch.nn.Linear(512 * 49, 20), torch.nn.ReLU(), torch.nn.Dropout(),
        torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Dropout(),
        torch.nn.Linear(20, 5),
    )  # fmt: skip
    return network


def few_blocks(block, layers) -> Callable[[], torch.nn.Module]:
    theirs = {BasicBlock: torchvision.models.resnet.BasicBlock,
              Bottleneck: torchvision.models.resnet.Bottleneck}[block]  # fmt: skip
    return partial(torchvision.models.ResNet, theirs, list(layers), num_classes=5)


def cifar(**options) -> Pair:
    return Pair(
        partial(models.resnet20, **options), partial(CifarResNet, 20, **options), (3, 3, 16, 12)
    )


def of_few_blocks(block, layers, shape) -> Pair:
    return Pair(partial(resnet, block, layers, 5), few_blocks(block, layers), shape)


VGG_SMALL = (6, "M", 9, 8, "M", 512)
GOOGLENET = partial(torchvision.models.googlenet, init_weights=False)


def alexnets_features(rng: np.random.Generator) -> nn.Module:
    return nn.Sequential(features=models.alexnet(rng=rng).features, flatten=nn.Flatten())


def torchs_alexnets_features() -> torch.nn.Module:
    features = torchvision.models.alexnet().features
    return torch.nn.Sequential(OrderedDict(features=features, flatten=torch.nn.Flatten()))


PAIRS = {
    "alexnet's features": Pair(alexnets_features, torchs_alexnets_features, (2, 3, 63, 66)),
    "resnet20": cifar(),
    "resnet20 projected": cifar(shortcut="B"),
    "resnet20-preact": cifar(preactivation=True),
    "resnet20-preact projected": cifar(preactivation=True, shortcut="B"),
    "basic blocks": of_few_blocks(BasicBlock, (1, 2, 1, 1), (2, 3, 45, 37)),
    "bottlenecks": of_few_blocks(Bottleneck, (1, 2, 1, 1), (2, 3, 45, 37)),
    "vgg": Pair(partial(vgg, VGG_SMALL, 5, hidden=20), partial(small_vgg, False), (2, 3, 28, 33)),
    "vgg with batch norm": Pair(
        partial(vgg, VGG_SMALL, 5, batch_norm=True, hidden=20), partial(small_vgg, True),
        (2, 3, 28, 33),
    ),
    "googlenet": Pair(models.googlenet, partial(GOOGLENET, aux_logits=False), (2, 3, 45, 50)),
    "googlenet with heads": Pair(
        partial(models.googlenet, aux_logits=True), partial(GOOGLENET, aux_logits=True),
        (2, 3, 64, 45),
    ),
    "googlenet-2014": Pair(
        partial(models.googlenet, variant="2014"), GoogLeNet2014, (2, 3, 45, 50)
    ),
    "inception_mnist": Pair(models.inception_mnist, MODELS["inception_mnist"], (3, 1, 28, 28)),
    "densenet": Pair(
        partial(densenet, (2, 3, 2), 5, growth_rate=8, num_init_features=12),
        partial(DenseNet, 8, (2, 3, 2), 12, num_classes=5),  # type: ignore[arg-type]
        (2, 3, 45, 50),
    ),
    "squeezenet1_1": Pair(models.squeezenet1_1, MODELS["squeezenet1_1"], (2, 3, 40, 49)),
}  # fmt: skip


def twins(name: str, impl: str = "fast") -> tuple[nn.Module, torch.nn.Module, np.ndarray]:
    pair, rng = PAIRS[name], np.random.default_rng(0)
    model = pair.ours(rng=Undrawn(np.random.PCG64(0))).astype(np.float64).set_impl(impl)
    well_scaled(model, rng)
    return model, zoo.twin(model, pair.theirs), rng.standard_normal(pair.shape)


@pytest.mark.parametrize("name", PAIRS)
def test_in_inference(name: str) -> None:
    model, network, x = twins(name)
    difference = zoo.compare(model, network, x, training=False)
    assert 0.1 < difference.scale < 1e3
    assert difference.absolute < 1e-9
    assert difference.relative < 1e-11


@pytest.mark.parametrize("name", PAIRS)
def test_in_training_with_all_gradients(name: str) -> None:
    model, network, x = twins(name)
    difference = zoo.compare(model, network, x, training=True)
    assert difference.relative < 1e-10
    assert difference.gradients < 1e-8, difference.worst
    assert difference.buffers < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bottlenecks", "googlenet with heads"])
def test_the_textbook_does_the_same(name: str) -> None:
    model, network, x = twins(name, "textbook")
    difference = zoo.compare(model, network, x, training=True)
    assert difference.relative < 1e-10
    assert difference.gradients < 1e-8, difference.worst


@pytest.mark.parametrize("name", ["resnet20", "bottlenecks", "densenet", "googlenet with heads"])
def test_in_float32(name: str) -> None:
    model, network, x = twins(name)
    model.astype(np.float32)
    with torch.no_grad():
        expected = to_numpy(network.eval()(torch.from_numpy(x).to(device())))
    y = model(x.astype(np.float32))
    assert y.dtype == np.float32
    assert zoo.error(y, expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "googlenet"])
def test_whole_networks_on_small_images(name: str) -> None:
    rng = np.random.default_rng(0)
    model = models.create(name, 7, rng=Undrawn(np.random.PCG64(0)))
    well_scaled(model, rng)
    x = rng.standard_normal((1, 3, 35, 32), dtype=np.float32)
    network = zoo.twin(model, partial(MODELS[name], 7))
    with torch.no_grad():
        expected = to_numpy(network.eval()(torch.from_numpy(x).to(device())))
    assert zoo.error(model(x), expected) < 1e-4


def test_heads_have_names_and_shapes_of_torchvision() -> None:
    model = models.googlenet(7, aux_logits=True, rng=Undrawn(np.random.PCG64(0)))
    with torch.device("meta"):
        theirs = GOOGLENET(num_classes=7, aux_logits=True).state_dict()
    ours = model.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_alexnet_has_torchvisions_layers_in_torchvisions_order() -> None:
    with torch.device("meta"):
        theirs = [type(layer).__name__ for layer in leaves(torchvision.models.alexnet())]
    ours = models.alexnet(rng=Undrawn(np.random.PCG64(0)))
    kinds = [type(m).__name__ for _, m in ours.named_modules() if not list(m.named_children())]
    kinds.remove("Flatten")  # there it is a function
    assert kinds == theirs


def leaves(network: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in network.modules() if not list(module.children())]


# --------------------------------------------------------------------------------- fifty steps

STEPS, BATCH = 50, 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "lr", "tolerance", "learned"),
    [(np.float32, 3e-4, 1e-3, 0.8), (np.float64, 0.01, 1e-9, 0.1)],
)
def test_fifty_steps_of_resnet20_are_torchs(dtype, lr, tolerance, learned) -> None:
    """From the same weights with the same batches: losses, and what runs.

    Rounding decides on which side of ReLU's bend a few of a million units lie, and each moves the
    weights a little: at the second learning rate torch's own float32 is soon 1e-2 from its float64.
    So float32 learns slowly here.
    """
    rng = np.random.default_rng(0)
    model = models.resnet20(rng=rng).astype(dtype)
    network = CifarResNet(20).to(torch.from_numpy(np.empty(0, dtype)).dtype)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    network.to(device()).train()
    labels = rng.integers(0, 10, 4 * BATCH)
    classes = rng.standard_normal((10, 3, 8, 8))
    images = (rng.normal(0, 0.5, (4 * BATCH, 3, 8, 8)) + classes[labels]).astype(dtype)
    ours, theirs = Ours(model, lr), Theirs(network, lr)
    losses = []
    for step in range(STEPS):
        batch = slice(step % 4 * BATCH, (step % 4 + 1) * BATCH)
        losses.append(
            (ours.step(images[batch], labels[batch]), theirs.step(images[batch], labels[batch]))
        )
    actual, expected = np.transpose(losses)
    assert expected[-1] < learned * expected[0]
    np.testing.assert_allclose(actual, expected, rtol=tolerance)
    buffers = dict(network.named_buffers())
    for name, array in model.named_buffers():
        assert zoo.error(array, to_numpy(buffers[name])) < 5 * tolerance, name


class Ours:
    def __init__(self, model: nn.Module, lr: float) -> None:
        self.model, self.criterion = model, nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)

    def step(self, x: np.ndarray, target: np.ndarray) -> float:
        self.model.zero_grad()
        y, cache = self.model.forward(x, training=True)
        loss, loss_cache = self.criterion.forward(y, target)
        self.model.backward(self.criterion.backward(1.0, loss_cache), cache, input_grad=False)
        self.optimizer.step()
        return float(loss)


class Theirs:
    def __init__(self, model: torch.nn.Module, lr: float) -> None:
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)

    def step(self, x: np.ndarray, target: np.ndarray) -> float:
        self.optimizer.zero_grad()
        output = self.model(torch.from_numpy(x).to(device()))
        loss = torch.nn.functional.cross_entropy(output, torch.from_numpy(target).to(device()))
        loss.backward()
        self.optimizer.step()
        return loss.item()

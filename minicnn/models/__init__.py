"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minicnn.models.lenet import cnn3, convnet, lenet5
from minicnn.models.resnet import (
    cifar_resnet,
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from minicnn.nn import Module

__all__ = [
    "MODELS",
    "Model",
    "cifar_resnet",
    "cnn3",
    "convnet",
    "create",
    "find",
    "lenet5",
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
]

MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)


class Model(NamedTuple):
    """How to build a network, and the image (channels, height, width) it is made for."""

    build: Callable[..., Module]
    image: tuple[int, int, int]


MODELS: dict[str, Model] = {
    "lenet5": Model(lenet5, MNIST),
    "lenet5-1998": Model(partial(lenet5, variant="1998"), MNIST),
    "cnn3": Model(cnn3, MNIST),
    "convnet": Model(convnet, MNIST),
    "resnet20": Model(resnet20, CIFAR),
    "resnet32": Model(resnet32, CIFAR),
    "resnet44": Model(resnet44, CIFAR),
    "resnet56": Model(resnet56, CIFAR),
    "resnet110": Model(resnet110, CIFAR),
    "resnet20-preact": Model(partial(resnet20, preactivation=True), CIFAR),
    "resnet110-preact": Model(partial(resnet110, preactivation=True), CIFAR),
    "resnet18": Model(resnet18, IMAGENET),
    "resnet34": Model(resnet34, IMAGENET),
    "resnet50": Model(resnet50, IMAGENET),
    "resnet101": Model(resnet101, IMAGENET),
    "resnet152": Model(resnet152, IMAGENET),
}


def find(name: str) -> Model:
    """Return how to build the network of that name; an unknown name lists the known ones."""
    if name not in MODELS:
        raise ValueError(f"There is no model {name!r}. Known: {', '.join(MODELS)}.")
    return MODELS[name]


def create(name: str, num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Module:
    """Return a new network by its name; an unknown name lists the known ones."""
    return find(name).build(num_classes, rng=rng)

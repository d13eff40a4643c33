"""Networks by name.

Every constructor also takes ``weights``, a safetensors file with torchvision's names:
``models.resnet18(weights="resnet18.safetensors")``. ``load_weights`` says which files it accepts.
A name may also be ``FILE.py:OBJECT``, a network of the user's own; see own.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minicnn.models import own
from minicnn.models.alexnet import alexnet
from minicnn.models.densenet import densenet121
from minicnn.models.googlenet import googlenet, inception_mnist
from minicnn.models.lenet import cnn3, convnet, lenet5
from minicnn.models.resnet import (
    cifar_resnet,
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
from minicnn.models.squeezenet import squeezenet1_1
from minicnn.models.vgg import (
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from minicnn.models.weights import load_weights
from minicnn.nn import Module
from minicnn.shapes import did_you_mean

__all__ = [
    "MODELS",
    "Model",
    "alexnet",
    "cifar_resnet",
    "cnn3",
    "convnet",
    "create",
    "densenet121",
    "find",
    "googlenet",
    "inception_mnist",
    "lenet5",
    "load_weights",
    "own",
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
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]


class Model(NamedTuple):
    """How to build a network, and the (channels, height, width) of its images."""

    build: Callable[..., Module]
    image: tuple[int, int, int]


MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)

MODELS: dict[str, Model] = {
    "lenet5": Model(lenet5, MNIST),
    "lenet5-1998": Model(partial(lenet5, variant="1998"), MNIST),
    "cnn3": Model(cnn3, MNIST),
    "convnet": Model(convnet, MNIST),
    "inception_mnist": Model(inception_mnist, MNIST),
    "resnet20": Model(resnet20, CIFAR),
    "resnet32": Model(resnet32, CIFAR),
    "resnet44": Model(resnet44, CIFAR),
    "resnet56": Model(resnet56, CIFAR),
    "resnet110": Model(resnet110, CIFAR),
    "resnet20-preact": Model(partial(resnet20, preactivation=True), CIFAR),
    "resnet110-preact": Model(partial(resnet110, preactivation=True), CIFAR),
    "alexnet": Model(alexnet, IMAGENET),
    "vgg11": Model(vgg11, IMAGENET),
    "vgg11_bn": Model(vgg11_bn, IMAGENET),
    "vgg13": Model(vgg13, IMAGENET),
    "vgg13_bn": Model(vgg13_bn, IMAGENET),
    "vgg16": Model(vgg16, IMAGENET),
    "vgg16_bn": Model(vgg16_bn, IMAGENET),
    "vgg19": Model(vgg19, IMAGENET),
    "vgg19_bn": Model(vgg19_bn, IMAGENET),
    "googlenet": Model(googlenet, IMAGENET),
    "googlenet-2014": Model(partial(googlenet, variant="2014"), IMAGENET),
    "resnet18": Model(resnet18, IMAGENET),
    "resnet34": Model(resnet34, IMAGENET),
    "resnet50": Model(resnet50, IMAGENET),
    "resnet101": Model(resnet101, IMAGENET),
    "resnet152": Model(resnet152, IMAGENET),
    "densenet121": Model(densenet121, IMAGENET),
    "squeezenet1_1": Model(squeezenet1_1, IMAGENET),
}


def find(name: str) -> Model:
    """Return the entry of a name. Raises ValueError for an unknown one; it lists the known."""
    if name not in MODELS:
        near = did_you_mean(name, MODELS)
        if name.endswith(".py"):
            near = f" Which object in it is the network? Name it: {name}:Net."
        raise ValueError(
            f"There is no model {name!r}.{near} Known: {', '.join(MODELS)}. "
            "One of your own is named FILE.py:OBJECT."
        )
    return MODELS[name]


def create(
    name: str,
    num_classes: int | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    rng: np.random.Generator | None = None,
) -> Module:
    """Return a new network by its name.

    Without ``num_classes`` there are 1000 classes for ImageNet's networks, and 10 for all others.
    ``rng`` draws the first weights, or ``weights`` is a file for ``load_weights``. A name of the
    form ``FILE.py:OBJECT`` is a network of the user's own. Raises ValueError for an unknown name;
    it lists the known ones.
    """
    if own.is_own(name):
        return own.build(name, num_classes, weights=weights, rng=rng)
    classes = () if num_classes is None else (num_classes,)
    return find(name).build(*classes, weights=weights, rng=rng)

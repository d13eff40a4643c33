"""The networks of the introductory courses, for 28x28 images of one channel."""

from __future__ import annotations

from typing import Literal

import numpy as np

from minicnn.models.weights import with_weights
from minicnn.nn import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    LogSoftmax,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Tanh,
)
from minicnn.shapes import check_choice


@with_weights
def lenet5(
    num_classes: int = 10,
    variant: Literal["tutorial", "1998"] = "tutorial",
    *,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Return LeNet-5 for images (n, 1, 28, 28), with logits (n, num_classes).

    "tutorial" is the form of PyTorch's tutorials: max pooling, ReLU, no padding. "1998" follows the
    paper: padding 2 turns 28x28 into the paper's 32x32; average pooling and tanh. It leaves out
    three details of the paper: the coefficients of the pools, the incomplete connections of the
    second convolution, and the radial basis functions at the end.

    ``rng`` draws the first weights; with None they differ each time.

    Source: LeCun, Bottou, Bengio & Haffner (1998), Gradient-based learning applied to document
    recognition.
    """
    check_choice("lenet5", "variant", variant, ("tutorial", "1998"))
    rng = rng or np.random.default_rng()
    paper = variant == "1998"
    activation: type[Module] = Tanh if paper else ReLU
    pool: type[AvgPool2d] | type[MaxPool2d] = AvgPool2d if paper else MaxPool2d
    side = 5 if paper else 4  # the image after both pools
    return Sequential(
        conv1=Conv2d(1, 6, 5, padding=2 if paper else 0, rng=rng),
        act1=activation(),
        pool1=pool(2),
        conv2=Conv2d(6, 16, 5, rng=rng),
        act2=activation(),
        pool2=pool(2),
        flatten=Flatten(),
        fc1=Linear(16 * side * side, 120, rng=rng),
        act3=activation(),
        fc2=Linear(120, 84, rng=rng),
        act4=activation(),
        fc3=Linear(84, num_classes, rng=rng),
    )


@with_weights
def cnn3(num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Sequential:
    """Return three convolutions and two linear layers, for (n, 1, 28, 28); gives logits.

    ``rng`` draws the first weights; with None they differ each time.
    """
    rng = rng or np.random.default_rng()
    return Sequential(
        conv1=Conv2d(1, 16, 5, rng=rng),
        act1=ReLU(),
        conv2=Conv2d(16, 32, 5, rng=rng),
        act2=ReLU(),
        pool2=MaxPool2d(2),
        conv3=Conv2d(32, 64, 5, rng=rng),
        act3=ReLU(),
        pool3=MaxPool2d(2),
        flatten=Flatten(),
        fc1=Linear(64 * 3 * 3, 100, rng=rng),
        act4=ReLU(),
        fc2=Linear(100, num_classes, rng=rng),
    )


@with_weights
def convnet(num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Sequential:
    """Return two convolutions and one linear layer, for (n, 1, 28, 28); gives log-probabilities.

    Use them with ``nll_loss``. ``cross_entropy`` gives the same loss, because the log-softmax of
    log-probabilities leaves them unchanged. ``rng`` draws the first weights; with None they differ
    each time.
    """
    rng = rng or np.random.default_rng()
    return Sequential(
        conv1=Conv2d(1, 10, 5, rng=rng),
        pool1=MaxPool2d(2),
        act1=ReLU(),
        conv2=Conv2d(10, 20, 5, rng=rng),
        pool2=MaxPool2d(2),
        act2=ReLU(),
        flatten=Flatten(),
        fc=Linear(320, num_classes, rng=rng),
        log_softmax=LogSoftmax(dim=1),
    )

"""DenseNet: every layer sees the outputs of all earlier layers of its block. torchvision's names.

Source
    Huang, Liu, van der Maaten & Weinberger (2017), Densely connected convolutional networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.models.weights import with_weights

_conv = partial(nn.Conv2d, bias=False, init=partial(nn.init.kaiming_normal, nonlinearity="relu"))


class DenseLayer(nn.Concat):
    """Returns x with ``growth`` new channels behind it, made by a 1x1 and a 3x3 convolution.

    A block is a chain of such layers. The gradient of a layer's new channels is the sum of the
    gradients from all later layers.
    """

    def __init__(
        self, in_channels: int, growth: int, bottleneck: int, *, rng: np.random.Generator
    ) -> None:
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = _conv(in_channels, bottleneck, 1, rng=rng)
        self.norm2 = nn.BatchNorm2d(bottleneck)
        self.relu2 = nn.ReLU()
        self.conv2 = _conv(bottleneck, growth, 3, padding=1, rng=rng)

    def branches(self) -> list[list[nn.Module]]:
        made = [self.norm1, self.relu1, self.conv1, self.norm2, self.relu2, self.conv2]
        return [[], made]


def _transition(in_channels: int, channels: int, rng: np.random.Generator) -> nn.Sequential:
    """Return the layers between two blocks: they reduce the channels and halve each side."""
    return nn.Sequential(
        norm=nn.BatchNorm2d(in_channels),
        relu=nn.ReLU(),
        conv=_conv(in_channels, channels, 1, rng=rng),
        pool=nn.AvgPool2d(2),
    )


@with_weights
def densenet(
    blocks: Sequence[int],
    num_classes: int = 1000,
    growth_rate: int = 32,
    num_init_features: int = 64,
    bn_size: int = 4,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return DenseNet-BC for images (n, in_channels, 224, 224); gives logits.

    ``blocks`` is the number of layers in each block; each layer adds ``growth_rate`` channels.
    Its 1x1 convolution has ``bn_size`` times as many.
    """
    rng = rng or np.random.default_rng()
    channels = num_init_features
    features: dict[str, nn.Module] = {
        "conv0": _conv(in_channels, channels, 7, 2, padding=3, rng=rng),
        "norm0": nn.BatchNorm2d(channels),
        "relu0": nn.ReLU(),
        "pool0": nn.MaxPool2d(3, 2, padding=1),
    }
    for i, layers in enumerate(blocks, start=1):
        chain = {}
        for j in range(1, layers + 1):
            layer = DenseLayer(channels, growth_rate, bn_size * growth_rate, rng=rng)
            chain[f"denselayer{j}"] = layer
            channels += growth_rate
        features[f"denseblock{i}"] = nn.Sequential(**chain)
        if i < len(blocks):
            features[f"transition{i}"] = _transition(channels, channels // 2, rng)
            channels //= 2
    features["norm5"] = nn.BatchNorm2d(channels)
    return nn.Sequential(
        features=nn.Sequential(**features),
        relu=nn.ReLU(),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(channels, num_classes, init=nn.init.default_weight, rng=rng),
    )


def densenet121(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return DenseNet-121; ``options`` are those of ``densenet``."""
    return densenet((6, 12, 24, 16), num_classes, **options)

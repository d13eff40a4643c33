"""VGG: only 3x3 convolutions and pools before the linear layers. torchvision's attribute names.

Source
    Simonyan & Zisserman (2015), Very deep convolutional networks for large-scale image recognition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.models.weights import with_weights

_conv_init = partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu")
_linear_init = partial(nn.init.normal, std=0.01)

# Channels of the convolutions; "M" is a pool. The letters are the paper's.
CONFIGURATIONS: dict[str, tuple[int | str, ...]] = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "D": (
        64, 64, "M", 128, 128, "M", 256, 256, 256, "M",
        512, 512, 512, "M", 512, 512, 512, "M",
    ),
    "E": (
        64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M",
        512, 512, 512, 512, "M", 512, 512, 512, 512, "M",
    ),
}  # fmt: skip


@with_weights
def vgg(
    configuration: Sequence[int | str],
    num_classes: int = 1000,
    batch_norm: bool = False,
    hidden: int = 4096,
    dropout: float = 0.5,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return a network for images (n, in_channels, 224, 224), or others; gives logits.

    ``configuration`` lists the channels of 3x3 convolutions, and "M" for pools that halve the
    image. The result is pooled to 7x7. Three linear layers follow; two of them have ``hidden``
    features.
    """
    rng = rng or np.random.default_rng()
    features: list[nn.Module] = []
    channels = in_channels
    for item in configuration:
        if item == "M":
            features.append(nn.MaxPool2d(2))
            continue
        if not isinstance(item, int):
            raise ValueError(
                f"vgg: a configuration holds numbers of channels and 'M', got {item!r}."
            )
        features.append(nn.Conv2d(channels, item, 3, padding=1, init=_conv_init, rng=rng))
        features += [nn.BatchNorm2d(item), nn.ReLU()] if batch_norm else [nn.ReLU()]
        channels = item
    return nn.Sequential(
        features=nn.Sequential(*features),
        avgpool=nn.AdaptiveAvgPool2d(7),
        flatten=nn.Flatten(),
        classifier=nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden, init=_linear_init, rng=rng),
            nn.ReLU(),
            nn.Dropout(dropout, rng=rng),
            nn.Linear(hidden, hidden, init=_linear_init, rng=rng),
            nn.ReLU(),
            nn.Dropout(dropout, rng=rng),
            nn.Linear(hidden, num_classes, init=_linear_init, rng=rng),
        ),
    )


def vgg11(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-11; ``options`` are those of ``vgg``."""
    return vgg(CONFIGURATIONS["A"], num_classes, **options)


def vgg13(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-13; ``options`` are those of ``vgg``."""
    return vgg(CONFIGURATIONS["B"], num_classes, **options)


def vgg16(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-16; ``options`` are those of ``vgg``."""
    return vgg(CONFIGURATIONS["D"], num_classes, **options)


def vgg19(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-19; ``options`` are those of ``vgg``."""
    return vgg(CONFIGURATIONS["E"], num_classes, **options)


def vgg11_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-11 with batch norm; ``options`` are those of ``vgg``."""
    return vgg11(num_classes, batch_norm=True, **options)


def vgg13_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-13 with batch norm; ``options`` are those of ``vgg``."""
    return vgg13(num_classes, batch_norm=True, **options)


def vgg16_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-16 with batch norm; ``options`` are those of ``vgg``."""
    return vgg16(num_classes, batch_norm=True, **options)


def vgg19_bn(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return VGG-19 with batch norm; ``options`` are those of ``vgg``."""
    return vgg19(num_classes, batch_norm=True, **options)

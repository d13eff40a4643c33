"""GoogLeNet, the first Inception network, with torchvision's attribute names.

Source
    Szegedy et al. (2015), Going deeper with convolutions. Torchvision's form comes from
    TensorFlow: it has batch norm, and 3x3 convolutions where the paper has 5x5.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from minicnn import nn
from minicnn.models.weights import with_weights
from minicnn.shapes import check_choice

Variant = Literal["torchvision", "2014"]

_INITS = {
    "torchvision": partial(nn.init.normal, std=0.01),
    "2014": partial(nn.init.kaiming_normal, nonlinearity="relu"),  # the paper does not say
}


class _Parts:
    """Makes the layers of one variant."""

    def __init__(self, variant: Variant, rng: np.random.Generator) -> None:
        self.paper, self.rng, self.init = variant == "2014", rng, _INITS[variant]

    def conv(self, in_channels: int, channels: int, side: int, stride: int = 1) -> nn.Sequential:
        """Return a convolution and what follows it. It keeps the size, except for the stride."""
        conv = nn.Conv2d(
            in_channels, channels, side, stride, padding=side // 2, bias=self.paper,
            init=self.init, rng=self.rng,
        )  # fmt: skip
        if self.paper:
            return nn.Sequential(conv=conv, relu=nn.ReLU())
        return nn.Sequential(conv=conv, bn=nn.BatchNorm2d(channels, eps=0.001), relu=nn.ReLU())

    def linear(self, in_features: int, features: int) -> nn.Linear:
        layer = nn.Linear(in_features, features, init=self.init, rng=self.rng)
        if layer.bias and not self.paper:  # torchvision draws the weight anew, but not the bias
            layer.bias.data = nn.init.default_bias(layer.weight.data.shape, rng=self.rng)
        return layer

    def norm(self) -> nn.Module | None:
        return nn.LocalResponseNorm(5) if self.paper else None


class Inception(nn.Concat):
    """Four branches: the pixels of x, two sizes of neighbourhood, and the maximum around a pixel.

    1x1 convolutions before the larger ones and after the pool keep the number of channels small.
    """

    def __init__(
        self, parts: _Parts, in_channels: int, one: int, reduce3: int, three: int, reduce5: int,
        five: int, pool: int,
    ) -> None:  # fmt: skip
        super().__init__(
            branch1=parts.conv(in_channels, one, 1),
            branch2=nn.Sequential(
                parts.conv(in_channels, reduce3, 1), parts.conv(reduce3, three, 3)
            ),
            branch3=nn.Sequential(
                parts.conv(in_channels, reduce5, 1),
                parts.conv(reduce5, five, 5 if parts.paper else 3),
            ),
            branch4=nn.Sequential(
                nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), parts.conv(in_channels, pool, 1)
            ),
        )


def _auxiliary(parts: _Parts, in_channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Return a small classifier for images of 14x14."""
    pool = nn.AvgPool2d(5, 3) if parts.paper else nn.AdaptiveAvgPool2d(4)
    return nn.Sequential(
        pool=pool,
        conv=parts.conv(in_channels, 128, 1),
        flatten=nn.Flatten(),
        fc1=parts.linear(128 * 4 * 4, 1024),
        relu=nn.ReLU(),
        dropout=nn.Dropout(dropout, rng=parts.rng),
        fc2=parts.linear(1024, num_classes),
    )


class GoogLeNet(nn.AuxiliaryHeads):
    """The chain of nine Inception blocks, and the two heads at their places."""

    def __init__(
        self, parts: _Parts, num_classes: int, aux_logits: bool, dropout: float, dropout_aux: float
    ) -> None:
        inception = partial(Inception, parts)
        self.conv1 = parts.conv(3, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = parts.norm()
        self.conv2 = parts.conv(64, 64, 1)
        self.conv3 = parts.conv(64, 192, 3)
        self.norm2 = parts.norm()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(3 if parts.paper else 2, 2, ceil_mode=True)
        self.inception5a = inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = _auxiliary(parts, 512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = _auxiliary(parts, 528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout, rng=parts.rng)
        self.fc = parts.linear(1024, num_classes)

    def branches(self) -> nn.auxiliary.Branches:
        first = [
            self.conv1, self.maxpool1, self.norm1, self.conv2, self.conv3, self.norm2,
            self.maxpool2, self.inception3a, self.inception3b, self.maxpool3, self.inception4a,
        ]  # fmt: skip
        return nn.auxiliary.Branches(
            stages=[
                [module for module in first if module],
                [self.inception4b, self.inception4c, self.inception4d],
                [
                    self.inception4e, self.maxpool4, self.inception5a, self.inception5b,
                    self.avgpool, self.flatten, self.dropout, self.fc,
                ],
            ],
            heads=[self.aux1, self.aux2] if self.aux1 and self.aux2 else [],
        )  # fmt: skip


@with_weights
def googlenet(
    num_classes: int = 1000,
    aux_logits: bool = False,
    variant: Variant = "torchvision",
    dropout: float | None = None,
    dropout_aux: float = 0.7,
    *,
    rng: np.random.Generator | None = None,
) -> GoogLeNet:
    """Return GoogLeNet for images (n, 3, 224, 224); gives logits.

    With ``aux_logits`` a training forward returns (logits, logits of the later head, logits of the
    earlier), and backward takes the three gradients. The paper adds 0.3 times the loss of each
    head. Inference gives only the logits.

    "torchvision" has batch norm, and 3x3 convolutions in the branch of the 5x5. Its published
    weights include the heads; they were trained on images normalised by mean and std of 0.5. "2014"
    is the network of the paper: 5x5 convolutions, local response normalisation, no batch norm. Its
    heads need 224x224 pixels.

    ``dropout`` is applied before the last layer: 0.2 in torchvision, 0.4 in the paper.
    """
    check_choice("googlenet", "variant", variant, tuple(_INITS))
    if dropout is None:
        dropout = 0.4 if variant == "2014" else 0.2
    parts = _Parts(variant, rng or np.random.default_rng())
    return GoogLeNet(parts, num_classes, aux_logits, dropout, dropout_aux)


# ------------------------------------------------------------------------------------- for MNIST


class InceptionA(nn.Concat):
    """The block of many courses: 16 and three times 24 channels, and no ReLU between layers."""

    def __init__(self, in_channels: int, *, rng: np.random.Generator) -> None:
        self.branch1x1 = nn.Conv2d(in_channels, 16, 1, rng=rng)
        self.branch5x5_1 = nn.Conv2d(in_channels, 16, 1, rng=rng)
        self.branch5x5_2 = nn.Conv2d(16, 24, 5, padding=2, rng=rng)
        self.branch3x3_1 = nn.Conv2d(in_channels, 16, 1, rng=rng)
        self.branch3x3_2 = nn.Conv2d(16, 24, 3, padding=1, rng=rng)
        self.branch3x3_3 = nn.Conv2d(24, 24, 3, padding=1, rng=rng)
        self.pool = nn.AvgPool2d(3, 1, padding=1)
        self.branch_pool = nn.Conv2d(in_channels, 24, 1, rng=rng)

    def branches(self) -> list[list[nn.Module]]:
        return [
            [self.branch1x1],
            [self.branch5x5_1, self.branch5x5_2],
            [self.branch3x3_1, self.branch3x3_2, self.branch3x3_3],
            [self.pool, self.branch_pool],
        ]


@with_weights
def inception_mnist(
    num_classes: int = 10, *, rng: np.random.Generator | None = None
) -> nn.Sequential:
    """Return the network with two Inception blocks for (n, 1, 28, 28); gives logits.

    PyTorch courses teach this network. ``rng`` draws the first weights; with None they differ each
    time.
    """
    rng = rng or np.random.default_rng()
    return nn.Sequential(
        conv1=nn.Conv2d(1, 10, 5, rng=rng),
        pool1=nn.MaxPool2d(2),
        act1=nn.ReLU(),
        incep1=InceptionA(10, rng=rng),
        conv2=nn.Conv2d(88, 20, 5, rng=rng),
        pool2=nn.MaxPool2d(2),
        act2=nn.ReLU(),
        incep2=InceptionA(20, rng=rng),
        flatten=nn.Flatten(),
        fc=nn.Linear(1408, num_classes, rng=rng),
    )

"""Residual networks, for CIFAR's images and for ImageNet's, with torchvision's attribute names.

Source
    He et al. (2016), Deep residual learning for image recognition; the pre-activation units are
    those of He et al. (2016), Identity mappings in deep residual networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from minicnn import nn
from minicnn.models.weights import with_weights
from minicnn.shapes import check_choice

Shortcut = Literal["A", "B"]

he_normal = partial(nn.init.kaiming_normal, mode="fan_out", nonlinearity="relu")


def _conv(
    in_channels: int, channels: int, side: int, stride: int, rng: np.random.Generator
) -> nn.Conv2d:
    """Return a convolution for use before batch norm: no bias, and the size kept at stride 1."""
    return nn.Conv2d(
        in_channels, channels, side, stride, padding=side // 2, bias=False, init=he_normal, rng=rng
    )


def _downsample(
    in_channels: int,
    channels: int,
    stride: int,
    shortcut: Shortcut,
    rng: np.random.Generator,
    norm: bool = True,
) -> nn.Module | None:
    """Return a shortcut that changes the shape as the block does: "A" pads, "B" projects."""
    check_choice("resnet", "shortcut", shortcut, ("A", "B"))
    if stride == 1 and in_channels == channels:
        return None
    if shortcut == "A":
        return nn.ZeroPadShortcut(in_channels, channels, stride)
    project = _conv(in_channels, channels, 1, stride, rng)
    return nn.Sequential(project, nn.BatchNorm2d(channels)) if norm else project


# ---------------------------------------------------------------------------------------- blocks


class BasicBlock(nn.Residual):
    """Two 3x3 convolutions with batch norm; x is added to their output.

    If the stride is not 1 or the channels change, ``downsample`` makes x fit the sum: by a 1x1
    convolution, or with ``shortcut="A"`` by zeros.
    """

    expansion = 1  # output channels, as a multiple of ``channels``

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        *,
        rng: np.random.Generator,
    ) -> None:
        self.conv1 = _conv(in_channels, channels, 3, stride, rng)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = _conv(channels, channels, 3, 1, rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _downsample(in_channels, channels, stride, shortcut, rng)

    def branches(self) -> nn.residual.Branches:
        return nn.residual.Branches(
            main=[self.conv1, self.bn1, self.relu, self.conv2, self.bn2],
            shortcut=[self.downsample] if self.downsample else [],
            activation=[self.relu],
        )

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The last batch norm, before the sum."""
        return self.bn2


class Bottleneck(nn.Residual):
    """1x1, 3x3 and 1x1 convolutions: the 3x3 works on a quarter of the channels.

    The 3x3 has the stride, as in torchvision. In the paper the first 1x1 has it, and so ignores
    three of four pixels.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        *,
        rng: np.random.Generator,
    ) -> None:
        out = channels * self.expansion
        self.conv1 = _conv(in_channels, channels, 1, 1, rng)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, stride, rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, out, 1, 1, rng)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_channels, out, stride, shortcut, rng)

    def branches(self) -> nn.residual.Branches:
        return nn.residual.Branches(
            main=[
                self.conv1, self.bn1, self.relu,
                self.conv2, self.bn2, self.relu,
                self.conv3, self.bn3,
            ],
            shortcut=[self.downsample] if self.downsample else [],
            activation=[self.relu],
        )  # fmt: skip

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3


class PreActBlock(nn.Residual):
    """Two 3x3 convolutions, each after batch norm and ReLU; x is added at the end.

    So the shortcuts lead from the first block to the last without any change. Without
    ``activated``, x has passed the first batch norm and ReLU already, for both branches.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        activated: bool = True,
        downsample: nn.Module | None = None,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.bn1 = nn.BatchNorm2d(in_channels) if activated else None
        self.conv1 = _conv(in_channels, channels, 3, stride, rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, 1, rng)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def branches(self) -> nn.residual.Branches:
        before: list[nn.Module] = [self.bn1, self.relu] if self.bn1 else []
        return nn.residual.Branches(
            main=[*before, self.conv1, self.bn2, self.relu, self.conv2],
            shortcut=[self.downsample] if self.downsample else [],
            activation=[],
        )


# ---------------------------------------------------------------------------------------- CIFAR


@with_weights
def cifar_resnet(
    depth: int,
    num_classes: int = 10,
    in_channels: int = 3,
    shortcut: Shortcut = "A",
    preactivation: bool = False,
    zero_init_residual: bool = False,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return the network of 6n + 2 layers for images (n, in_channels, 32, 32); gives logits.

    A 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels on images of 32, 16 and
    8 pixels, the mean over the pixels, and a linear layer: section 4.2 of the paper. Between the
    stages the shortcuts are padded with zeros ("A", as in the paper) or projected ("B").

    ``preactivation`` uses the blocks of the second paper. The first block comes after the batch
    norm and ReLU of the first convolution. Another batch norm and ReLU follow the last block.
    Projections start from the activated x, and have no batch norm.

    ``zero_init_residual`` sets the weight of each block's last batch norm to 0, so that every block
    is the identity at first.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"cifar_resnet: depth must be 6n + 2 for a whole n of 1 or more, got {depth}. "
            "The paper has 20, 32, 44, 56 and 110."
        )
    if preactivation and zero_init_residual:
        raise ValueError(
            "cifar_resnet: zero_init_residual needs a batch norm at the end of each block; blocks "
            "with preactivation have none there. Use one of the two."
        )
    rng = rng or np.random.default_rng()
    stage = partial(_preact_stage if preactivation else _stage, blocks=(depth - 2) // 6)
    layers: dict[str, nn.Module] = {
        "conv1": _conv(in_channels, 16, 3, 1, rng),
        "bn1": nn.BatchNorm2d(16),
        "relu": nn.ReLU(),
        "layer1": stage(16, 16, 1, shortcut=shortcut, rng=rng),
        "layer2": stage(16, 32, 2, shortcut=shortcut, rng=rng),
        "layer3": stage(32, 64, 2, shortcut=shortcut, rng=rng),
    }
    if preactivation:
        layers |= {"bn2": nn.BatchNorm2d(64), "relu2": nn.ReLU()}
    model = nn.Sequential(
        **layers,
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(64, num_classes, rng=rng),
    )
    if zero_init_residual:
        _zero_last_norms(model)
    return model


def resnet20(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """Return ResNet-20 for CIFAR; ``options`` are those of ``cifar_resnet``."""
    return cifar_resnet(20, num_classes, **options)


def resnet32(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """Return ResNet-32 for CIFAR; ``options`` are those of ``cifar_resnet``."""
    return cifar_resnet(32, num_classes, **options)


def resnet44(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """Return ResNet-44 for CIFAR; ``options`` are those of ``cifar_resnet``."""
    return cifar_resnet(44, num_classes, **options)


def resnet56(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """Return ResNet-56 for CIFAR; ``options`` are those of ``cifar_resnet``."""
    return cifar_resnet(56, num_classes, **options)


def resnet110(num_classes: int = 10, **options: Any) -> nn.Sequential:
    """Return ResNet-110 for CIFAR; ``options`` are those of ``cifar_resnet``."""
    return cifar_resnet(110, num_classes, **options)


# ---------------------------------------------------------------------------------------- ImageNet


@with_weights
def resnet(
    block: type[BasicBlock] | type[Bottleneck],
    layers: Sequence[int],
    num_classes: int = 1000,
    in_channels: int = 3,
    zero_init_residual: bool = False,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return torchvision's residual network for images (n, in_channels, 224, 224); gives logits.

    ``layers`` is the number of blocks in each of the four stages. ``zero_init_residual`` sets the
    weight of each block's last batch norm to 0, so that every block is the identity at first.
    """
    rng = rng or np.random.default_rng()
    stages: dict[str, nn.Module] = {}
    wide = 64
    for i, blocks in enumerate(layers):
        channels, stride = 64 * 2**i, 1 if i == 0 else 2
        stages[f"layer{i + 1}"] = _stage(wide, channels, stride, blocks, block, rng=rng)
        wide = channels * block.expansion
    model = nn.Sequential(
        conv1=nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False, init=he_normal, rng=rng),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, padding=1),
        **stages,
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(wide, num_classes, rng=rng),
    )
    if zero_init_residual:
        _zero_last_norms(model)
    return model


def resnet18(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return ResNet-18; ``options`` are those of ``resnet``."""
    return resnet(BasicBlock, (2, 2, 2, 2), num_classes, **options)


def resnet34(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return ResNet-34; ``options`` are those of ``resnet``."""
    return resnet(BasicBlock, (3, 4, 6, 3), num_classes, **options)


def resnet50(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return ResNet-50; ``options`` are those of ``resnet``."""
    return resnet(Bottleneck, (3, 4, 6, 3), num_classes, **options)


def resnet101(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return ResNet-101; ``options`` are those of ``resnet``."""
    return resnet(Bottleneck, (3, 4, 23, 3), num_classes, **options)


def resnet152(num_classes: int = 1000, **options: Any) -> nn.Sequential:
    """Return ResNet-152; ``options`` are those of ``resnet``."""
    return resnet(Bottleneck, (3, 8, 36, 3), num_classes, **options)


# ---------------------------------------------------------------------------------------- stages


def _stage(
    in_channels: int,
    channels: int,
    stride: int,
    blocks: int,
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
    shortcut: Shortcut = "B",
    *,
    rng: np.random.Generator,
) -> nn.Sequential:
    """Return blocks in a row; the first changes the size and the channels."""
    first = block(in_channels, channels, stride, shortcut, rng=rng)
    wide = channels * block.expansion
    return nn.Sequential(
        first, *[block(wide, channels, 1, shortcut, rng=rng) for _ in range(blocks - 1)]
    )


def _preact_stage(
    in_channels: int,
    channels: int,
    stride: int,
    blocks: int,
    shortcut: Shortcut = "B",
    *,
    rng: np.random.Generator,
) -> nn.Sequential:
    downsample = _downsample(in_channels, channels, stride, shortcut, rng, norm=False)
    block = partial(PreActBlock, in_channels, channels, stride, downsample=downsample, rng=rng)
    first: nn.Module
    if stride == 1:  # x is activated already, after the first convolution
        first = block(activated=False)
    elif shortcut == "A":
        first = block()
    else:
        first = nn.Sequential(
            bn1=nn.BatchNorm2d(in_channels), relu=nn.ReLU(), block=block(activated=False)
        )
    return nn.Sequential(
        first, *[PreActBlock(channels, channels, rng=rng) for _ in range(blocks - 1)]
    )


def _zero_last_norms(model: nn.Module) -> None:
    for _, module in model.named_modules():
        if isinstance(module, (BasicBlock, Bottleneck)) and module.last_norm.weight:
            module.last_norm.weight.data[...] = 0

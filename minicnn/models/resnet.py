"""Blocks of residual networks, with torchvision's attribute names.

Source
    He et al. (2016), Deep residual learning for image recognition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn import nn


class BasicBlock(nn.Residual):
    """Two 3x3 convolutions with batch norm, around which x is added.

    Where stride or channels change, x is projected by a 1x1 convolution (``downsample``).
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, *, rng: np.random.Generator
    ) -> None:
        self.conv1 = nn.Conv2d(
            in_channels, channels, 3, stride, padding=1, bias=False, rng=rng
        )  # fmt: skip
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False, rng=rng),
                nn.BatchNorm2d(channels),
            )

    @property
    def activation(self) -> nn.Module:  # type: ignore[override]
        return self.relu

    def branches(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        main = [self.conv1, self.bn1, self.relu, self.conv2, self.bn2]
        return main, [self.downsample] if self.downsample else []

"""SqueezeNet, with torchvision's attribute names.

Source
    Iandola et al. (2016), SqueezeNet: AlexNet-level accuracy with 50x fewer parameters; 1.1 is a
    later version by the authors, with less work.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minicnn import insight, nn
from minicnn.models.weights import with_weights
from minicnn.nn.module import Window
from minicnn.nn.sequential import (
    backward_chain,
    chain_multiply_adds,
    chain_shape,
    forward_chain,
)

_conv = partial(nn.Conv2d, init=nn.init.kaiming_uniform)


class Fire(nn.Concat):
    """A 1x1 convolution to few channels; then 1x1 and 3x3 convolutions of them side by side."""

    def __init__(
        self, in_channels: int, squeeze: int, expand: int, *, rng: np.random.Generator
    ) -> None:
        self.squeeze = _conv(in_channels, squeeze, 1, rng=rng)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = _conv(squeeze, expand, 1, rng=rng)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = _conv(squeeze, expand, 3, padding=1, rng=rng)
        self.expand3x3_activation = nn.ReLU()

    def stem(self) -> list[nn.Module]:
        return [self.squeeze, self.squeeze_activation]

    def branches(self) -> list[list[nn.Module]]:
        return [
            [self.expand1x1, self.expand1x1_activation],
            [self.expand3x3, self.expand3x3_activation],
        ]

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Any]:
        squeezed, stem = forward_chain(self.stem(), x, training)
        y, branches = super().forward(squeezed, training=training)
        return y, (stem, branches)

    def backward(self, dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> np.ndarray | None:
        stem, branches = cache
        asked = input_grad or self.squeeze.learns
        dsqueezed = super().backward(dy, branches, input_grad=asked)
        if dsqueezed is None:
            return None
        return backward_chain(self.stem(), dsqueezed, stem, input_grad)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return super().output_shape(chain_shape(self.stem(), shape))

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        inside = super().multiply_adds(chain_shape(self.stem(), shape))
        return chain_multiply_adds(self.stem(), shape) + inside

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return super().window(chain_shape(self.stem(), shape))  # the stem is 1x1


@insight.rule.register
def _what_it_sees(fire: Fire, field: insight.Field, through: insight.Through) -> insight.Field:
    return insight.side_by_side(fire.branches(), through(fire.stem(), field), through)


@with_weights
def squeezenet1_1(
    num_classes: int = 1000,
    dropout: float = 0.5,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return SqueezeNet 1.1 for images (n, in_channels, 224, 224); gives logits."""
    rng = rng or np.random.default_rng()
    fire = partial(Fire, rng=rng)
    last = partial(nn.init.normal, std=0.01)
    return nn.Sequential(
        features=nn.Sequential(
            _conv(in_channels, 64, 3, 2, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(64, 16, 64),
            fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(128, 32, 128),
            fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(256, 48, 192),
            fire(384, 48, 192),
            fire(384, 64, 256),
            fire(512, 64, 256),
        ),
        classifier=nn.Sequential(
            nn.Dropout(dropout, rng=rng),
            nn.Conv2d(512, num_classes, 1, init=last, rng=rng),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        ),
        flatten=nn.Flatten(),
    )

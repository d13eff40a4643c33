"""The networks of ``minicnn.models`` in PyTorch, with the same names in their state dicts.

They share no code with minicnn, so that an error on one side shows. They are written as PyTorch's
tutorials write them: layers with parameters are attributes, the others are functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn


class LeNet5(nn.Module):
    """LeNet-5 for images (n, 1, 28, 28); gives logits.

    "tutorial" has max pooling and ReLU, "1998" padding, average pooling and tanh as in the paper.
    """

    def __init__(
        self, num_classes: int = 10, variant: Literal["tutorial", "1998"] = "tutorial"
    ) -> None:
        super().__init__()
        if variant not in ("tutorial", "1998"):
            raise ValueError(f"LeNet5: variant must be 'tutorial' or '1998', got {variant!r}.")
        paper = variant == "1998"
        self.activation = torch.tanh if paper else F.relu
        self.pool = F.avg_pool2d if paper else F.max_pool2d
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2 if paper else 0)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5 if paper else 16 * 4 * 4, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.activation(self.conv1(x)), 2)
        x = self.pool(self.activation(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = self.activation(self.fc1(x))
        x = self.activation(self.fc2(x))
        return self.fc3(x)


class CNN3(nn.Module):
    """Three convolutions and two linear layers, for images (n, 1, 28, 28); gives logits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.conv3 = nn.Conv2d(32, 64, 5)
        self.fc1 = nn.Linear(64 * 3 * 3, 100)
        self.fc2 = nn.Linear(100, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


class ConvNet(nn.Module):
    """Two convolutions and one linear layer, for (n, 1, 28, 28); gives log-probabilities."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc = nn.Linear(320, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return F.log_softmax(self.fc(torch.flatten(x, 1)), dim=1)


# By the names of minicnn.models; each takes num_classes.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "lenet5-1998": partial(LeNet5, variant="1998"),
    "cnn3": CNN3,
    "convnet": ConvNet,
}

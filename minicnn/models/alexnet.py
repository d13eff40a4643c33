"""AlexNet, with torchvision's attribute names.

Source
    Krizhevsky (2014), One weird trick for parallelizing convolutional neural networks. This is the
    network of 2012 for one device, without local response normalisation.
"""

from __future__ import annotations

import numpy as np

from minicnn import nn
from minicnn.models.weights import with_weights


@with_weights
def alexnet(
    num_classes: int = 1000,
    dropout: float = 0.5,
    in_channels: int = 3,
    *,
    rng: np.random.Generator | None = None,
) -> nn.Sequential:
    """Return AlexNet for images (n, in_channels, 224, 224); gives logits."""
    rng = rng or np.random.default_rng()
    return nn.Sequential(
        features=nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, 4, padding=2, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1, rng=rng),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, rng=rng),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        ),
        avgpool=nn.AdaptiveAvgPool2d(6),
        flatten=nn.Flatten(),
        classifier=nn.Sequential(
            nn.Dropout(dropout, rng=rng),
            nn.Linear(256 * 6 * 6, 4096, rng=rng),
            nn.ReLU(),
            nn.Dropout(dropout, rng=rng),
            nn.Linear(4096, 4096, rng=rng),
            nn.ReLU(),
            nn.Linear(4096, num_classes, rng=rng),
        ),
    )

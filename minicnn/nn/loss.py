"""Losses as objects that keep their options. They take two arrays, so they are not modules."""

from __future__ import annotations

import numpy as np

from minicnn.backend import Impl
from minicnn.ops import cross_entropy, nll_loss
from minicnn.reduction import Reduction


class CrossEntropyLoss:
    """Cross-entropy of logits (n, classes, ...) with classes or probabilities."""

    def __init__(
        self,
        weight: np.ndarray | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        *,
        impl: Impl = "fast",
    ) -> None:
        self.weight, self.ignore_index, self.reduction = weight, ignore_index, reduction
        self.label_smoothing, self.impl = label_smoothing, impl

    def __call__(self, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the loss alone; ``forward`` returns what backward needs too."""
        return self.forward(logits, target)[0]

    def forward(
        self, logits: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, cross_entropy.Cache]:
        return cross_entropy.forward(
            logits, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing,
            impl=self.impl,
        )  # fmt: skip

    def backward(self, dy: np.ndarray | float, cache: cross_entropy.Cache) -> np.ndarray:
        return cross_entropy.backward(dy, cache, impl=self.impl)


class NLLLoss:
    """Negative log-likelihood of log-probabilities (n, classes, ...)."""

    def __init__(
        self,
        weight: np.ndarray | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        *,
        impl: Impl = "fast",
    ) -> None:
        self.weight, self.ignore_index, self.reduction = weight, ignore_index, reduction
        self.impl = impl

    def __call__(self, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the loss alone; ``forward`` returns what backward needs too."""
        return self.forward(x, target)[0]

    def forward(self, x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, nll_loss.Cache]:
        return nll_loss.forward(
            x, target, self.weight, self.ignore_index, self.reduction, impl=self.impl
        )

    def backward(self, dy: np.ndarray | float, cache: nll_loss.Cache) -> np.ndarray:
        return nll_loss.backward(dy, cache, impl=self.impl)

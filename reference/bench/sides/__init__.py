"""Who takes part: a side is one library, in one way of using it, at work on a problem.

A side imports its library when it is built, so that a process can hold one side alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

LEARNING_RATE = 0.01
MOMENTUM = 0.9


class NetworkProblem(NamedTuple):
    """A network by name, and the batches that it is fed with in turn."""

    model: str
    images: np.ndarray  # (batches, n, c, h, w) in float32
    targets: np.ndarray  # (batches, n), classes


class OperationProblem(NamedTuple):
    """An operation by the name that minicnn.ops and torch.nn.functional have for it."""

    name: str
    x: np.ndarray
    parameters: dict[str, np.ndarray]  # weight and bias: with a gradient, as x
    constants: dict[str, np.ndarray]  # without one
    options: dict[str, Any]
    dy: np.ndarray  # what comes from above
    input_grad: bool  # whether the gradient of x is asked for


class Side(ABC):
    """One library at work."""

    imports: ClassVar[tuple[str, ...]]
    learns: ClassVar[bool] = False  # whether a step changes the weights

    @staticmethod
    @abstractmethod
    def use_threads(count: int) -> int:
        """Work on ``count`` threads from now on; return the number before."""

    @abstractmethod
    def __init__(self, problem: Any) -> None: ...

    @abstractmethod
    def step(self) -> None:
        """Do what is timed, once."""

    @abstractmethod
    def results(self) -> dict[str, np.ndarray]:
        """Return by name what the last step computed, to be compared with the other sides'."""

    def weights(self) -> dict[str, np.ndarray]:
        """Return copies of parameters and buffers by torchvision's names; an operation has none."""
        return {}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:  # noqa: B027, see weights
        """Take over the weights of another side."""

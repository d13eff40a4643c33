"""What can be timed. A workload is a line in ``WORKLOADS``; a side is a class with ``step``.

A side imports its libraries when it is built, so that a process can hold one side alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

LEARNING_RATE = 0.01
MOMENTUM = 0.9
BATCHES = 8  # different ones, taken in turn


class Problem(NamedTuple):
    """A network by name, and the batches that it is fed with."""

    model: str
    images: np.ndarray  # (BATCHES, n, c, h, w) in float32
    targets: np.ndarray  # (BATCHES, n), classes


class Side(ABC):
    """One library at work on a problem."""

    imports: ClassVar[tuple[str, ...]]

    @staticmethod
    @abstractmethod
    def use_threads(count: int) -> int:
        """Work on ``count`` threads from now on; return the number before."""

    @abstractmethod
    def __init__(self, problem: Problem) -> None: ...

    @abstractmethod
    def step(self) -> None:
        """Do what is timed, on the next batch."""

    @abstractmethod
    def loss(self) -> float:
        """Return the loss of the last step."""

    @abstractmethod
    def weights(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters by name."""

    @abstractmethod
    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None: ...


class Minicnn(Side):
    model: Any
    imports = ("minicnn", "minicnn.optim")

    @staticmethod
    def use_threads(count: int) -> int:
        import numba

        before: int = numba.get_num_threads()
        numba.set_num_threads(count)
        return before

    def weights(self) -> dict[str, np.ndarray]:
        return self.model.state_dict()

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.model.load_state_dict(weights)


class MinicnnTraining(Minicnn):
    """The training step of minicnn."""

    def __init__(self, problem: Problem) -> None:
        from minicnn import models, nn, optim

        self.model = models.create(problem.model, rng=np.random.default_rng(0))
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.batches = list(zip(problem.images, problem.targets, strict=True))
        self.steps = 0

    def step(self) -> None:
        images, targets = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        self.optimizer.zero_grad()
        logits, cache = self.model.forward(images, training=True)
        self.last_loss, loss_cache = self.criterion.forward(logits, targets)
        self.model.backward(self.criterion.backward(1.0, loss_cache), cache, input_grad=False)
        self.optimizer.step()

    def loss(self) -> float:
        return float(self.last_loss)


class Torch(Side):
    model: Any
    imports = ("torch", "reference.models")

    @staticmethod
    def use_threads(count: int) -> int:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        return before

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy().copy() for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        import torch

        self.model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})


class TorchTraining(Torch):
    """The training step of PyTorch eager, with its tensors in the format it calls contiguous."""

    memory_format: ClassVar[Literal["contiguous_format", "channels_last"]] = "contiguous_format"

    def __init__(self, problem: Problem) -> None:
        import torch

        from reference.models import MODELS

        memory_format = getattr(torch, self.memory_format)
        self.model = MODELS[problem.model]().to(memory_format=memory_format)
        self.cross_entropy = torch.nn.functional.cross_entropy
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM
        )
        self.batches = [
            (torch.tensor(images).to(memory_format=memory_format), torch.tensor(targets))
            for images, targets in zip(problem.images, problem.targets, strict=True)
        ]
        self.steps = 0

    def step(self) -> None:
        images, targets = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        self.optimizer.zero_grad()
        self.last_loss = self.cross_entropy(self.model(images), targets)
        self.last_loss.backward()
        self.optimizer.step()

    def loss(self) -> float:
        return self.last_loss.item()


class TorchTrainingChannelsLast(TorchTraining):
    """The same with channels last, which suits its convolutions better."""

    memory_format = "channels_last"


# The first is ours. The others are PyTorch's; the fastest of them is what ours is measured by.
TRAINING: dict[str, type[Side]] = {
    "minicnn": MinicnnTraining,
    "torch contiguous": TorchTraining,
    "torch channels_last": TorchTrainingChannelsLast,
}


class Workload(NamedTuple):
    """What is timed: who takes part, in which network, on images of which shape."""

    title: str
    sides: dict[str, type[Side]]
    model: str
    image: tuple[int, int, int]
    classes: int
    batches: tuple[int, ...]  # sizes, unless others are asked for

    def problem(self, batch: int) -> Problem:
        """Return the problem for batches of this size; the same numbers each time."""
        rng = np.random.default_rng(0)
        shape = (BATCHES, batch, *self.image)
        images = rng.standard_normal(shape, dtype=np.float32)
        return Problem(self.model, images, rng.integers(0, self.classes, shape[:2]))


WORKLOADS: dict[str, Workload] = {
    "lenet5-train": Workload(
        "LeNet-5, training step", TRAINING, "lenet5", (1, 28, 28), 10, (64, 256)
    ),
}

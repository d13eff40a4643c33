"""PyTorch: eager as its tutorials write it, and what it offers beyond that."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from reference.bench.sides import (
    LEARNING_RATE,
    MOMENTUM,
    NetworkProblem,
    OperationProblem,
    Side,
)

MemoryFormat = Literal["contiguous_format", "channels_last"]


def compiler() -> str | None:
    """Return the C++ compiler that torch.compile would call, None where there is none."""
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))


class Torch(Side):
    imports = ("torch", "reference.models")
    memory_format: ClassVar[MemoryFormat] = "contiguous_format"

    @staticmethod
    def use_threads(count: int) -> int:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        return before

    def tensor(self, array: np.ndarray) -> Any:
        """Return a copy of ``array``, if it is four-dimensional in the side's memory format."""
        import torch

        tensor = torch.tensor(array)
        if tensor.ndim != 4:
            return tensor
        return tensor.to(memory_format=getattr(torch, self.memory_format))


# --------------------------------------------------------------------------------------- networks


class TorchNetwork(Torch):
    def __init__(self, problem: NetworkProblem) -> None:
        import torch

        from reference.models import MODELS

        model = MODELS[problem.model]().to(memory_format=getattr(torch, self.memory_format))
        self.model = model.train(self.learns)
        self.batches = [
            (self.tensor(images), torch.tensor(targets))
            for images, targets in zip(problem.images, problem.targets, strict=True)
        ]
        self.steps = 0
        self.network = self.prepare()

    def prepare(self) -> Any:
        """Return the network as it is timed; called again when weights have been loaded."""
        return self.model

    def next_batch(self) -> tuple[Any, Any]:
        batch = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        return batch

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.numpy().copy() for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        import torch

        self.model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        self.network = self.prepare()


class TorchTraining(TorchNetwork):
    """The training step of PyTorch eager, with its tensors in the format it calls contiguous."""

    learns = True

    def __init__(self, problem: NetworkProblem) -> None:
        import torch

        super().__init__(problem)
        self.cross_entropy = torch.nn.functional.cross_entropy
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM
        )

    def step(self) -> None:
        images, targets = self.next_batch()
        self.optimizer.zero_grad()
        self.loss = self.cross_entropy(self.network(images), targets)
        self.loss.backward()
        self.optimizer.step()

    def results(self) -> dict[str, np.ndarray]:
        return {"loss": self.loss.detach().numpy()}


class TorchTrainingChannelsLast(TorchTraining):
    """The same with channels last, which suits its convolutions better."""

    memory_format = "channels_last"


class TorchTrainingCompiled(TorchTrainingChannelsLast):
    """The same with the network compiled."""

    def prepare(self) -> Any:
        import torch

        return torch.compile(self.model)


class TorchInference(TorchNetwork):
    """The logits of PyTorch eager, in eval mode and inference_mode."""

    def __init__(self, problem: NetworkProblem) -> None:
        import torch

        super().__init__(problem)
        self.inference_mode = torch.inference_mode

    def step(self) -> None:
        with self.inference_mode():
            self.logits = self.network(self.next_batch()[0])

    def results(self) -> dict[str, np.ndarray]:
        return {"logits": self.logits.numpy()}


class TorchInferenceChannelsLast(TorchInference):
    memory_format = "channels_last"


class TorchFolded(TorchInference):
    """Each batch norm is folded into the convolution before it (fuse_conv_bn_eval), by torch.fx."""

    def prepare(self) -> Any:
        import torch
        from torch.fx.experimental.optimization import fuse

        return fuse(self.model).to(memory_format=getattr(torch, self.memory_format))


class TorchFoldedChannelsLast(TorchFolded):
    memory_format = "channels_last"


class TorchFrozen(TorchInference):
    """Traced, frozen (which folds batch norm) and optimised for inference by torch.jit."""

    def prepare(self) -> Any:
        import torch

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecated, but still among the fastest
            traced = torch.jit.trace(self.model, self.batches[0][0])
            return torch.jit.optimize_for_inference(torch.jit.freeze(traced))


class TorchFrozenChannelsLast(TorchFrozen):
    memory_format = "channels_last"


class TorchInferenceCompiled(TorchInferenceChannelsLast):
    """Compiled with the weights as constants."""

    def prepare(self) -> Any:
        import torch

        return torch.compile(self.model, options={"freezing": True})


# ------------------------------------------------------------------------------------- operations


class TorchForward(Torch):
    """An operation forward, with autograd keeping what backward needs."""

    def __init__(self, problem: OperationProblem) -> None:
        import torch

        self.function = getattr(torch.nn.functional, problem.name)
        self.x = self.tensor(problem.x).requires_grad_(problem.input_grad)
        self.parameters = {
            name: self.tensor(array).requires_grad_() for name, array in problem.parameters.items()
        }
        constants = {name: torch.tensor(array) for name, array in problem.constants.items()}
        self.arguments = self.parameters | constants | problem.options

    def step(self) -> None:
        self.y = self.function(self.x, **self.arguments)

    def results(self) -> dict[str, np.ndarray]:
        return {"y": self.y.detach().numpy()}


class TorchForwardChannelsLast(TorchForward):
    memory_format = "channels_last"


class TorchBackward(TorchForward):
    """An operation backward, after a forward that is not timed."""

    def __init__(self, problem: OperationProblem) -> None:
        import torch

        super().__init__(problem)
        super().step()
        self.dy = self.tensor(problem.dy)
        self.inputs = {"x": self.x} if problem.input_grad else {}
        self.inputs |= self.parameters
        self.wanted = tuple(self.inputs.values())
        self.grad = torch.autograd.grad

    def step(self) -> None:
        self.gradients = self.grad(self.y, self.wanted, self.dy, retain_graph=True)

    def results(self) -> dict[str, np.ndarray]:
        pairs = zip(self.inputs, self.gradients, strict=True)
        return {f"d{name}": gradient.numpy() for name, gradient in pairs}


class TorchBackwardChannelsLast(TorchBackward):
    memory_format = "channels_last"

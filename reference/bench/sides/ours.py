"""minicnn, through nothing but its public interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.bench.sides import (
    LEARNING_RATE,
    MOMENTUM,
    NetworkProblem,
    OperationProblem,
    Side,
)


def prepared(model: Any, *, training: bool) -> Any:
    """Return the network as it is timed, with the same parameters as ``model``.

    What makes a whole network faster belongs here and nowhere else. It is called again whenever
    weights have been loaded, because what is prepared for inference may be made of them.
    """
    from minicnn import fuse

    return fuse(model, inference=not training)


class Minicnn(Side):
    imports = ("minicnn", "minicnn.optim")

    @staticmethod
    def use_threads(count: int) -> int:
        import numba

        before: int = numba.get_num_threads()
        numba.set_num_threads(count)
        return before


# --------------------------------------------------------------------------------------- networks


class MinicnnNetwork(Minicnn):
    def __init__(self, problem: NetworkProblem) -> None:
        from minicnn import models

        self.model = models.create(problem.model, rng=np.random.default_rng(0))
        self.batches = list(zip(problem.images, problem.targets, strict=True))
        self.steps = 0
        self.network = self.prepare()

    def prepare(self) -> Any:
        return prepared(self.model, training=self.learns)

    def next_batch(self) -> tuple[np.ndarray, np.ndarray]:
        batch = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        return batch

    def weights(self) -> dict[str, np.ndarray]:
        return self.model.state_dict()

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.model.load_state_dict(weights)
        self.network = self.prepare()


class MinicnnTraining(MinicnnNetwork):
    """The training step of minicnn."""

    learns = True

    def __init__(self, problem: NetworkProblem) -> None:
        from minicnn import nn, optim

        super().__init__(problem)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step(self) -> None:
        images, targets = self.next_batch()
        self.optimizer.zero_grad()
        logits, cache = self.network.forward(images, training=True)
        self.loss, loss_cache = self.criterion.forward(logits, targets)
        self.network.backward(self.criterion.backward(1.0, loss_cache), cache, input_grad=False)
        self.optimizer.step()

    def results(self) -> dict[str, np.ndarray]:
        return {"loss": np.asarray(self.loss)}


class MinicnnInference(MinicnnNetwork):
    """The logits of minicnn."""

    def __init__(self, problem: NetworkProblem) -> None:
        super().__init__(problem)
        rng = np.random.default_rng(1)
        state = self.model.state_dict()
        for name, array in state.items():  # as after some training: else batch norm does nothing
            if name.endswith("running_mean"):
                array[...] = 0.1 * rng.standard_normal(array.shape)
            elif name.endswith("running_var"):
                array[...] = rng.uniform(0.5, 1.5, array.shape)
        self.load_weights(state)

    def step(self) -> None:
        self.logits = self.network(self.next_batch()[0])

    def results(self) -> dict[str, np.ndarray]:
        return {"logits": self.logits}


# ------------------------------------------------------------------------------------- operations


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return a copy of ``x`` in the memory order that minicnn's layers hand on; (n, f) as it is."""
    return x.copy() if x.ndim != 4 else x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)


class MinicnnForward(Minicnn):
    """An operation forward, together with what backward needs."""

    def __init__(self, problem: OperationProblem) -> None:
        from minicnn import ops

        self.operation = getattr(ops, problem.name)
        self.x = channels_last(problem.x)
        arrays = {**problem.parameters, **problem.constants}
        self.arguments = {name: array.copy() for name, array in arrays.items()} | problem.options

    def step(self) -> None:
        self.y, self.cache = self.operation.forward(self.x, **self.arguments)

    def results(self) -> dict[str, np.ndarray]:
        return {"y": np.asarray(self.y)}


class MinicnnBackward(MinicnnForward):
    """An operation backward, after a forward that is not timed."""

    def __init__(self, problem: OperationProblem) -> None:
        super().__init__(problem)
        super().step()
        self.dy = channels_last(problem.dy)
        self.names = ["x", *problem.parameters]
        self.spared = {} if problem.input_grad else {"input_grad": False}

    def step(self) -> None:
        self.gradients = self.operation.backward(self.dy, self.cache, **self.spared)

    def results(self) -> dict[str, np.ndarray]:
        gradients = self.gradients if isinstance(self.gradients, tuple) else (self.gradients,)
        pairs = zip(self.names, gradients, strict=False)  # a bias that is not there has a None
        return {f"d{name}": gradient for name, gradient in pairs if gradient is not None}

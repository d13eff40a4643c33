"""Convolution in NumPy as it is taught: im2col and one matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np

from reference.bench.sides import LEARNING_RATE, MOMENTUM, NetworkProblem, Side
from reference.bench.sides.ours import MinicnnInference, MinicnnTraining


def use_blas_threads(count: int) -> int:
    """Let NumPy's matrix products run on ``count`` threads; return the number before."""
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    before = max((library.get_num_threads() for library in libraries), default=count)
    for library in libraries:
        library.set_num_threads(count)
    return before


# ------------------------------------------------------------------------------------------ im2col


def _textbook(model: Any) -> Any:
    """Return the network with every operation as its formula, as Stanford's CS231n teaches them.

    But linear layers keep their matrix product, where the formula is a sum in Einstein's notation,
    which NumPy does not hand to BLAS.
    """
    from minicnn import nn

    model.set_impl("textbook")
    for _, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.impl = "fast"
    return model


class NumpyTraining(MinicnnTraining):
    """The training step in plain NumPy: minicnn's formulas, with nothing compiled but SGD."""

    def __init__(self, problem: NetworkProblem) -> None:
        super().__init__(problem)
        self.criterion.impl = "textbook"

    def prepare(self) -> Any:
        return _textbook(self.model)

    @staticmethod
    def use_threads(count: int) -> int:
        return use_blas_threads(count)


class NumpyInference(MinicnnInference):
    """The logits in plain NumPy."""

    def prepare(self) -> Any:
        return _textbook(self.model)

    @staticmethod
    def use_threads(count: int) -> int:
        return use_blas_threads(count)


# ------------------------------------------------------------------------------------------ DeZero


@cache
def dezero_note() -> str | None:
    """Import DeZero and return what is to be said of that; None where it imports as it is.

    Its last release asks for ``np.int`` while it is imported, where a default of a transform of
    labels stands; nothing that is timed uses it. It is lent the name.
    """
    if find_spec("dezero") is None:
        return "DeZero is not installed. Install it with: pip install dezero"
    try:
        import_module("dezero")
    except AttributeError as error:
        why = str(error).splitlines()[0].rstrip(".")
    else:
        return None
    try:
        with patch.object(np, "int", int, create=True):
            import_module("dezero")
    except AttributeError as error:
        return f"DeZero does not import with NumPy {np.__version__}: {str(error).splitlines()[0]}"
    return (
        f"DeZero does not import with NumPy {np.__version__} as it is ({why}); "
        "it was lent np.int, which means int, while it was imported."
    )


def dezero_works() -> bool:
    note = dezero_note()
    return note is None or "was lent" in note


def dezero_network(name: str) -> Any:
    """Return the network as DeZero's book would write it."""
    import dezero.functions as F
    import dezero.layers as L
    from dezero import Model

    class LeNet5(Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = L.Conv2d(6, 5, in_channels=1)
            self.conv2 = L.Conv2d(16, 5, in_channels=6)
            self.fc1 = L.Linear(120, in_size=256)
            self.fc2 = L.Linear(84, in_size=120)
            self.fc3 = L.Linear(10, in_size=84)

        def forward(self, x: Any) -> Any:
            x = F.pooling(F.relu(self.conv1(x)), 2, 2)
            x = F.pooling(F.relu(self.conv2(x)), 2, 2)
            x = F.relu(self.fc1(F.flatten(x)))
            return self.fc3(F.relu(self.fc2(x)))

    class CNN3(Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = L.Conv2d(16, 5, in_channels=1)
            self.conv2 = L.Conv2d(32, 5, in_channels=16)
            self.conv3 = L.Conv2d(64, 5, in_channels=32)
            self.fc1 = L.Linear(100, in_size=576)
            self.fc2 = L.Linear(10, in_size=100)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.conv1(x))
            x = F.pooling(F.relu(self.conv2(x)), 2, 2)
            x = F.pooling(F.relu(self.conv3(x)), 2, 2)
            return self.fc2(F.relu(self.fc1(F.flatten(x))))

    return {"lenet5": LeNet5, "cnn3": CNN3}[name]()


class Dezero(Side):
    """The training step of DeZero. Its loss turns the gradients into float64; that is its own."""

    learns = True
    imports = ("reference.bench.sides.peers",)

    @staticmethod
    def use_threads(count: int) -> int:
        return use_blas_threads(count)

    def __init__(self, problem: NetworkProblem) -> None:
        dezero_note()  # which imports it
        from dezero import functions, optimizers

        self.model = dezero_network(problem.model)
        self.optimizer = optimizers.MomentumSGD(lr=LEARNING_RATE, momentum=MOMENTUM)
        self.optimizer.setup(self.model)
        self.cross_entropy = functions.softmax_cross_entropy
        self.batches = list(zip(problem.images, problem.targets, strict=True))
        self.steps = 0

    def step(self) -> None:
        images, targets = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        self.loss = self.cross_entropy(self.model(images), targets)
        self.model.cleargrads()
        self.loss.backward()
        self.optimizer.update()

    def results(self) -> dict[str, np.ndarray]:
        return {"loss": np.asarray(self.loss.data)}

    def _parameters(self) -> dict[str, Any]:
        layers = ((name, getattr(self.model, name)) for name in vars(self.model))
        return {
            f"{name}.{end}": parameter
            for name, layer in layers
            if hasattr(layer, "W")
            for end, parameter in (("weight", layer.W), ("bias", layer.b))
        }

    def weights(self) -> dict[str, np.ndarray]:
        # .T, because a linear layer's weight is (in, out) here
        return {
            name: (p.data.T if p.data.ndim == 2 else p.data).copy()
            for name, p in self._parameters().items()
        }

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        for name, p in self._parameters().items():  # its own may be float64, by NumPy's new rules
            p.data = (weights[name].T if weights[name].ndim == 2 else weights[name]).copy()

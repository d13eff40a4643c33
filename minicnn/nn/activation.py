"""Elementwise functions and softmax as layers."""

from __future__ import annotations

import numpy as np

from minicnn.nn.module import Elementwise
from minicnn.ops import gelu, leaky_relu, log_softmax, relu, sigmoid, softmax, tanh
from minicnn.shapes import check_choice


class ReLU(Elementwise):
    """max(x, 0)."""

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, relu.Cache]:
        return relu.forward(x, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: relu.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return relu.backward(dy, cache, impl=self.impl) if input_grad else None


class LeakyReLU(Elementwise):
    """x where x > 0, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, leaky_relu.Cache]:
        return leaky_relu.forward(x, self.negative_slope, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: leaky_relu.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return leaky_relu.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, sigmoid.Cache]:
        return sigmoid.forward(x, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: sigmoid.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return sigmoid.backward(dy, cache, impl=self.impl) if input_grad else None


class Tanh(Elementwise):
    """Hyperbolic tangent."""

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, tanh.Cache]:
        return tanh.forward(x, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: tanh.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return tanh.backward(dy, cache, impl=self.impl) if input_grad else None


class GELU(Elementwise):
    """x times the probability that a normal number is below x; ``approximate`` "none" or "tanh"."""

    def __init__(self, approximate: gelu.Approximate = "none") -> None:
        check_choice("GELU", "approximate", approximate, gelu.APPROXIMATE)
        self.approximate: gelu.Approximate = approximate

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, gelu.Cache]:
        return gelu.forward(x, self.approximate, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: gelu.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return gelu.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Elementwise):
    """Probabilities along ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, softmax.Cache]:
        return softmax.forward(x, self.dim, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: softmax.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return softmax.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Elementwise):
    """Logarithms of the probabilities along ``dim``."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, log_softmax.Cache]:
        return log_softmax.forward(x, self.dim, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: log_softmax.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return log_softmax.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"dim={self.dim}"

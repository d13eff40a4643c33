"""The fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn.nn.init import Init, weight_and_bias
from minicnn.nn.module import Module, Param, Window
from minicnn.ops import linear
from minicnn.shapes import ShapeError, integer


class Linear(Module):
    """y = x W^T + b, from (..., in_features) to (..., out_features).

    ``init`` is a function of ``nn.init``; the bias is then 0. None draws both as torch does.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        init: Init | None = None,
        dtype: Any = np.float32,
    ) -> None:
        shape = (
            integer("Linear", "out_features", out_features, 1),
            integer("Linear", "in_features", in_features, 1),
        )
        first, first_bias = weight_and_bias(shape, bias, init, rng, dtype)
        self.weight = Param(first)
        self.bias = None if first_bias is None else Param(first_bias)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, linear.Cache]:
        bias = self.bias.data if self.bias else None
        return linear.forward(x, self.weight.data, bias, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: linear.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        dx, dweight, dbias = linear.backward(
            dy, cache, input_grad=input_grad, param_grad=self.learns, impl=self.impl
        )
        self.weight.add_grad(dweight)
        if self.bias:
            self.bias.add_grad(dbias)
        return dx

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        o, i = self.weight.data.shape
        if not shape or shape[-1] != i:
            raise ShapeError(f"Linear: {i} features are needed on the last axis, got {shape}.")
        return *shape[:-1], o

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return self.weight.data.size * math.prod(shape[:-1])

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return None

    def _options(self) -> str:
        o, i = self.weight.data.shape
        return f"{i}, {o}, bias={self.bias is not None}"

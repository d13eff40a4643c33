"""From images to vectors."""

from __future__ import annotations

import math

import numpy as np

from minicnn.nn.module import Module


class Flatten(Module):
    """(n, c, h, w) becomes (n, c * h * w), in the order of the indices."""

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, tuple[int, ...]]:
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x.shape

    def backward(
        self, dy: np.ndarray, cache: tuple[int, ...], *, input_grad: bool = True
    ) -> np.ndarray | None:
        return dy.reshape(cache) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)

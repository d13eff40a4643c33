"""From images to vectors."""

from __future__ import annotations

import math

import numpy as np

from minicnn.nn.module import Elementwise
from minicnn.shapes import ShapeError, axis_index, check_array, whole


class Flatten(Elementwise):
    """Join the axes from ``start_dim`` to ``end_dim``, both included, in the order of the indices.

    (n, c, h, w) becomes (n, c * h * w) by default. Axis 0 is the batch; negative numbers count from
    the last axis. Raises ShapeError if the input has no such axes.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = whole("Flatten", "start_dim", start_dim)
        self.end_dim = whole("Flatten", "end_dim", end_dim)

    @property
    def keeps_the_batch_only(self) -> bool:
        """True if all axes except the batch are joined, for any number of axes."""
        return (self.start_dim, self.end_dim) == (1, -1)

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, tuple[int, ...]]:
        check_array("Flatten", "x", x)
        return x.reshape(self._joined(x.shape)), x.shape

    def backward(
        self, dy: np.ndarray, cache: tuple[int, ...], *, input_grad: bool = True
    ) -> np.ndarray | None:
        return dy.reshape(cache) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        first = axis_index("Flatten", self.start_dim, 1 + len(shape))
        last = axis_index("Flatten", self.end_dim, 1 + len(shape))
        if first == 0 < last:
            raise ShapeError(
                f"Flatten: start_dim={self.start_dim} joins the batch with the axes of {shape}, so "
                "a single image has no shape of its own. Use start_dim=1."
            )
        return self._joined((1, *shape))[1:]

    def _joined(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = max(1, len(shape))  # one number is a vector of one
        first = axis_index("Flatten", self.start_dim, axes)
        last = axis_index("Flatten", self.end_dim, axes)
        if first > last:
            raise ShapeError(
                f"Flatten: start_dim={self.start_dim} is axis {first} of {shape}, after "
                f"end_dim={self.end_dim}, axis {last}. Use a start_dim of at most {last}."
            )
        return *shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]

    def _options(self) -> str:
        default = self.keeps_the_batch_only
        return "" if default else f"start_dim={self.start_dim}, end_dim={self.end_dim}"

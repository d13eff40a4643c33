"""Single operations, at the shapes at which networks call them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from reference.bench.sides import OperationProblem

Shape = tuple[int, ...]
NONE: Mapping[str, Any] = MappingProxyType({})


class Work(NamedTuple):
    """What a step has to do, whatever the algorithm."""

    flops: int  # two for each product in convolutions and matrices; fast algorithms do with fewer
    bytes: int = 0  # to read each array once and write each once; 0 for networks: nobody counts


class Operation(NamedTuple):
    """An operation by its name in minicnn.ops and torch.nn.functional, in float32."""

    name: str
    label: str
    x: Shape  # without the batch, like y
    y: Shape
    parameters: Mapping[str, Shape] = NONE
    options: Mapping[str, Any] = NONE
    multiply_adds: int = 0  # of one image
    input_grad: bool = True

    def problem(self, batch: int) -> OperationProblem:
        """Return the operation on numbers, the same each time."""
        rng = np.random.default_rng(0)
        constants: dict[str, np.ndarray] = {}
        if self.name == "cross_entropy":
            constants = {"target": rng.integers(0, self.x[0], batch)}
        elif self.name == "batch_norm":
            channels = self.x[0]
            constants = {
                "running_mean": np.zeros(channels, np.float32),
                "running_var": np.ones(channels, np.float32),
            }
        parameters = {
            name: rng.standard_normal(shape, dtype=np.float32)
            for name, shape in self.parameters.items()
        }
        shape = (batch, *self.y) if self.y else ()
        dy = np.asarray(rng.standard_normal(shape, dtype=np.float32))
        x = rng.standard_normal((batch, *self.x), dtype=np.float32)
        return OperationProblem(
            self.name, x, parameters, constants, dict(self.options), dy, self.input_grad
        )

    def forward_work(self, batch: int) -> Work:
        x, y, weights = self._sizes(batch)
        return Work(2 * batch * self.multiply_adds, 4 * (x + weights + y))

    def backward_work(self, batch: int) -> Work:
        x, y, weights = self._sizes(batch)
        reads = y + (0 if self.name == "max_pool2d" else x) + weights
        writes = (x if self.input_grad else 0) + weights
        products = 2 if self.input_grad else 1  # for x and for weight
        return Work(2 * products * batch * self.multiply_adds, 4 * (reads + writes))

    def _sizes(self, batch: int) -> tuple[int, int, int]:
        weights = sum(math.prod(shape) for shape in self.parameters.values())
        return batch * math.prod(self.x), batch * math.prod(self.y) if self.y else 1, weights


def conv2d(c: int, o: int, size: int, k: int = 3, stride: int = 1, **options: bool) -> Operation:
    """Convolve ``c`` channels into ``o``; ``bias`` adds one, ``first`` needs no gradient of x."""
    out = (size + 2 * (k // 2) - k) // stride + 1
    parameters: dict[str, Shape] = {"weight": (o, c, k, k)}
    if options.get("bias"):
        parameters["bias"] = (o,)
    return Operation(
        "conv2d",
        f"{c}to{o}@{size}" + (f"k{k}" if k != 3 else "") + (f"s{stride}" if stride > 1 else ""),
        (c, size, size),
        (o, out, out),
        parameters,
        {"stride": stride, "padding": k // 2},
        o * out * out * c * k * k,
        not options.get("first"),
    )


def max_pool2d(c: int, size: int, k: int = 2, stride: int = 2, padding: int = 0) -> Operation:
    out = (size + 2 * padding - k) // stride + 1
    options = {"kernel_size": k, "stride": stride, "padding": padding}
    return Operation(
        "max_pool2d", f"{c}@{size}k{k}", (c, size, size), (c, out, out), options=options
    )


def batch_norm(c: int, size: int) -> Operation:
    shape = (c, size, size)
    parameters: dict[str, Shape] = {"weight": (c,), "bias": (c,)}
    return Operation("batch_norm", f"{c}@{size}", shape, shape, parameters, {"training": True})


def relu(c: int, size: int) -> Operation:
    shape = (c, size, size)
    return Operation("relu", f"{c}@{size}", shape, shape)


def linear(i: int, o: int) -> Operation:
    parameters: dict[str, Shape] = {"weight": (o, i), "bias": (o,)}
    return Operation("linear", f"{i}to{o}", (i,), (o,), parameters, multiply_adds=i * o)


def cross_entropy(classes: int) -> Operation:
    return Operation("cross_entropy", f"{classes}", (classes,), ())

"""From a tree of modules to a list of nodes that the page can run.

Every node is one operation. It has its inputs (earlier nodes), the shape of its output, its
options, and the names of its arrays. Node 0 is the image. A residual block becomes its branches and
a sum, a concatenation becomes its branches and a join. The page runs the nodes in order, and
backward in reverse order.

Batch norm uses its running statistics and dropout is off, as in inference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import singledispatchmethod
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.nn import Module, Param
from minicnn.ops import adaptive_avg_pool2d, avg_pool2d
from minicnn.shapes import ShapeError
from minicnn.windows import Windows, conv_windows, pool_windows

Shape = tuple[int, ...]
Node = dict[str, Any]

MOST_MULTIPLY_ADDS = 600_000_000  # multiply-adds of one image: some seconds in a browser
MOST_NUMBERS = 10_000_000  # parameters and buffers: a file of 53 MB


class PlayError(ValueError):
    """The page cannot show the run; the message says why."""


class Graph:
    """The nodes of a network in the order in which they run."""

    def __init__(self, model: Module, image: tuple[int, int, int]) -> None:
        self.nodes: list[Node] = [
            {"op": "image", "name": "image", "kind": "", "inputs": [], "shape": list(image)}
        ]
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._names.setdefault(id(module), name)
        self._arrays = {id(param): name for name, param in model.named_parameters()}
        self._arrays |= {id(buffer): name for name, buffer in model.named_buffers()}
        self._used: set[str] = {"image"}
        self._chain([model], 0)

    # ---- building

    def _chain(self, modules: Iterable[Module], at: int) -> int:
        """Add a chain of modules after node ``at``; return the last node."""
        for module in modules:
            at = self._add(module, at)
        return at

    @classmethod
    def unknown(cls, module: Module, name: str = "") -> list[str]:
        """Return the layers of ``module`` that the page does not know, by name and kind.

        It knows a layer if its class is known and it has the forward of this class.
        """
        registry = cls.__dict__["_add"].dispatcher.registry
        kind = next(base for base in type(module).__mro__ if base in registry)
        if kind is object or type(module).forward is not getattr(kind, "forward", None):
            return [f"{name} ({type(module).__name__})" if name else type(module).__name__]
        return [
            found
            for child_name, child in module.named_children()
            for found in cls.unknown(child, f"{name}.{child_name}" if name else child_name)
        ]

    def _shape(self, at: int) -> Shape:
        return tuple(self.nodes[at]["shape"])

    def _node(
        self,
        op: str,
        module: Module,
        inputs: list[int],
        shape: Shape,
        *,
        suffix: str = "",
        arrays: Mapping[str, Param | np.ndarray | None] | None = None,
        **options: Any,
    ) -> int:
        own = self._names.get(id(module)) or type(module).__name__.lower()
        first = name = own + suffix
        times = 1
        while name in self._used:
            times += 1
            name = f"{first}#{times}"
        self._used.add(name)
        named = {
            role: self._arrays[id(array)]
            for role, array in (arrays or {}).items()
            if array is not None
        }
        self.nodes.append(
            {
                "op": op,
                "name": name,
                "kind": type(module).__name__,
                "inputs": inputs,
                "shape": list(shape),
                "arrays": named,
                **options,
            }
        )
        return len(self.nodes) - 1

    def _same(self, op: str, module: Module, at: int, **options: Any) -> int:
        """Add an operation that keeps the shape."""
        return self._node(op, module, [at], module.output_shape(self._shape(at)), **options)

    # ---- one rule for each layer

    @singledispatchmethod
    def _add(self, module: object, at: int) -> int:
        raise NotImplementedError

    @_add.register
    def _(self, module: nn.Sequential, at: int) -> int:
        return self._chain(module, at)

    @_add.register
    def _(self, module: nn.Residual, at: int) -> int:
        main, shortcut, activation = module.branches()
        ends = [self._chain(main, at), self._chain(shortcut, at)]
        suffix = ".sum" if activation else ""
        total = self._node("add", module, ends, self._shape(ends[0]), suffix=suffix)
        return self._chain(activation, total)

    @_add.register
    def _(self, module: nn.Concat, at: int) -> int:
        ends = [self._chain(branch, at) for branch in module.branches()]
        shapes = [self._shape(end) for end in ends]
        shape = (sum(c for c, *_ in shapes), *shapes[0][1:])
        return self._node("concat", module, ends, shape)

    @_add.register
    def _(self, module: nn.AuxiliaryHeads, at: int) -> int:
        return self._chain((layer for stage in module.branches().stages for layer in stage), at)

    @_add.register
    def _(self, module: nn.Conv2d, at: int) -> int:
        shape = self._shape(at)
        kernel = module.weight.data.shape[2:]
        g = conv_windows(
            "Conv2d", shape[1:], kernel, module.stride, module.padding, module.dilation  # type: ignore[arg-type]
        )  # fmt: skip
        arrays = {"weight": module.weight, "bias": module.bias}
        out = module.output_shape(shape)
        return self._node(
            "conv2d", module, [at], out, arrays=arrays, windows=_windows(g), groups=module.groups
        )

    @_add.register
    def _(self, module: nn.Linear, at: int) -> int:
        arrays = {"weight": module.weight, "bias": module.bias}
        return self._node(
            "linear", module, [at], module.output_shape(self._shape(at)), arrays=arrays
        )

    @_add.register
    def _(self, module: nn.MaxPool2d, at: int) -> int:
        shape = self._shape(at)
        g = pool_windows(
            "MaxPool2d", shape[1:], module.kernel_size, module.stride, module.padding,  # type: ignore[arg-type]
            module.dilation, module.ceil_mode,
        )  # fmt: skip
        return self._node(
            "max_pool2d", module, [at], module.output_shape(shape), windows=_windows(g)
        )

    @_add.register
    def _(self, module: nn.AvgPool2d, at: int) -> int:
        shape = self._shape(at)
        g = pool_windows(
            "AvgPool2d", shape[1:], module.kernel_size, module.stride, module.padding,  # type: ignore[arg-type]
            ceil_mode=module.ceil_mode,
        )  # fmt: skip
        _, cache = avg_pool2d.forward(
            np.zeros((1, *shape), np.float64), module.kernel_size, module.stride, module.padding,
            module.ceil_mode, module.count_include_pad, module.divisor_override,
        )  # fmt: skip
        return self._node(
            "avg_pool2d", module, [at], module.output_shape(shape), windows=_windows(g),
            divisor=cache.divisor.ravel().tolist(),
        )  # fmt: skip

    @_add.register
    def _(self, module: nn.AdaptiveAvgPool2d, at: int) -> int:
        shape = self._shape(at)
        oh, ow = adaptive_avg_pool2d.output_sides(module.output_size, *shape[1:])
        return self._node("adaptive_avg_pool2d", module, [at], (shape[0], oh, ow))

    @_add.register
    def _(self, module: nn.BatchNorm2d, at: int) -> int:
        return self._batch_norm(module, at)

    @_add.register
    def _(self, module: nn.BatchNorm1d, at: int) -> int:
        return self._batch_norm(module, at)

    def _batch_norm(self, module: nn.BatchNorm1d | nn.BatchNorm2d, at: int) -> int:
        arrays = {
            "weight": module.weight, "bias": module.bias,
            "mean": module.running_mean, "variance": module.running_var,
        }  # fmt: skip
        return self._same("batch_norm", module, at, arrays=arrays, eps=module.eps)

    @_add.register
    def _(self, module: nn.LocalResponseNorm, at: int) -> int:
        options = {"size": module.size, "alpha": module.alpha, "beta": module.beta, "k": module.k}
        return self._same("local_response_norm", module, at, **options)

    @_add.register
    def _(self, module: nn.ReLU, at: int) -> int:
        return self._same("relu", module, at)

    @_add.register
    def _(self, module: nn.LeakyReLU, at: int) -> int:
        return self._same("leaky_relu", module, at, slope=module.negative_slope)

    @_add.register
    def _(self, module: nn.GELU, at: int) -> int:
        return self._same("gelu", module, at, approximate=module.approximate)

    @_add.register
    def _(self, module: nn.Sigmoid, at: int) -> int:
        return self._same("sigmoid", module, at)

    @_add.register
    def _(self, module: nn.Tanh, at: int) -> int:
        return self._same("tanh", module, at)

    @_add.register
    def _(self, module: nn.Dropout, at: int) -> int:
        return self._same("dropout", module, at, p=module.p)

    @_add.register
    def _(self, module: nn.Flatten, at: int) -> int:
        return self._node("flatten", module, [at], module.output_shape(self._shape(at)))

    @_add.register
    def _(self, module: nn.Softmax, at: int) -> int:
        return self._softmax("softmax", module, at)

    @_add.register
    def _(self, module: nn.LogSoftmax, at: int) -> int:
        return self._softmax("log_softmax", module, at)

    def _softmax(self, op: str, module: nn.Softmax | nn.LogSoftmax, at: int) -> int:
        axes = len(self._shape(at)) + 1
        if module.dim % axes != 1:
            raise PlayError(
                f"the page shows a softmax over the channels only, not over axis {module.dim} of "
                f"{self._names.get(id(module)) or type(module).__name__}. Use dim=1."
            )
        return self._same(op, module, at)

    @_add.register
    def _(self, module: nn.ZeroPadShortcut, at: int) -> int:
        return self._node(
            "zero_pad_shortcut", module, [at], module.output_shape(self._shape(at)),
            stride=module.stride,
        )  # fmt: skip


def build(model: Module, image: tuple[int, int, int]) -> list[Node]:
    """Return the nodes of ``model`` for images of shape ``image`` (c, h, w).

    Raises PlayError, before anything is written, for a network with layers that the page does not
    know (it names all of them), one that does not end in a vector of scores, and one that is too
    large for a browser.
    """
    unknown = Graph.unknown(model)
    if unknown:
        raise PlayError(
            f"the page does not know {', '.join(unknown)}. It shows the layers of minicnn.nn, and "
            "containers of them that keep the forward of Sequential, Residual, Concat or "
            "AuxiliaryHeads. Write the network with these."
        )
    try:
        graph = Graph(model, image)
        multiply_adds = model.multiply_adds(image)
    except ShapeError as error:
        raise PlayError(f"the network does not fit images of {image}: {error}") from error
    shape = graph.nodes[-1]["shape"]
    if len(graph.nodes) < 2 or len(shape) != 1:
        raise PlayError(
            f"the network gives {tuple(shape)} where the page needs one score for each class. End "
            "it with Flatten() and a Linear layer."
        )
    numbers = sum(math.prod(array.shape) for array in model.state_dict().values())
    if numbers > MOST_NUMBERS or multiply_adds > MOST_MULTIPLY_ADDS:
        raise PlayError(
            f"the network is too large for the page: {numbers:,} numbers and {multiply_adds:,} "
            f"multiply-adds for an image, where {MOST_NUMBERS:,} and {MOST_MULTIPLY_ADDS:,} are "
            "the limits. The page is for networks of small images, such as lenet5 or resnet20."
        )
    return graph.nodes


def _windows(g: Windows) -> dict[str, int]:
    return {name: int(value) for name, value in g._asdict().items()}

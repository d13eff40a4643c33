"""An ONNX graph while it is built: values with their shapes, nodes, and weights by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from minicnn.nn.module import Module, rule_of


class ExportError(ValueError):
    """The network cannot be written as ONNX; the message names the layer and the remedy."""


class Value(NamedTuple):
    """A value between two nodes: its name, and its shape without the batch."""

    name: str
    shape: tuple[int, ...]


class Graph:
    """Collects the nodes of a network, in the order of forward."""

    def __init__(self, model: Module) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self._paths: dict[int, str] = {}
        self._unnamed: list[Module] = []  # kept alive, so that no id is used twice
        for path, module in model.named_modules():
            self._paths.setdefault(id(module), path)
        self._names: set[str] = set()

    def path(self, module: Module) -> str:
        """Return the name of a module in the network, "" for the network itself.

        A module that is not an attribute, for example in a list, gets a name too.
        """
        if id(module) not in self._paths:
            first = name = type(module).__name__
            times, taken = 1, set(self._paths.values())
            while name in taken:
                times += 1
                name = f"{first}#{times}"
            self._paths[id(module)] = name
            self._unnamed.append(module)
        return self._paths[id(module)]

    def run(self, modules: Iterable[Module], value: Value) -> Value:
        """Add a chain of modules, and return its output; for no modules, the input."""
        for module in modules:
            value = _rule_of(module)(module, value, self)
        return value

    def weight(self, module: Module, name: str, array: np.ndarray) -> str:
        """Store an array of ``module`` as float32 or int64, and return its name.

        The arrays of a module that is used twice are stored once.
        """
        path = self.path(module)
        return self._keep(f"{path}.{name}" if path else name, array)

    def constant(self, module: Module, name: str, array: Any) -> str:
        """Store an array that belongs to a single node, and return its name."""
        return self._keep(self._fresh(f"{self.path(module) or 'model'}.{name}"), np.asarray(array))

    def add(
        self,
        op: str,
        module: Module,
        inputs: Iterable[Value | str],
        shape: tuple[int, ...],
        **attributes: Any,
    ) -> Value:
        """Add a node of the operator ``op`` and return its output, of ``shape`` for one image."""
        from onnx import helper

        path = self.path(module)
        name = self._fresh(f"{path}/{op}" if path else op)
        names = [value if isinstance(value, str) else value.name for value in inputs]
        self.nodes.append(helper.make_node(op, names, [f"{name}:y"], name=name, **attributes))
        return Value(f"{name}:y", shape)

    def _keep(self, name: str, array: np.ndarray) -> str:
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        array = np.array(array, dtype=kind, order="C")
        first, times = name, 1
        while name in self.weights and not _same(self.weights[name], array):
            times += 1
            name = f"{first}#{times}"  # never replace an array that is in use
        self.weights[name] = array
        return name

    def _fresh(self, name: str) -> str:
        first, times = name, 1
        while name in self._names:
            times += 1
            name = f"{first}#{times}"
        self._names.add(name)
        return name


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@singledispatch
def rule(module: Module, value: Value, graph: Graph) -> Value:
    """Add ``module`` with the input ``value`` to ``graph``, and return its output.

    Register a rule for your own layer. ``graph.add`` adds an operator of ONNX, ``graph.weight``
    stores an array, and ``graph.run(modules, value)`` adds inner modules:

        @minicnn.export.rule.register(Scale)
        def _(layer, value, graph):
            weight = graph.weight(layer, "weight", layer.weight.data)
            return graph.add("Mul", layer, [value, weight], value.shape)
    """
    path = graph.path(module)
    kind = type(module).__name__
    raise ExportError(
        f"export: {f'layer {path}, ' if path else ''}a {kind}, has a forward of its own, and it is "
        "not known which operators of ONNX compute it. Register a rule in the file of the "
        "layer, by minicnn.export.rule.register (its docstring shows how), or build the layer from "
        "layers of minicnn.nn, in a Sequential, Residual or Concat."
    )


def _rule_of(module: Module) -> Any:
    return rule_of(rule, module)

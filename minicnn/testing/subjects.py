"""What can be checked, made alike: operations, pairs of functions, losses, layers, networks.

A subject has named arguments, all of them arrays; of a layer they are x and the parameters. Its
``backward`` returns one gradient for each argument, None where there is none.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minicnn.nn import Module
from minicnn.nn.module import Param

Arrays = tuple[np.ndarray | None, ...]


class ContractError(Exception):
    """Forward or backward does not keep to the form that is asked for; the text says how."""


class Subject:
    """Something with forward and backward, and the arguments at which it is checked."""

    def __init__(
        self, name: str, names: Sequence[str], arrays: Arrays, options: Mapping[str, Any]
    ) -> None:
        self.name, self.names, self.arrays = name, tuple(names), arrays
        self.options = dict(options)
        self.inputs = len(arrays)  # the arrays before those that are parameters
        self.answered = len(arrays)  # of how many, from the first, backward returned something

    def begin(self) -> None:
        """Go back to the state of before the first pass: generators, running statistics."""
        raise NotImplementedError

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)``."""
        raise NotImplementedError

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        raise NotImplementedError

    def value(self, arrays: Arrays) -> np.ndarray:
        """Return y, from the state of before the first pass."""
        self.begin()
        return self.forward(arrays)[0]

    def __repr__(self) -> str:
        shapes = [
            f"{name} {'x'.join(map(str, a.shape)) or 'scalar'}"
            for name, a in zip(self.names, self.arrays, strict=True)
            if a is not None
        ]
        return f"{self.name}({', '.join(shapes)})"


class FunctionSubject(Subject):
    """A pair of functions, or any object that has both."""

    def __init__(self, thing: Any, arrays: Arrays, options: Mapping[str, Any]) -> None:
        self._pristine = thing
        self._takes = _keywords(_pair(thing)[1]) & options.keys()
        names = _positional(_pair(thing)[0])[: len(arrays)]
        names += [f"argument {i}" for i in range(len(names), len(arrays))]
        super().__init__(_name(thing), names, arrays, options)
        self.begin()

    def begin(self) -> None:
        thing = self._pristine
        if not isinstance(thing, (ModuleType, tuple, list, type)):
            thing = copy.deepcopy(thing)
        self._forward, self._backward = _pair(thing)
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        return _value_and_cache(self._forward(*arrays, **self._now))

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        gradients = self._backward(dy, cache, **{name: self._now[name] for name in self._takes})
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        if len(gradients) > len(self.arrays):
            raise ContractError(
                f"backward returned {len(gradients)} gradients, but forward was given "
                f"{len(self.arrays)} arrays. Return them in the order of forward's arguments."
            )
        self.answered = len(gradients)
        # Arrays at the end without a gradient are data: targets, class weights.
        return gradients + (None,) * (len(self.arrays) - len(gradients))


class LayerSubject(Subject):
    """A layer or network with parameters: gradients of those are read from ``Param.grad``."""

    def __init__(
        self, layer: Any, arrays: Arrays, options: Mapping[str, Any], training: bool
    ) -> None:
        self._pristine = copy.deepcopy(layer)
        if hasattr(layer, "astype"):
            self._pristine.astype(np.float64)
        params = _params(self._pristine)
        names = _positional(layer.forward)[: len(arrays)] + list(params)
        data = tuple(param.data.copy() for param in params.values())
        super().__init__(_name(layer), names, arrays + data, {**options, "training": training})
        self.inputs = len(arrays)
        self.begin()

    def begin(self) -> None:
        self.layer = copy.deepcopy(self._pristine)
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        dtype = next(a.dtype for a in arrays if a is not None and a.dtype.kind in "fc")
        if dtype != np.float64 and hasattr(self.layer, "astype") and dtype.kind == "f":
            self.layer.astype(dtype)  # buffers too
        for param, data in zip(_params(self.layer).values(), arrays[self.inputs :], strict=True):
            assert data is not None
            param.data, param.grad = data, np.zeros_like(data)
        return _value_and_cache(self.layer.forward(*arrays[: self.inputs], **self._now))

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        params = _params(self.layer)
        for param in params.values():
            param.grad = np.zeros_like(param.data)
        dx = self.layer.backward(dy, cache)
        dx = dx if isinstance(dx, tuple) else (dx,)
        self.answered = len(dx)
        dx += (None,) * (self.inputs - len(dx))
        return (*dx, *(param.grad for param in params.values()))

    def adds(self, dy: np.ndarray, cache: Any) -> Iterable[tuple[str, bool]]:
        """Yield of each parameter whether backward adds into ``grad``, or overwrites it."""
        before = {}
        for name, param in _params(self.layer).items():
            before[name] = param.grad
            param.grad = before[name] + 1.0
        self.layer.backward(dy, cache)
        for name, param in _params(self.layer).items():
            yield name, np.allclose(param.grad, 2 * before[name] + 1.0, rtol=1e-9, atol=1e-9)


def subject_of(thing: Any, arrays: Arrays, options: Mapping[str, Any], training: bool) -> Subject:
    """Return the subject that ``thing`` is. Raises TypeError where it is none."""
    if isinstance(thing, type):
        raise TypeError(
            f"gradcheck: {thing.__name__} is a class; give an instance, {thing.__name__}(...)."
        )
    forward, _ = _pair(thing)
    if isinstance(thing, Module) or (_params(thing) and "training" in _keywords(forward)):
        return LayerSubject(thing, arrays, options, training)
    if "training" in _keywords(forward, keyword_only=True):
        options = {"training": training, **options}
    return FunctionSubject(thing, arrays, options)


def _pair(thing: Any) -> tuple[Callable, Callable]:
    if isinstance(thing, (tuple, list)) and len(thing) == 2 and all(map(callable, thing)):
        return thing[0], thing[1]
    forward, backward = getattr(thing, "forward", None), getattr(thing, "backward", None)
    if not callable(forward) or not callable(backward):
        raise TypeError(
            f"gradcheck: {_name(thing)} is nothing with forward and backward. Give an operation, a "
            "layer, or a pair (forward, backward), where forward(x, ...) returns (y, cache) and "
            "backward(dy, cache) the gradient of x or a tuple of gradients."
        )
    return forward, backward


def _params(thing: Any) -> dict[str, Param]:
    if isinstance(thing, Module):
        return dict(thing.named_parameters())
    attributes = getattr(thing, "__dict__", {})
    return {name: value for name, value in attributes.items() if isinstance(value, Param)}


def _value_and_cache(result: Any) -> tuple[np.ndarray, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ContractError(
            f"forward returned {type(result).__name__} where a pair (y, cache) is needed."
        )
    return np.asarray(result[0]), result[1]


def _name(thing: Any) -> str:
    if isinstance(thing, (tuple, list)):
        return getattr(thing[0], "__qualname__", repr(thing[0])) if thing else repr(thing)
    if isinstance(thing, ModuleType):
        return thing.__name__.rpartition(".")[2]
    return getattr(thing, "__name__", type(thing).__name__)


def _positional(function: Callable) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def _keywords(function: Callable, keyword_only: bool = False) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name
        for p in parameters
        if p.kind == p.KEYWORD_ONLY or (p.kind == p.POSITIONAL_OR_KEYWORD and not keyword_only)
    }

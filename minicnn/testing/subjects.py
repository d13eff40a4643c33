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
        """Return a copy of y, from the state of before the first pass."""
        self.begin()
        return self.forward(arrays)[0].copy()

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
        super().__init__(_name(thing), _names(thing, len(arrays)), arrays, options)
        self.begin()

    def begin(self) -> None:
        thing = self._pristine
        if not isinstance(thing, (ModuleType, tuple, list, type)):
            thing = _copy(thing)
        self._forward, self._backward = _pair(thing)
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        return _value_and_cache(self._forward(*arrays, **self._now), arrays)

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        options = {name: self._now[name] for name in self._takes}
        gradients = _gradients(self._backward(dy, cache, **options))
        # Of optional arrays at the end that were not given, None is an answer.
        while len(gradients) > len(self.arrays) and gradients[-1] is None:
            gradients = gradients[:-1]
        if len(gradients) > len(self.arrays):
            raise ContractError(
                f"backward returned {len(gradients)} gradients, but forward was given "
                f"{len(self.arrays)} of its arguments. Return them in the order of forward's "
                "arrays; an array that is not given can be passed as None."
            )
        self.answered = len(gradients)
        # Arrays at the end without a gradient are data: targets, class weights.
        return gradients + (None,) * (len(self.arrays) - len(gradients))


class LayerSubject(Subject):
    """A layer or network with parameters: gradients of those are read from ``Param.grad``.

    It works on a copy, in which no parameter is frozen.
    """

    def __init__(self, layer: Any, arrays: Arrays, options: Mapping[str, Any]) -> None:
        self._pristine = _copy(layer)
        if hasattr(layer, "astype"):
            self._pristine.astype(np.float64)
        params = _params(self._pristine)
        for param in params.values():
            param.trainable = True
        names = _names(layer, len(arrays)) + list(params)
        data = tuple(np.array(param.data) for param in params.values())
        super().__init__(_name(layer), names, arrays + data, options)
        self.inputs = len(arrays)
        self.begin()

    def begin(self) -> None:
        # Parameters are put in by forward: they need no copy, and are most of a network.
        kept = {id(a): a for p in _params(self._pristine).values() for a in (p.data, p.grad)}
        self.layer = copy.deepcopy(self._pristine, kept)
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        dtype = _dtype(arrays)
        if dtype == np.float32 and hasattr(self.layer, "astype"):
            self.layer.astype(dtype)  # buffers too
        for param, data in zip(_params(self.layer).values(), arrays[self.inputs :], strict=True):
            assert data is not None
            param.data, param.grad = data, np.zeros_like(data)
        return _value_and_cache(self.layer.forward(*arrays[: self.inputs], **self._now), arrays)

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        params = _params(self.layer)
        for param in params.values():
            param.grad = np.zeros_like(param.data)
        dx = _gradients(self.layer.backward(dy, cache))
        if len(dx) > self.inputs:
            raise ContractError(
                f"backward returned {len(dx)} gradients where dx is needed. A layer adds those of "
                "its parameters into Param.grad, by add_grad."
            )
        self.answered = len(dx)
        dx += (None,) * (self.inputs - len(dx))
        return (*dx, *(param.grad for param in params.values()))

    def adds(self, dy: np.ndarray, cache: Any) -> Iterable[tuple[str, bool]]:
        """Yield of each parameter whether backward adds into ``grad``, or overwrites it."""
        first = self.backward(dy, cache)[self.inputs :]
        params = _params(self.layer)
        for param in params.values():
            param.grad = np.ones_like(param.data)
        self.layer.backward(dy, cache)
        for (name, param), grad in zip(params.items(), first, strict=True):
            assert grad is not None
            yield name, np.allclose(param.grad, grad + 1.0, rtol=1e-9, atol=1e-9)

    def spares_input(self, dy: np.ndarray, cache: Any) -> Arrays | None:
        """Return the parameters' gradients with input_grad=False; None: there is no such option."""
        if "input_grad" not in _keywords(self.layer.backward):
            return None
        params = _params(self.layer)
        for param in params.values():
            param.grad = np.zeros_like(param.data)
        self.layer.backward(dy, cache, input_grad=False)
        return tuple(param.grad for param in params.values())

    def buffers(self) -> dict[str, np.ndarray]:
        """Return what the layer keeps beside its parameters."""
        return dict(self.layer.named_buffers()) if isinstance(self.layer, Module) else {}


def subject_of(thing: Any, arrays: Arrays, options: Mapping[str, Any], training: bool) -> Subject:
    """Return the subject that ``thing`` is. Raises TypeError where it is none."""
    if isinstance(thing, type):
        raise TypeError(
            f"gradcheck: {thing.__name__} is a class; give an instance, {thing.__name__}(...)."
        )
    forward, _ = _pair(thing)
    if "training" in _keywords(forward, keyword_only=not _params(thing)):
        options = {"training": training, **options}
    elif isinstance(thing, Module):
        raise TypeError(
            f"gradcheck: {type(thing).__name__} is a Module, and its forward does not take "
            "training. Write def forward(self, x, *, training)."
        )
    if isinstance(thing, Module) or _params(thing):
        return LayerSubject(thing, arrays, options)
    return FunctionSubject(thing, arrays, options)


def unchecked(thing: Any) -> list[str]:
    """Return names of what an object seems to learn and hides: it is no ``Param`` attribute.

    Those are parameters in lists and dicts, and plain arrays with a gradient beside them.
    """
    if isinstance(thing, (ModuleType, tuple, list)) or not hasattr(thing, "__dict__"):
        return []
    objects = dict(thing.named_modules()) if isinstance(thing, Module) else {"": thing}
    found = []
    for path, owner in objects.items():
        for name, value in vars(owner).items():
            where = f"{path}.{name}" if path else name
            inside = list(value.values()) if isinstance(value, dict) else value
            if isinstance(inside, (list, tuple)):
                if any(isinstance(v, (Module, Param, np.ndarray)) for v in inside):
                    found.append(where)
            elif isinstance(value, Module):
                if not isinstance(owner, Module):
                    found.append(where)
            elif isinstance(value, np.ndarray) and any(
                hasattr(owner, d + name) for d in ("d", "d_", "grad_", "g")
            ):
                found.append(where)
    return found


def _names(thing: Any, count: int) -> list[str]:
    """Return names for ``count`` arrays, those of forward as far as it has any."""
    names = _positional(_pair(thing)[0])[:count]
    return names + [f"argument {i}" for i in range(len(names), count)]


def _copy(thing: Any) -> Any:
    try:
        return copy.deepcopy(thing)
    except Exception as error:
        raise TypeError(
            f"gradcheck: {_name(thing)} cannot be copied ({error}), and each pass is made on a "
            "copy. Give a pair of functions (forward, backward) instead."
        ) from error


def _gradients(returned: Any) -> tuple[Any, ...]:
    """Return what backward returned as a tuple of arrays and None."""
    gradients = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
    for gradient in gradients:
        if not (gradient is None or isinstance(gradient, (np.ndarray, np.generic, float))):
            raise ContractError(
                f"backward returned {type(gradient).__name__} where an array is needed, or a "
                "tuple of arrays in the order of forward's."
            )
    return gradients


def _dtype(arrays: Arrays) -> np.dtype:
    """Return the dtype of the first array of floats; float64 if there is none."""
    kinds = (a.dtype for a in arrays if a is not None and a.dtype.kind in "fc")
    return next(kinds, np.dtype(np.float64))


def _pair(thing: Any) -> tuple[Callable, Callable]:
    if isinstance(thing, (tuple, list)) and len(thing) == 2 and all(map(callable, thing)):
        return thing[0], thing[1]
    forward, backward = getattr(thing, "forward", None), getattr(thing, "backward", None)
    if not callable(forward) or not callable(backward):
        raise TypeError(
            f"gradcheck: {_name(thing)} cannot be checked: it has {_has(forward, backward)}. Give "
            "an operation, a layer, or a pair (forward, backward), where forward(x, ...) returns "
            "(y, cache) and backward(dy, cache) the gradient of x or a tuple of gradients."
        )
    return forward, backward


def _has(forward: Any, backward: Any) -> str:
    if not callable(forward) and not callable(backward):
        return "neither forward nor backward"
    return "forward but no backward" if callable(forward) else "backward but no forward"


def _params(thing: Any) -> dict[str, Param]:
    if isinstance(thing, Module):
        return dict(thing.named_parameters())
    attributes = getattr(thing, "__dict__", {})
    return {name: value for name, value in attributes.items() if isinstance(value, Param)}


def _value_and_cache(result: Any, arrays: Arrays) -> tuple[np.ndarray, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise ContractError(f"it returned {got} where a pair (y, cache) is needed.")
    y, cache = result
    if type(y) is float:  # Python's has no dtype of its own
        y = np.asarray(y, _dtype(arrays))
    return np.asarray(y), cache


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

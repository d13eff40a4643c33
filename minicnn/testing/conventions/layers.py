"""Layers and networks of minicnn: parameters are ``nn.Param``, caches are returned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minicnn.nn import Module
from minicnn.nn.module import Param
from minicnn.testing.conventions import isolation
from minicnn.testing.conventions.calls import keywords, named, names_of, value_and_cache
from minicnn.testing.conventions.names import is_gradient_of, is_number
from minicnn.testing.conventions.subject import (
    Arrays,
    ContractError,
    Subject,
    first_dtype,
    is_geometry,
)


class LayerSubject(Subject):
    """A layer or network; the gradients of its parameters are read from ``Param.grad``.

    The check uses a copy in which no parameter is frozen.
    """

    def __init__(self, layer: Any, arrays: Arrays, options: Mapping[str, Any]) -> None:
        self._pristine = isolation.copied(layer)
        if hasattr(layer, "astype"):
            self._pristine.astype(np.float64)
        own = params(self._pristine)
        for param in own.values():
            param.trainable = True
        names = names_of(layer.forward, len(arrays)) + list(own)
        data = tuple(np.array(param.data) for param in own.values())
        super().__init__(named(layer), names, arrays + data, options)
        self.inputs = len(arrays)
        self.network = isinstance(layer, Module) and any(layer.named_children())
        self.begin()
        self.unchecked = hidden(layer) + self._constants()

    def begin(self) -> None:
        # Forward sets the parameters, so they need no copy; they are most of a network.
        kept = {id(a): a for p in params(self._pristine).values() for a in (p.data, p.grad)}
        self.layer = copy.deepcopy(self._pristine, kept)
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        dtype = first_dtype(arrays)
        if dtype == np.float32 and hasattr(self.layer, "astype"):
            self.layer.astype(dtype)  # buffers too
        for param, data in zip(params(self.layer).values(), arrays[self.inputs :], strict=True):
            assert data is not None
            param.data, param.grad = data, np.zeros_like(data)
        isolation.seed()
        result = self.layer.forward(*arrays[: self.inputs], **self._now)
        if not isinstance(result, tuple) or len(result) != 2:
            got = (
                f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            )
            raise ContractError(f"it returned {got} where a pair (y, cache) is needed.")
        y, kept = value_and_cache(result, arrays, None, None)
        return y, kept.cache

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        own = params(self.layer)
        for param in own.values():
            param.grad = np.zeros_like(param.data)
        returned = self.layer.backward(dy, cache)
        dx = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
        for gradient in dx:
            if gradient is not None and not is_number(gradient):
                raise ContractError(
                    f"backward returned {type(gradient).__name__} where an array is needed."
                )
        if len(dx) > self.inputs:
            raise ContractError(
                f"backward returned {len(dx)} gradients where dx is needed. A layer adds those of "
                "its parameters into Param.grad, by add_grad."
            )
        self.answered = len(dx)
        dx = tuple(None if g is None else np.asarray(g) for g in dx)
        dx += (None,) * (self.inputs - len(dx))
        return (*dx, *(param.grad for param in own.values()))

    def adds(self, dy: np.ndarray, cache: Any) -> Iterable[tuple[str, bool]]:
        """Yield for each parameter whether backward adds into ``grad`` or overwrites it."""
        first = self.backward(dy, cache)[self.inputs :]
        own = params(self.layer)
        for param in own.values():
            param.grad = np.ones_like(param.data)
        self.layer.backward(dy, cache)
        for (name, param), grad in zip(own.items(), first, strict=True):
            assert grad is not None
            yield name, np.allclose(param.grad, grad + 1.0, rtol=1e-9, atol=1e-9)

    def spares_input(self, dy: np.ndarray, cache: Any) -> Arrays | None:
        """Return the parameters' gradients with input_grad=False; None without this option."""
        if "input_grad" not in keywords(self.layer.backward):
            return None
        own = params(self.layer)
        for param in own.values():
            param.grad = np.zeros_like(param.data)
        self.layer.backward(dy, cache, input_grad=False)
        return tuple(param.grad for param in own.values())

    def buffers(self) -> dict[str, np.ndarray]:
        """Return the arrays of the layer besides its parameters."""
        return dict(self.layer.named_buffers()) if isinstance(self.layer, Module) else {}

    def integers(self) -> dict[str, Any]:
        own = {k: v for k, v in getattr(self._pristine, "__dict__", {}).items() if is_geometry(v)}
        return {**own, **super().integers()}

    def varied(self, name: str, value: Any) -> Subject | None:
        layer = isolation.copied(self._pristine)
        if name not in getattr(layer, "__dict__", {}):
            return None
        setattr(layer, name, value)
        return LayerSubject(layer, self.arrays[: self.inputs], self.options)

    def _constants(self) -> list[str]:
        """Return names of arrays that y depends on and no pass changes: not statistics."""
        modules = dict(self._pristine.named_modules()) if isinstance(self._pristine, Module) \
            else {"": self._pristine}  # fmt: skip
        arrays = {
            f"{path}.{name}" if path else name: (path, name)
            for path, owner in modules.items()
            for name, value in vars(owner).items()
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size
        }
        found = []
        options = self.options
        try:
            self._now = {**options, "training": True} if "training" in options else options
            y, _ = self.forward(self.arrays)
            written = {
                k for k, (path, name) in arrays.items()
                if not np.array_equal(vars(_at(self.layer, path))[name],
                                      vars(_at(self._pristine, path))[name])
            }  # fmt: skip
            for key in arrays.keys() - written:
                path, name = arrays[key]
                self.begin()
                self._now = {**options, "training": True} if "training" in options else options
                owner = _at(self.layer, path)
                setattr(owner, name, getattr(owner, name) * 1.25 + 0.5)
                if not np.array_equal(self.forward(self.arrays)[0], y, equal_nan=True):
                    found.append(key)
        except KeyboardInterrupt:
            raise
        except BaseException:  # the check itself will report it
            found = []
        self.begin()
        return sorted(found)


def _at(layer: Any, path: str) -> Any:
    return dict(layer.named_modules())[path] if path else layer


def params(thing: Any) -> dict[str, Param]:
    """Return the parameters of a layer by name."""
    if isinstance(thing, Module):
        return dict(thing.named_parameters())
    attributes = getattr(thing, "__dict__", {})
    return {name: value for name, value in attributes.items() if isinstance(value, Param)}


def hidden(thing: Any) -> list[str]:
    """Return names of likely parameters that are not ``Param`` attributes.

    These are parameters in lists and dicts, and plain arrays with a gradient beside them.
    """
    modules = dict(thing.named_modules()) if isinstance(thing, Module) else {"": thing}
    found = []
    for path, owner in modules.items():
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
                is_gradient_of(other, name) for other in vars(owner) if other != name
            ):
                found.append(where)
    return found

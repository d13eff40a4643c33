"""One module after the other: the simplest graph, and the chain rule itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minicnn.nn.module import Module


def forward_chain(
    modules: Sequence[Module], x: np.ndarray, training: bool
) -> tuple[np.ndarray, list[Any]]:
    """Return what comes out of the last module, and the caches of all."""
    caches = []
    for module in modules:
        x, cache = module.forward(x, training=training)
        caches.append(cache)
    return x, caches


def backward_chain(
    modules: Sequence[Module], dy: np.ndarray, caches: list[Any], input_grad: bool
) -> np.ndarray | None:
    """Return the gradient of the first module's input, or None without ``input_grad``."""
    first = 0  # the module down to which the gradient is asked for
    if not input_grad:
        learn = [i for i, module in enumerate(modules) if module.learns]
        first = learn[0] if learn else len(modules)
    dx: np.ndarray | None = dy
    for i in reversed(range(first, len(modules))):
        assert dx is not None
        dx = modules[i].backward(dx, caches[i], input_grad=input_grad or i > first)
    return dx if input_grad else None


class Sequential(Module):
    """Applies its modules in order.

    ``Sequential(Conv2d(...), ReLU())`` names them "0", "1", ...; ``Sequential(conv1=Conv2d(...),
    relu1=ReLU())`` as written. The names are those in the state dict.
    """

    def __init__(self, *modules: Module, **named: Module) -> None:
        children = {str(i): module for i, module in enumerate(modules)} | named
        for name, module in children.items():
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: {name} must be a Module, got {module!r}.")
            if hasattr(self, name):
                raise ValueError(f"Sequential: {name!r} is taken; choose another name.")
            setattr(self, name, module)

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, list[Any]]:
        return forward_chain(list(self), x, training)

    def backward(
        self, dy: np.ndarray, cache: list[Any], *, input_grad: bool = True
    ) -> np.ndarray | None:
        return backward_chain(list(self), dy, cache, input_grad)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for module in self:
            shape = module.output_shape(shape)
        return shape

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        total = 0
        for module in self:
            total += module.multiply_adds(shape)
            shape = module.output_shape(shape)
        return total

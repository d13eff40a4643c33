"""Branches side by side: each takes x, and their outputs are joined along the channels.

    y = [f1(x), f2(x), ...]

Backward splits dy where forward joined: each branch receives the gradient of its own channels. All
branches used x, so their gradients add:

    dx = d f1(dy1) + d f2(dy2) + ...

Source
    Szegedy et al. (2015), Going deeper with convolutions; with the identity as the first branch,
    Huang et al. (2017), Densely connected convolutional networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.nn.module import Module, Window
from minicnn.nn.sequential import (
    backward_chain,
    chain_multiply_adds,
    chain_shape,
    chain_window,
    forward_chain,
    name_children,
    widest,
)
from minicnn.shapes import ShapeError


class Cache(NamedTuple):
    branches: list[list[Any]]
    widths: list[int]  # the channels of each branch


class Concat(Module):
    """Applies its modules to the same x, and joins their outputs along the channels.

    Modules are named as in ``Sequential``. An empty ``Sequential()`` passes x on unchanged. Blocks
    that name their layers themselves override ``branches``.
    """

    _fused: Sequence[Sequence[Module]] | None = None  # the fused branches, made by ``minicnn.fuse``

    def __init__(self, *modules: Module, **named: Module) -> None:
        name_children(self, modules, named)
        if not modules and not named:
            raise ValueError("Concat: at least one branch is needed.")

    def branches(self) -> Sequence[Sequence[Module]]:
        """Return the chains side by side. An empty chain is the identity."""
        return [[module] for _, module in self.named_children()]

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Any]:
        outputs, caches = [], []
        for branch in self._fused or self.branches():
            y, cache = forward_chain(branch, x, training)
            outputs.append(y)
            caches.append(cache)
        self._check_join([y.shape for y in outputs], channels=1)
        widths = [y.shape[1] for y in outputs]
        return np.concatenate(outputs, axis=1), Cache(caches, widths)

    def backward(self, dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> np.ndarray | None:
        cuts = np.cumsum(cache.widths)[:-1]
        parts = np.split(dy, cuts, axis=1)
        gradients = [
            backward_chain(branch, part, branch_cache, input_grad)
            for branch, part, branch_cache in zip(
                self._fused or self.branches(), parts, cache.branches, strict=True
            )
        ]
        return sum_of(gradients) if input_grad else None

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        shapes = [chain_shape(branch, shape) for branch in self.branches()]
        self._check_join(shapes, channels=0)
        return sum(c for c, *_ in shapes), *shapes[0][1:]

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return sum(chain_multiply_adds(branch, shape) for branch in self.branches())

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return widest([chain_window(branch, shape) for branch in self.branches()])

    def _check_join(self, shapes: Sequence[tuple[int, ...]], channels: int) -> None:
        others = {(*shape[:channels], *shape[channels + 1 :]) for shape in shapes}
        if len(others) > 1:
            raise ShapeError(
                f"{type(self).__name__}: the branches give {', '.join(map(str, shapes))}; only "
                "shapes that differ only in the channels can be joined. Use padding within the "
                "branches, so that each keeps the size of the image."
            )


def sum_of(gradients: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the sum as a new array; a single gradient is returned itself."""
    first, *others = gradients
    if not others:
        return first
    total = first + others[0]  # type: ignore[operator]
    for gradient in others[1:]:
        total += gradient  # nobody else holds ``total``
    return total

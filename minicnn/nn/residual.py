"""A residual block: what comes in is added to what the main branch makes of it.

    y = activation(main(x) + shortcut(x))

Backward is forward read from its end. The sum hands the same gradient to each branch; x fed both
branches, so their gradients add:

    dsum = d activation(dy),    dx = d main(dsum) + d shortcut(dsum)

Source
    He et al. (2016), Deep residual learning for image recognition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.nn.module import Module
from minicnn.nn.sequential import backward_chain, forward_chain
from minicnn.shapes import ShapeError


class Cache(NamedTuple):
    main: list[Any]
    shortcut: list[Any]
    activation: Any


class Residual(Module):
    """``activation(main(x) + shortcut(x))``; without a shortcut x itself is added.

    Blocks whose layers have names of their own override ``branches`` and ``activation``.
    """

    activation: Module | None = None

    def __init__(
        self, main: Module, shortcut: Module | None = None, activation: Module | None = None
    ) -> None:
        self.main, self.shortcut, self.activation = main, shortcut, activation

    def branches(self) -> tuple[Sequence[Module], Sequence[Module]]:
        """Return the modules of the main branch, and those of the shortcut."""
        return [self.main], [self.shortcut] if self.shortcut else []

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Cache]:
        main, shortcut = self.branches()
        m, main_cache = forward_chain(main, x, training)
        s, shortcut_cache = forward_chain(shortcut, x, training)
        if m.shape != s.shape:
            raise ShapeError(
                f"{type(self).__name__}: the main branch gives {m.shape}, the shortcut {s.shape}; "
                "only equal shapes add. Give a shortcut that changes the shape likewise."
            )
        y, activation_cache = m + s, None
        if self.activation:
            y, activation_cache = self.activation.forward(y, training=training)
        return y, Cache(main_cache, shortcut_cache, activation_cache)

    def backward(
        self, dy: np.ndarray, cache: Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        main, shortcut = self.branches()
        dsum: np.ndarray | None = dy
        if self.activation:
            dsum = self.activation.backward(dy, cache.activation)
        assert dsum is not None
        dmain = backward_chain(main, dsum, cache.main, input_grad)
        dshortcut = backward_chain(shortcut, dsum, cache.shortcut, input_grad)
        if dmain is None or dshortcut is None:
            return None
        return dmain + dshortcut

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for module in self.branches()[0]:
            shape = module.output_shape(shape)
        return shape

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        total = 0
        for branch in self.branches():
            inside = shape
            for module in branch:
                total += module.multiply_adds(inside)
                inside = module.output_shape(inside)
        return total

"""A residual block: the input is added to the output of the main branch.

    y = activation(main(x) + shortcut(x))

Backward is forward, read from its end. The sum passes the same gradient to each branch. Both
branches used x, so their gradients add:

    dsum = d activation(dy),    dx = d main(dsum) + d shortcut(dsum)

Source
    He et al. (2016), Deep residual learning for image recognition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.backend import nchw
from minicnn.nn.module import Module, NoProducts, Window, needs_image
from minicnn.nn.sequential import (
    backward_chain,
    chain_multiply_adds,
    chain_shape,
    chain_window,
    forward_chain,
    widest,
)
from minicnn.shapes import ShapeError, integer


class Branches(NamedTuple):
    """The chains of a residual block. An empty chain is the identity."""

    main: Sequence[Module]
    shortcut: Sequence[Module]
    activation: Sequence[Module]


class Cache(NamedTuple):
    main: list[Any]
    shortcut: list[Any]
    activation: list[Any]


class Residual(Module):
    """``activation(main(x) + shortcut(x))``; without a shortcut x itself is added.

    Blocks that name their layers themselves override ``branches``.
    """

    _fused: Branches | None = None  # the fused branches, made by ``minicnn.fuse``; they run instead

    def __init__(
        self, main: Module, shortcut: Module | None = None, activation: Module | None = None
    ) -> None:
        parts = {"main": main, "shortcut": shortcut, "activation": activation}
        for name, module in parts.items():
            if not isinstance(module, Module) and (module is not None or name == "main"):
                raise TypeError(
                    f"Residual: {name} must be a Module, got {module!r}. A chain of layers is one: "
                    "Sequential(...)."
                )
        self.main, self.shortcut, self.activation = main, shortcut, activation

    def branches(self) -> Branches:
        return Branches(
            [self.main],
            [self.shortcut] if self.shortcut else [],
            [self.activation] if self.activation else [],
        )

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Cache]:
        main, shortcut, activation = self._fused or self.branches()
        m, main_cache = forward_chain(main, x, training)
        s, shortcut_cache = forward_chain(shortcut, x, training)
        self._check_sum(m.shape, s.shape)
        y, activation_cache = forward_chain(activation, m + s, training)
        return y, Cache(main_cache, shortcut_cache, activation_cache)

    def backward(
        self, dy: np.ndarray, cache: Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        main, shortcut, activation = self._fused or self.branches()
        dsum = backward_chain(activation, dy, cache.activation, True)
        assert dsum is not None
        dmain = backward_chain(main, dsum, cache.main, input_grad)
        dshortcut = backward_chain(shortcut, dsum, cache.shortcut, input_grad)
        if dmain is None or dshortcut is None:
            return None
        return dmain + dshortcut

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        main, shortcut, activation = self.branches()
        out = chain_shape(main, shape)
        self._check_sum(out, chain_shape(shortcut, shape))
        return chain_shape(activation, out)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        main, shortcut, activation = self.branches()
        inside = chain_multiply_adds(activation, chain_shape(main, shape))
        return chain_multiply_adds(main, shape) + chain_multiply_adds(shortcut, shape) + inside

    def window(self, shape: tuple[int, ...]) -> Window | None:
        main, shortcut, activation = self.branches()
        return widest([chain_window([*branch, *activation], shape) for branch in (main, shortcut)])

    def _check_sum(self, main: tuple[int, ...], shortcut: tuple[int, ...]) -> None:
        if main != shortcut:
            raise ShapeError(
                f"{type(self).__name__}: the main branch gives {main}, the shortcut {shortcut}; "
                "only equal shapes add. Give a shortcut that changes the shape in the same "
                "way."
            )


class ZeroPadShortcut(NoProducts):
    """The shortcut without parameters: every ``stride``-th pixel, and channels of zeros at the end.

    y[n,c,i,j] = x[n, c, i*stride, j*stride] for the channels of x, and 0 for the added ones. So dx
    is dy at the pixels that were taken, and 0 elsewhere. It is option A of He et al. (2016).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        self.in_channels = integer("ZeroPadShortcut", "in_channels", in_channels, 1)
        self.out_channels = integer("ZeroPadShortcut", "out_channels", out_channels, 1)
        self.stride = integer("ZeroPadShortcut", "stride", stride, 1)
        if out_channels < in_channels:
            raise ShapeError(
                f"ZeroPadShortcut: out_channels={out_channels} are fewer than in_channels="
                f"{in_channels}, and it only adds channels. Use a 1x1 convolution instead."
            )

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, tuple[int, ...]]:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"ZeroPadShortcut: x must have shape (n, {self.in_channels}, h, w), got {x.shape}."
            )
        taken = x[:, :, :: self.stride, :: self.stride]
        y = _zeros(x.shape[0], self.out_channels, *taken.shape[2:], dtype=x.dtype)
        y[:, : self.in_channels] = taken
        return y, x.shape

    def backward(
        self, dy: np.ndarray, cache: tuple[int, ...], *, input_grad: bool = True
    ) -> np.ndarray | None:
        if not input_grad:
            return None
        dx = _zeros(*cache, dtype=dy.dtype)
        dx[:, :, :: self.stride, :: self.stride] = dy[:, : self.in_channels]
        return dx

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        c, h, w = needs_image("ZeroPadShortcut", shape)
        if c != self.in_channels:
            raise ShapeError(
                f"ZeroPadShortcut: {self.in_channels} channels are needed, got {c} in {shape}."
            )
        return self.out_channels, -(-h // self.stride), -(-w // self.stride)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return (1, 1), (self.stride, self.stride), (1, 1)

    def _options(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"


def _zeros(n: int, c: int, h: int, w: int, *, dtype: np.dtype) -> np.ndarray:
    """Return zeros (n, c, h, w), channels last in memory like the array that they are added to."""
    return nchw(np.zeros((n, h, w, c), dtype))

"""One module after the other: the simplest graph, and the chain rule itself.

The functions are for containers whose branches are chains. An empty chain is the identity.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minicnn.backend import single_threaded_blas
from minicnn.nn.module import Module, Window


def forward_chain(
    modules: Sequence[Module], x: np.ndarray, training: bool
) -> tuple[np.ndarray, list[Any]]:
    """Return the output of the last module, and the caches of all modules."""
    caches = []
    with single_threaded_blas():  # once here, instead of once in each product
        for module in modules:
            x, cache = module.forward(x, training=training)
            caches.append(cache)
    return x, caches


def backward_chain(
    modules: Sequence[Module], dy: np.ndarray, caches: list[Any], input_grad: bool
) -> np.ndarray | None:
    """Return the gradient of the first module's input, or None without ``input_grad``."""
    first = 0  # the gradient is needed down to this module
    if not input_grad:
        learning = (i for i, module in enumerate(modules) if module.learns)
        first = next(learning, len(modules))
    dx: Any = dy
    with single_threaded_blas():
        for i in reversed(range(first, len(modules))):
            dx = modules[i].backward(dx, caches[i], input_grad=input_grad or i > first)
            if dx is None and (input_grad or i > first):
                raise TypeError(
                    f"{type(modules[i]).__name__}: its backward returned no gradient of its input, "
                    f"which the layer before it needs (it is layer {i} of a chain, counted from "
                    "0). Let it return dx, an array of the shape of x."
                )
    return dx if input_grad else None


def chain_shape(modules: Sequence[Module], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the output for an input of ``shape``; both are without the batch."""
    for module in modules:
        shape = module.output_shape(shape)
    return shape


def chain_multiply_adds(modules: Sequence[Module], shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of all modules together, for an input of ``shape``."""
    total = 0
    for module in modules:
        total += module.multiply_adds(shape)
        shape = module.output_shape(shape)
    return total


def chain_window(modules: Sequence[Module], shape: tuple[int, ...]) -> Window | None:
    """Return the single window that is equal to the windows of all modules in turn.

    If the units below see f pixels and lie s pixels apart, a kernel k with dilation d sees
    (k - 1) * d * s pixels more, and its stride multiplies the distance s.
    """
    field, step = (1, 1), (1, 1)
    for module in modules:
        window = module.window(shape)
        if window is None:
            return None
        (kh, kw), (sh, sw), (dh, dw) = window
        field = field[0] + (kh - 1) * dh * step[0], field[1] + (kw - 1) * dw * step[1]
        step = step[0] * sh, step[1] * sw
        shape = module.output_shape(shape)
    return field, step, (1, 1)


def widest(windows: Sequence[Window | None]) -> Window | None:
    """Return the window of branches side by side: the largest one, because all have one centre.

    None if a branch sees everything, or if the branches have different strides.
    """
    known = [window for window in windows if window is not None]
    if len(known) < len(windows) or len({stride for _, stride, _ in known}) != 1:
        return None
    extents = [[(k - 1) * d + 1 for k, d in zip(w[0], w[2], strict=True)] for w in known]
    field = max(h for h, _ in extents), max(w for _, w in extents)
    return field, known[0][1], (1, 1)


def name_children(owner: Module, modules: Sequence[Module], named: dict[str, Module]) -> None:
    """Make modules attributes of ``owner``, called "0", "1", ... or by their names."""
    kind = type(owner).__name__
    for name, module in ({str(i): module for i, module in enumerate(modules)} | named).items():
        if not isinstance(module, Module):
            remedy = ""
            if isinstance(module, (list, tuple)):
                remedy = f" Write {kind}(*layers), with a star."
            elif isinstance(module, type) and issubclass(module, Module):
                remedy = f" Write {module.__name__}(...), with parentheses."
            raise TypeError(f"{kind}: {name} must be a Module, got {module!r}.{remedy}")
        if hasattr(owner, name):
            raise ValueError(f"{kind}: {name!r} is taken; choose another name.")
        setattr(owner, name, module)


class Sequential(Module):
    """Applies its modules in order.

    ``Sequential(Conv2d(...), ReLU())`` names them "0", "1", ...; ``Sequential(conv1=Conv2d(...),
    relu1=ReLU())`` as written. The state dict uses these names.
    """

    _fused: list[Module] | None = None  # the fused chain, made by ``minicnn.fuse``; it runs instead
    _layers: tuple[Module, ...] = ()  # the tree that it was made from

    def __init__(self, *modules: Module, **named: Module) -> None:
        name_children(self, modules, named)

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, list[Any]]:
        if self._fused:
            self._check_layers()
        return forward_chain(self._fused or list(self), x, training)

    def _check_layers(self) -> None:
        """Raise if a layer in the tree is not the one that was fused."""
        now = tuple(self.below())
        if len(now) != len(self._layers) or any(map(operator.is_not, now, self._layers)):
            raise RuntimeError(
                f"{type(self).__name__}: a layer was replaced after fusing, and a fused network "
                "runs the layers that it was made from. Fuse the network again."
            )

    def backward(
        self, dy: np.ndarray, cache: list[Any], *, input_grad: bool = True
    ) -> np.ndarray | None:
        return backward_chain(self._fused or list(self), dy, cache, input_grad)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return chain_shape(list(self), shape)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return chain_multiply_adds(list(self), shape)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return chain_window(list(self), shape)

"""Looking at what passes between the layers, in both directions, and adding to it.

    with watching(model, "layer3", "layer1.0.conv1") as seen:
        y, cache = model.forward(x, training=False)
        model.backward(dy, cache)
    seen["layer3"].y       # the output of layer3
    seen["layer3"].dy      # the gradient with respect to this output

Layers store nothing of a pass, so the arrays must be recorded while they pass. Within the ``with``,
forward and backward of the named modules are replaced by functions that call the originals and
record their arrays. Afterwards the modules are as before, even after an error. The recorded arrays
are those of the pass, not copies.

A gradient can be added at an inner layer. With zeros from above, an ordinary backward then gives
the gradient of an inner unit with respect to the input:

    y, cache = model.forward(x, training=False)
    seen["layer3"].inject(one_hot)
    dx = model.backward(np.zeros_like(y), cache)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.fused import Fused, Inference
from minicnn.nn import Module
from minicnn.shapes import ShapeError, did_you_mean


class NotSeen(RuntimeError):
    """A layer has not run, or has run more than once; the message says which."""


class Use:
    """One run of a layer: its output and, after backward, the gradient of this output."""

    def __init__(self, name: str, y: np.ndarray, order: int) -> None:
        self.y = y
        self.order = order  # of the runs of all layers, in the order of their ends
        self._name = name
        self._dy: np.ndarray | None = None
        self._more: np.ndarray | None = None

    @property
    def dy(self) -> np.ndarray:
        """The gradient that came from above, plus what was injected."""
        if self._dy is None:
            raise NotSeen(
                f"watching: no gradient has come to {self._name}. Run the network's backward "
                "within the with; layers below frozen ones need input_grad=True."
            )
        return self._dy

    def inject(self, dy: np.ndarray) -> None:
        """Add ``dy``, of the shape of ``y``, to the gradient of the next backward."""
        if np.shape(dy) != self.y.shape:
            raise ShapeError(
                f"watching: what is injected into {self._name} must have the shape of its output, "
                f"{self.y.shape}, got {np.shape(dy)}."
            )
        dy = np.asarray(dy, dtype=self.y.dtype)
        self._more = dy if self._more is None else self._more + dy

    def _receive(self, dy: np.ndarray) -> np.ndarray:
        self._dy, self._more = dy if self._more is None else dy + self._more, None
        return self._dy


class Watched:
    """The record of a layer. ``y``, ``dy`` and ``inject`` belong to its only use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uses: list[Use] = []  # in the order of forward, since the with began

    def _only(self) -> Use:
        if not self.uses:
            raise NotSeen(
                f"watching: {self.name} has not run. Run the network's forward within the with; "
                "heads beside the chain run in training only."
            )
        if len(self.uses) > 1:
            raise NotSeen(
                f"watching: {self.name} has run {len(self.uses)} times since the with began. Take "
                f"one of .uses[0] to .uses[{len(self.uses) - 1}], or begin a new with."
            )
        return self.uses[0]

    @property
    def y(self) -> np.ndarray:
        return self._only().y

    @property
    def dy(self) -> np.ndarray:
        return self._only().dy

    def inject(self, dy: np.ndarray) -> None:
        self._only().inject(dy)


@contextmanager
def watching(model: Module, *names: str) -> Iterator[dict[str, Watched]]:
    """Record the modules with these names, as ``model.named_modules()`` lists them.

    Yields the records by name. A layer that is used twice has two entries in ``uses``. Raises
    ValueError for an unknown name, and for a network that ``minicnn.fuse`` has made.
    """
    refuse_fused("watching", model)
    modules = {name: find(model, name) for name in names}
    seen = {name: Watched(name) for name in names}
    ended = itertools.count()
    before: list[tuple[Module, dict[str, Any]]] = []
    try:
        for name, module in modules.items():
            own = vars(module)
            before.append((module, {k: own[k] for k in ("forward", "backward") if k in own}))
            own.update(forward=_forward(module, seen[name], ended), backward=_backward(module))
        yield seen
    finally:
        for module, own in reversed(before):
            for method in ("forward", "backward"):
                vars(module).pop(method, None)
            vars(module).update(own)


def find(model: Module, name: str) -> Module:
    """Return the module of that name. The error for an unknown name suggests similar ones."""
    modules = dict(model.named_modules())
    if name not in modules:
        known = ", ".join(n for n, _ in model.named_children())
        raise ValueError(
            f"{type(model).__name__} has no module {name!r}.{did_you_mean(name, modules)} Its "
            f"children are {known}; named_modules() lists all."
        )
    return modules[name]


def maps_of(op: str, name: str, watched: Watched) -> np.ndarray:
    """Return the output of a layer (n, c, h, w); raise if it has another form."""
    if watched.y.ndim != 4:
        raise ShapeError(
            f"{op}: the output of {name or 'the network'} has shape {watched.y.shape}, "
            "without rows and columns. Name a layer before the image is flattened."
        )
    return watched.y


@contextmanager
def frozen(model: Module) -> Iterator[None]:
    """Within the with, backward does not add into the gradients of parameters."""
    before = [(param, param.trainable) for param in model.parameters()]
    try:
        model.freeze()
        yield
    finally:
        for param, trainable in before:
            param.trainable = trainable


def refuse_fused(what: str, model: Module) -> None:
    """Raise if the network is fused: the values between merged layers are not computed."""
    merged = (Fused, Inference)
    if isinstance(model, merged) or any(
        isinstance(module, merged) or getattr(module, "_fused", None)
        for _, module in model.named_modules()
    ):
        raise ValueError(
            f"{what}: this network is fused, so the values between its layers are not computed. "
            "Look at the network that was given to minicnn.fuse: its parameters are the same."
        )


def _forward(module: Module, watched: Watched, ended: Iterator[int]) -> Any:
    run = module.forward

    def forward(x: np.ndarray, *, training: bool) -> tuple[np.ndarray, Any]:
        y, cache = run(x, training=training)
        use = Use(watched.name, y, next(ended))
        watched.uses.append(use)
        return y, (use, cache)

    return forward


def _backward(module: Module) -> Any:
    run = module.backward

    def backward(dy: np.ndarray, cache: Any, *, input_grad: bool = True) -> np.ndarray | None:
        use, own = cache
        return run(use._receive(dy), own, input_grad=input_grad)

    return backward

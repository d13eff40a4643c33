"""Other code that should compute the same: in NumPy, or in torch if it is installed."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicnn.testing.conventions import Arrays, LayerSubject, Subject, subject_of


class Equivalent:
    """Gives y, and gradients if it has any."""

    name: str
    options: Mapping[str, Any]

    def buffers(self) -> dict[str, np.ndarray]:
        """Return the buffers after the latest answer, such as running statistics."""
        return {}

    def value(self, arrays: Arrays, options: Mapping[str, Any]) -> np.ndarray:
        return self.answer(arrays, None, options)[0]

    def answer(
        self, arrays: Arrays, dy: np.ndarray | None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, Arrays]:
        """Return ``(y, gradients)``; no gradients without dy."""
        raise NotImplementedError


def find(
    equivalent: Any,
    torch: Callable | None,
    subject: Subject,
    options: Mapping[str, Any],
    training: bool,
) -> Equivalent | None:
    """Return the equivalent that was given, or None."""
    if equivalent is not None and torch is not None:
        raise TypeError("gradcheck: give equivalent or torch, not both.")
    if torch is not None:
        return _Torch(torch, subject, options, training)
    if equivalent is None:
        return None
    if hasattr(equivalent, "backward") or isinstance(equivalent, (tuple, list)):
        return _Pair(equivalent, options, training)
    return _Function(equivalent, options)


class _Function(Equivalent):
    """A function of arrays that returns y."""

    def __init__(self, function: Callable, options: Mapping[str, Any]) -> None:
        self.function, self.options = function, options
        self.name = getattr(function, "__name__", "the equivalent")

    def answer(
        self, arrays: Arrays, dy: np.ndarray | None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, Arrays]:
        options = copy.deepcopy(self.options if options is None else options)
        return np.asarray(self.function(*_copies(arrays), **options)), ()


class _Pair(Equivalent):
    """Something with its own forward and backward."""

    def __init__(self, thing: Any, options: Mapping[str, Any], training: bool) -> None:
        self.thing, self.options, self.training = thing, options, training
        self.name = "the equivalent"

    def answer(
        self, arrays: Arrays, dy: np.ndarray | None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, Arrays]:
        options = self.options if options is None else options
        subject = subject_of(self.thing, _copies(arrays), options, self.training)
        y, cache = subject.forward(subject.arrays)
        if dy is None or np.shape(y) != dy.shape:
            return y, ()
        return y, subject.backward(dy, cache)


class _Torch(Equivalent):
    """A function of tensors, or a torch.nn.Module for a layer; it answers in float64 on the CPU."""

    def __init__(
        self, function: Any, subject: Subject, options: Mapping[str, Any], training: bool
    ) -> None:
        # minicnn never imports torch. A user with an equivalent in torch has imported it already.
        self.torch: Any = sys.modules.get("torch")
        if self.torch is None:
            raise TypeError("gradcheck: torch= needs a function of tensors; torch is not imported.")
        self.name, self.options = "torch", {k: v for k, v in options.items() if k != "impl"}
        self.subject, self.training = subject, training
        self.module = isinstance(function, self.torch.nn.Module)
        self.function = copy.deepcopy(function).double().cpu() if self.module else function
        if self.module and not isinstance(subject, LayerSubject):
            raise TypeError(
                "gradcheck: a torch.nn.Module is the equivalent of a layer with the same "
                f"parameters; for {subject.name} give a function of tensors."
            )

    def answer(
        self, arrays: Arrays, dy: np.ndarray | None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, Arrays]:
        torch, options = self.torch, self.options if options is None else options
        tensors = [None if a is None else torch.from_numpy(a.copy(order="C")) for a in arrays]
        if self.module:
            assert isinstance(self.subject, LayerSubject)
            self.subject.begin()
            state = self.subject.layer.state_dict()
            module = copy.deepcopy(self.function).train(self.training)
            module.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
            leaves = [*tensors[: self.subject.inputs], *module.parameters()]
            inputs, options = leaves[: self.subject.inputs], {}
            names = [name for name, _ in module.named_parameters()]
            if names != list(self.subject.names[self.subject.inputs :]):
                raise TypeError(
                    f"gradcheck: the parameters of {self.subject.name} are "
                    f"{', '.join(self.subject.names[self.subject.inputs :])}; "
                    f"torch's are {', '.join(names)}. They have to agree."
                )
            function = module
            module.requires_grad_(True)
        else:
            function, leaves, inputs = self.function, tensors, tensors
        for tensor in leaves:
            if tensor is not None and tensor.is_floating_point():
                tensor.requires_grad_()
        y = function(*inputs, **options)
        if dy is not None and tuple(y.shape) == dy.shape and y.requires_grad:
            y.backward(torch.tensor(dy, dtype=y.dtype))
        self._module = function if self.module else None
        gradients = tuple(None if t is None or t.grad is None else t.grad.numpy() for t in leaves)
        return y.detach().numpy(), gradients

    def buffers(self) -> dict[str, np.ndarray]:
        if self._module is None:
            return {}
        return {name: buffer.numpy() for name, buffer in self._module.named_buffers()}


def _copies(arrays: Arrays) -> Arrays:
    return tuple(None if a is None else a.copy() for a in arrays)

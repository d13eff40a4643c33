"""The base of every optimiser: the list of parameters, one step over it, the state to resume.

An optimiser has an update rule for one parameter: a loop over its numbers. The numbers are
independent of each other, so the rule sees every array as a vector. The loop is compiled (Numba),
because a rule has four to ten operations. NumPy would need a pass over memory for each operation;
the loop needs one pass for all.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from minicnn.optim.checks import number
from minicnn.shapes import check_float


class Parameter(Protocol):
    """What an optimiser needs of a parameter."""

    @property
    def data(self) -> np.ndarray:
        """The values, updated in place."""

    @property
    def grad(self) -> np.ndarray:
        """The gradient, of the shape and dtype of ``data``."""

    @property
    def trainable(self) -> bool:
        """False: no update, as in torch where grad is None."""


class HasParameters(Protocol):
    """A layer or a network, which has parameters."""

    def parameters(self) -> Iterable[Parameter]:
        """The parameters, each once."""


Parameters = Iterable[Parameter] | HasParameters


class Optimizer(ABC):
    """Updates ``params`` in place, step by step, from their gradients.

    ``params`` are parameters, or a network whose parameters are taken.

    Attributes
        params  the parameters, in the order given
        lr      the learning rate; a schedule sets it
    """

    # What the rule remembers of each parameter, by the names in the state dict.
    remembers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Parameters, lr: float) -> None:
        own = getattr(params, "parameters", None)
        if callable(own) and not isinstance(params, type):
            params = own()
        if isinstance(params, type) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self.name}: parameters are needed, or a network that has them, got "
                f"{_described(params)}. Use for example {self.name}(model, lr=0.01)."
            )
        self.params = list(params)
        self._begun = False  # whether a step was taken
        self._check_params()
        self.lr = lr
        # How often each parameter was updated. Memory for it is made at its first update, so a
        # parameter that stays frozen needs none.
        self._steps = [0] * len(self.params)
        self._memory: list[tuple[np.ndarray, ...]] = [()] * len(self.params)

    @property
    def name(self) -> str:
        """The class's name, as messages say it."""
        return type(self).__name__

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = number(self.name, "lr", lr, "Use for example lr=0.01.")

    @property
    @abstractmethod
    def momentum(self) -> float:
        """How much of the past direction a step keeps; a schedule may set it."""

    @momentum.setter
    @abstractmethod
    def momentum(self, momentum: float) -> None: ...

    @abstractmethod
    def _update(self, index: int, data: np.ndarray, grad: np.ndarray) -> None:
        """Update ``data``, the vector of parameter number ``index``, from its gradient."""

    def step(self) -> None:
        """Update every trainable parameter once.

        Warns at the first step if every gradient is 0, as it is before any backward.
        """
        for index, param in enumerate(self.params):
            if not param.trainable:
                continue
            data, grad = param.data, param.grad
            if grad.shape != data.shape or grad.dtype != data.dtype:
                raise ValueError(
                    f"{self.name}: the gradient of parameter {index} is {grad.dtype} {grad.shape}, "
                    f"the parameter {data.dtype} {data.shape}. They must be equal."
                )
            vector = data.ravel()  # a view if data are contiguous, else a copy
            self._update(index, vector, grad.ravel())
            if not data.flags.c_contiguous:
                data[...] = vector.reshape(data.shape)
        if not self._begun:
            self._begun = True
            self._notice_a_missing_backward()

    def zero_grad(self) -> None:
        """Set every gradient to 0, in place."""
        for param in self.params:
            param.grad.fill(0)

    def _recall(self, index: int, data: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the memory of parameter ``index``: zeros before its first update."""
        if not self._memory[index]:
            self._memory[index] = tuple(np.zeros_like(data) for _ in self.remembers)
        return self._memory[index]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of everything a resumed run needs besides the parameters and the options.

        ``"step"`` holds the number of updates of each parameter. The memory of each updated
        parameter has the name of the array and the parameter's number: ``"momentum.0"``.
        """
        state = {"step": np.array(self._steps, dtype=np.int64)}
        for index, (param, vectors) in enumerate(zip(self.params, self._memory, strict=True)):
            if vectors:
                for name, vector in zip(self.remembers, vectors, strict=True):
                    state[f"{name}.{index}"] = vector.reshape(param.data.shape).copy()
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state dict, bit for bit. Raises ValueError before changing anything."""
        steps = self._check_state(state)
        self._steps, self._begun = steps, any(steps)
        self._memory = [
            tuple(state[f"{name}.{index}"].flatten() for name in self.remembers) if count else ()
            for index, count in enumerate(steps)
        ]

    def _check_state(self, state: Mapping[str, np.ndarray]) -> list[int]:
        """Return the steps in ``state``; raise ValueError that names all that does not fit."""
        remedy = (
            f"It must come from {self.name} over the same {len(self.params)} parameters "
            "in the same order."
        )
        step = state.get("step")
        if not isinstance(step, np.ndarray):
            raise ValueError(f"{self.name}: the state dict has no array 'step'. {remedy}")
        if step.shape != (len(self.params),) or step.dtype != np.int64 or (step < 0).any():
            raise ValueError(
                f"{self.name}: 'step' in the state dict must be {len(self.params)} counts (int64), "
                f"one for each parameter, got {step.dtype} {step.shape}. {remedy}"
            )
        steps: list[int] = step.tolist()
        expected = {
            f"{name}.{index}": param.data
            for index, param in enumerate(self.params)
            if steps[index]
            for name in self.remembers
        }
        missing = [key for key in expected if key not in state]
        extra = [key for key in state if key not in expected and key != "step"]
        unlike = [
            f"{key} is {state[key].dtype} {state[key].shape}, not {data.dtype} {data.shape}"
            for key, data in expected.items()
            if key in state and (state[key].shape, state[key].dtype) != (data.shape, data.dtype)
        ]
        faults = [
            f"{what} {_some(keys)}"
            for what, keys in (("missing", missing), ("unexpected", extra), ("unlike:", unlike))
            if keys
        ]
        if faults:
            raise ValueError(
                f"{self.name}: the state dict does not fit: {'; '.join(faults)}. {remedy}"
            )
        return steps

    def _notice_a_missing_backward(self) -> None:
        gradients = [param.grad for param in self.params if param.trainable]
        if gradients and not any(np.any(grad) for grad in gradients):
            warnings.warn(
                f"{self.name}: every gradient is 0 at the first step, so nothing is learned. Call "
                "the network's backward after zero_grad() and before step().",
                stacklevel=3,
            )

    def _check_params(self) -> None:
        if not self.params:
            raise ValueError(
                f"{self.name}: there are no parameters. An iterator that was used before is empty: "
                "call parameters() anew."
            )
        seen: dict[int, int] = {}
        for index, param in enumerate(self.params):
            if isinstance(param, np.ndarray) or not all(
                hasattr(param, attribute) for attribute in ("data", "grad", "trainable")
            ):
                raise TypeError(
                    f"{self.name}: parameter {index} is {_described(param)}, which lacks data, "
                    "grad or trainable. Pass the network itself, or what its parameters() returns."
                )
            check_float(self.name, **{f"parameter {index}": param.data})
            if not param.data.flags.writeable:
                raise ValueError(
                    f"{self.name}: parameter {index} is read-only. Give it a copy of its data."
                )
            if id(param) in seen:
                raise ValueError(
                    f"{self.name}: parameters {seen[id(param)]} and {index} are the same one, "
                    "which would be updated twice. List it once."
                )
            seen[id(param)] = index


def _described(thing: object) -> str:
    """Return what was given, in a few words: a network's text has a line for each layer."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if callable(thing) and hasattr(thing, "__name__"):
        return f"the function {thing.__name__}, which is not called"
    return f"a {type(thing).__name__}"


def _some(words: list[str]) -> str:
    """Return the words as one text; if there are many, only the first few."""
    more = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return ", ".join(words[:4]) + more

"""Schedules: the learning rate as a function of the step.

A schedule has no state: the rate depends only on the number of the step. So a resumed run needs
only this number. A step may be a batch or an epoch, as the caller decides; the first step is 0. The
rate comes directly from the formula. torch multiplies from step to step, so the two differ by
rounding.

    Constant     lr
    StepLR       lr * gamma^floor(step / step_size)
    MultiStepLR  lr * gamma^(number of milestones m <= step)
    CosineLR     eta_min + (lr - eta_min) * (1 + cos(pi * step / T_max)) / 2
    OneCycleLR   up from max_lr/div_factor to max_lr, down to a 1/final_div_factor of the start
    Warmup       a line up to another schedule's first rate, then that schedule

Source
    Loshchilov & Hutter (2017), SGDR: stochastic gradient descent with warm restarts (cosine);
    Smith & Topin (2018), Super-convergence: very fast training of neural networks using large
    learning rates (one cycle);
    Goyal et al. (2017), Accurate, large minibatch SGD: training ImageNet in 1 hour (warm-up).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from minicnn.optim.checks import number
from minicnn.optim.optimizer import Optimizer
from minicnn.shapes import check_choice, integer

_RATE = "Use for example 0.1."


class Schedule(ABC):
    """A learning rate for each step: ``schedule(step)``."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of step ``step``, counted from 0."""
        return self._rate(integer(type(self).__name__, "step", step, 0))

    if not TYPE_CHECKING:  # else every name would seem to be there

        def __getattr__(self, name: str) -> Any:
            """Say what to write instead of torch's ``step``."""
            instead = " (use apply(optimizer, step), with the number of the step)"
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
                f"{instead * (name == 'step')}",
                name=name, obj=self,
            )  # fmt: skip

    @abstractmethod
    def _rate(self, step: int) -> float: ...

    def momentum(self, step: int) -> float | None:
        """Return the momentum of the step; None if the schedule does not change it."""
        return None

    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Set the optimiser's learning rate, and its momentum if the schedule has one."""
        optimizer.lr = self(step)
        momentum = self.momentum(step)
        if momentum is not None:
            optimizer.momentum = momentum


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step. Equals torch's optimiser without a schedule."""

    lr: float

    def __post_init__(self) -> None:
        number("Constant", "lr", self.lr, _RATE)

    def _rate(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class StepLR(Schedule):
    """Multiplies by gamma after every ``step_size`` steps. Equals torch's StepLR."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        number("StepLR", "lr", self.lr, _RATE)
        integer("StepLR", "step_size", self.step_size, 1)
        number("StepLR", "gamma", self.gamma, _RATE)

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStepLR(Schedule):
    """Multiplies by gamma at each milestone; listed twice, it counts twice. torch's MultiStepLR."""

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        number("MultiStepLR", "lr", self.lr, _RATE)
        number("MultiStepLR", "gamma", self.gamma, _RATE)
        for i, milestone in enumerate(self.milestones):
            integer("MultiStepLR", f"milestones[{i}]", milestone, 0)
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"MultiStepLR: milestones must be in rising order, got {list(self.milestones)}. "
                f"Use {sorted(self.milestones)}."
            )

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class CosineLR(Schedule):
    """Half a cosine from lr down to eta_min, reached at T_max. Equals torch's CosineAnnealingLR.

    As in torch, it rises again after T_max.
    """

    lr: float
    T_max: int
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        number("CosineLR", "lr", self.lr, _RATE)
        integer("CosineLR", "T_max", self.T_max, 1)
        number("CosineLR", "eta_min", self.eta_min, "Use 0 to go all the way down.", most=self.lr)

    def _rate(self, step: int) -> float:
        return _cosine(self.lr, self.eta_min, step / self.T_max)


@dataclass(frozen=True)
class OneCycleLR(Schedule):
    """One rise and one long fall; the momentum does the opposite. Equals torch's OneCycleLR.

    With start = max_lr / div_factor, the rate goes

        start -> max_lr -> start / final_div_factor                      or, with three_phase,
        start -> max_lr -> start -> start / final_div_factor

    along half cosines, or along lines with anneal_strategy="linear". The rise takes the share
    pct_start of the steps; with three phases the way back takes as many. Meanwhile the momentum
    (Adam's beta1) goes from max_momentum to base_momentum and back, unless cycle_momentum is False.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        number("OneCycleLR", "max_lr", self.max_lr, _RATE)
        integer("OneCycleLR", "total_steps", self.total_steps, 1)
        most = 0.5 if self.three_phase else 1.0  # the rise and the way back take pct_start each
        hint = f"Use for example 0.3 (three_phase is {self.three_phase})."
        number("OneCycleLR", "pct_start", self.pct_start, hint, most=most)
        check_choice("OneCycleLR", "anneal_strategy", self.anneal_strategy, ("cos", "linear"))
        for name in ("base_momentum", "max_momentum"):
            number("OneCycleLR", name, getattr(self, name), "Use for example 0.9.", below=1.0)
        for name in ("div_factor", "final_div_factor"):
            number("OneCycleLR", name, getattr(self, name), "Use for example 25.", above=0.0)

    def _rate(self, step: int) -> float:
        start = self.max_lr / self.div_factor
        end = start / self.final_div_factor
        way = (start, self.max_lr, start, end) if self.three_phase else (start, self.max_lr, end)
        return self._along(way, step)

    def momentum(self, step: int) -> float | None:
        if not self.cycle_momentum:
            return None
        low, high = self.base_momentum, self.max_momentum
        return self._along((high, low, high, high) if self.three_phase else (high, low, high), step)

    def _along(self, way: Sequence[float], step: int) -> float:
        """Return the value at ``step`` on the way through the values of ``way``."""
        if step >= self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {step} is past the last, {self.total_steps - 1}. "
                f"Set total_steps to the number of steps of the whole run."
            )
        top, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        times = (0, top, 2 * top, last) if self.three_phase else (0, top, last)
        phase = 0
        while step > times[phase + 1] and phase < len(times) - 2:
            phase += 1
        length = times[phase + 1] - times[phase]
        share = (step - times[phase]) / length if length else 1.0  # a phase of no length is skipped
        between = _cosine if self.anneal_strategy == "cos" else _line
        return between(way[phase], way[phase + 1], share)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A line up to ``schedule(0)`` over ``total_iters`` steps, then ``schedule`` from its step 0.

    It begins at start_factor * schedule(0). Step total_iters is the first with the full rate. So it
    takes total_iters steps more than ``schedule`` alone. Equals torch's
    SequentialLR([LinearLR(start_factor, total_iters=total_iters), schedule], [total_iters]).
    """

    schedule: Schedule
    total_iters: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(
                f"Warmup: schedule must be a Schedule, got {self.schedule!r}. "
                "Use for example Constant(0.1)."
            )
        integer("Warmup", "total_iters", self.total_iters, 1)
        hint = "At 0 the first step would be wasted. Use for example 0.01."
        number("Warmup", "start_factor", self.start_factor, hint, above=0.0, most=1.0)

    def _rate(self, step: int) -> float:
        if step >= self.total_iters:
            return self.schedule(step - self.total_iters)
        full = self.schedule(0)
        return _line(self.start_factor * full, full, step / self.total_iters)

    def momentum(self, step: int) -> float | None:
        return self.schedule.momentum(max(step - self.total_iters, 0))


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

"""Whether the sides agree, and how long they take."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from reference.bench.sides import Side
from reference.bench.workloads import Check

SETTLING = 0.01  # seconds of steps that do not count, in which the other sides' threads fall asleep
BLOCK = 0.05  # seconds, of the fastest side at least
MOST_STEPS = 1000  # in a block


class Disagreement(Exception):
    """Two sides that do not compute the same, so that comparing their times means nothing."""


class Agreement(NamedTuple):
    """How far the sides are apart, relatively: in results, and in the ways of the parameters."""

    steps: int
    result: float
    way: float | None  # None where nothing learns


class Quartiles(NamedTuple):
    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Quartiles:
        lower, median, upper = np.quantile(list(values), [0.25, 0.5, 0.75]).tolist()
        return cls(median, lower, upper)


class Timing(NamedTuple):
    """Seconds of a step, one number for each round, and how many steps a block had."""

    seconds: dict[str, list[float]]
    steps: int

    def quartiles(self, side: str) -> Quartiles:
        return Quartiles.of(self.seconds[side])

    def best(self, sides: Iterable[str]) -> str:
        """Return the side of the lowest median."""
        return min(sides, key=lambda side: self.quartiles(side).median)

    def ratio(self, side: str, other: str) -> Quartiles:
        """Return time of ``side`` / time of ``other``, paired within the rounds."""
        pairs = zip(self.seconds[side], self.seconds[other], strict=True)
        return Quartiles.of(a / b for a, b in pairs)


@contextmanager
def threads(sides: Iterable[type[Side]], count: int) -> Iterator[None]:
    """Let the sides work on ``count`` threads, then on as many as before."""
    before = [(side, side.use_threads(count)) for side in sides]
    try:
        yield
    finally:
        for side, number in reversed(before):
            side.use_threads(number)


def check_agreement(sides: Mapping[str, Side], check: Check) -> Agreement:
    """Step every side from the same weights; raise Disagreement where they part.

    The way of a parameter is its change over these steps, which is made of nothing but its
    gradients: one wrong gradient shows there, even where the loss hardly depends on it.
    """
    first, *others = sides
    start = sides[first].weights()
    for name in others:
        sides[name].load_weights(start)
    results = {name: _results(side, check.steps) for name, side in sides.items()}
    worst = max(_compare(results[first], results[other], first, other, check) for other in others)
    if not sides[first].learns:
        return Agreement(check.steps, worst, None)

    # A side may know no other buffers than its own: the keys are its own.
    ends = {name: side.weights() for name, side in sides.items()}
    worst_way = 0.0
    for name in others:
        for key, end in ends[name].items():
            apart = _apart(ends[first][key] - start[key], end - start[key])
            if not apart <= check.way:
                raise Disagreement(
                    f"the losses agree, but over {check.steps} steps {key} goes another way in "
                    f"{first} than in {name}: they differ by {apart:.2g} of its length. "
                    "Its gradient or its update is wrong on one side."
                )
            worst_way = max(worst_way, apart)
    return Agreement(check.steps, worst, worst_way)


Results = list[dict[str, np.ndarray]]  # of each step


def _results(side: Side, steps: int) -> Results:
    results = []
    for _ in range(steps):
        side.step()
        results.append({name: np.array(array) for name, array in side.results().items()})
    return results


def _compare(ours: Results, theirs: Results, us: str, them: str, check: Check) -> float:
    """Return how far the results are apart at most; raise Disagreement where that is too far."""
    worst = 0.0
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.keys() != other.keys():
            raise Disagreement(f"{us} computes {', '.join(mine)}, {them} {', '.join(other)}.")
        for name in mine:
            a, b = mine[name], other[name]
            if a.shape != b.shape:
                raise Disagreement(f"{name} has shape {a.shape} in {us} and {b.shape} in {them}.")
            apart = _apart(a, b)
            if not apart <= check.result:  # a NaN is no agreement
                what = f"the {name} of step {step}"
                raise Disagreement(
                    f"{what} is {float(a):.7g} in {us} and {float(b):.7g} in {them}."
                    if a.ndim == 0
                    else f"{what} in {us} and {them} differ by {apart:.2g} of their length."
                )
            worst = max(worst, apart)
    return worst


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the length of ``a - b`` by that of ``b``; 0 where they are equal."""
    distance = float(np.linalg.norm((a - b).ravel()))
    length = float(np.linalg.norm(b.ravel()))
    return distance / length if length else (0.0 if distance == 0 else math.inf)


def time_in_turns(sides: Mapping[str, Side], rounds: int) -> Timing:
    """Let the sides take turns, block by block, as the package's docstring describes."""
    steps = 1
    for side in sides.values():
        _settle(side)
        steps = max(steps, math.ceil(BLOCK / _seconds(side, 3)))
    steps = min(steps, MOST_STEPS)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(sides)).tolist():
            _settle(sides[name])
            seconds[name].append(_seconds(sides[name], steps))
    return Timing(seconds, steps)


def _settle(side: Side) -> None:
    end = time.perf_counter() + SETTLING
    while True:
        side.step()
        if time.perf_counter() >= end:
            return


def _seconds(side: Side, steps: int) -> float:
    """Return the seconds that a step takes, on average over ``steps``."""
    start = time.perf_counter()
    for _ in range(steps):
        side.step()
    return (time.perf_counter() - start) / steps


class OtherLoad:
    """How many cores other processes keep busy, or other guests where this machine is virtual."""

    def __init__(self) -> None:
        self._before = self._now()

    def cores(self) -> float | None:
        """Return the average since this was made; None where the system does not tell."""
        if self._before is None or (now := self._now()) is None:
            return None
        (busy0, own0, wall0), (busy, own, wall) = self._before, now
        return max(0.0, (busy - busy0) - (own - own0)) / (wall - wall0)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Return seconds of processor: of all processes, of this one and its children; and time."""
        if sys.platform != "linux":
            return None
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _idle, _iowait, irq, softirq, stolen = file.readline().split()[1:9]
        ticks = sum(int(n) for n in (user, nice, system, irq, softirq, stolen))
        own = os.times()
        return ticks / os.sysconf("SC_CLK_TCK"), sum(own[:4]), time.perf_counter()

"""What an animal of the zoo is, and how it is caught."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from minicnn.testing import GradientError, Report, gradcheck
from minicnn.testing.decorators import split
from minicnn.testing.report import Fault


@dataclass
class Animal:
    """A mistake: the right code, the wrong code, and the reason why people make it."""

    name: str
    why: str
    sound: Any  # both are what gradcheck takes: (forward, backward), or a class of layers
    broken: Any
    cases: st.SearchStrategy[Any]  # as for check_op: arrays, and options where there are any
    cause: str | None  # part of the cause that the checker names; None: it names none
    # If forward and backward share a mistake, the gradient is not wrong. Only a comparison with the
    # right code shows it.
    compare: bool = False
    how: Mapping[str, Any] = field(default_factory=dict)  # for gradcheck
    house: str = ""  # the file it lives in


@dataclass
class Catch:
    """The smallest case found that the checker rejects."""

    arrays: tuple[np.ndarray | None, ...]
    options: Mapping[str, Any]
    report: Report

    @property
    def fault(self) -> Fault:
        """The first thing that the checker says: of the gradients, otherwise of the manners."""
        return [*self.report.faults, *self.report.manners][0]

    def named(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays that were given, with their names."""
        for name, array in zip(self.report.names, self.arrays, strict=False):
            if array is not None:
                yield name, array


def catch(animal: Animal, examples: int = 200, broken: bool = True, start: int = 0) -> Catch | None:
    """Check the animal on drawn cases; return the smallest that the checker objects to, if any."""
    found: list[Catch] = []

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(animal.cases)
    def search(drawn: Any) -> None:
        arrays, options = split(drawn)
        thing = _made(animal.broken if broken else animal.sound)
        # Manners count, and the cases are difficult by themselves.
        how: dict[str, Any] = {"strict": True, "points": (), **animal.how}
        if animal.compare:
            how["equivalent"] = _made(animal.sound)
        try:
            gradcheck(thing, *arrays, options=options, **how)
        except GradientError as error:
            found.append(Catch(arrays, options, error.report))
            raise

    try:
        search()
    except GradientError:
        return found[-1]  # hypothesis runs the smallest once more at the end
    return None


def _made(thing: Any) -> Any:
    return thing() if isinstance(thing, type) else thing

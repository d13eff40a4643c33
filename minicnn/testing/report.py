"""What a gradient check found, and how it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


class Fault:
    """One thing that is wrong.

    Its likely cause may be a function that finds it: that takes a while, and is done when somebody
    asks. Tests that shrink an example make hundreds of reports that nobody reads.
    """

    def __init__(
        self, what: str, text: str, cause: str | Callable[[], str | None] | None = None
    ) -> None:
        self.what, self.text = what, text  # the argument, or "forward", "backward"
        self._cause = cause

    @property
    def cause(self) -> str | None:
        """The likely cause, where the pattern is known."""
        if callable(self._cause):
            self._cause = self._cause()
        return self._cause

    def __str__(self) -> str:
        likely = f"\n    Likely cause: {self.cause}" if self.cause else ""
        return f"{self.what}: {self.text}{likely}"

    def __repr__(self) -> str:
        return f"Fault({self.what!r}, {self.text!r})"


@dataclass
class Argument:
    """What was measured of the gradient of one argument."""

    name: str
    shape: tuple[int, ...]
    checked: int = 0  # elements compared with differences
    wrong: int = 0
    kinks: int = 0  # elements at which there is no derivative
    error: float = 0.0  # the greatest, relative to the greatest element of the gradient
    worst: tuple[int, ...] | None = None  # where
    backward: float = np.nan  # the two numbers there
    differences: float = np.nan
    adjoint: float = np.nan  # the greatest relative error along the directions
    complex_step: float = np.nan  # nan: forward does not take complex numbers


@dataclass
class Report:
    """The outcome of ``gradcheck``. ``ok`` tells it, ``str`` shows it."""

    subject: str
    names: tuple[str, ...] = ()  # of all arguments
    arguments: list[Argument] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)  # of the gradients
    manners: list[Fault] = field(default_factory=list)  # of the way they are computed
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)  # float arrays without a gradient
    against: str | None = None  # the equivalent that it was compared with
    checked: bool = True  # False: forward could not be run
    error: BaseException | None = None  # that forward or backward raised
    strict: bool = False  # whether manners count
    points: list[str] = field(default_factory=list)  # where else the gradients were compared
    precision: str = ""  # in which it was checked, where it is not float64

    @property
    def compared(self) -> bool:
        """Whether any gradient was compared with anything."""
        return bool(self.arguments) or bool(self.against)

    @property
    def ok(self) -> bool:
        """Whether the gradients are right; with ``strict``, whether manners are good as well."""
        return not self.faults and not (self.strict and self.manners)

    @property
    def causes(self) -> list[str]:
        """The likely causes that were named, the most telling first."""
        return [fault.cause for fault in [*self.faults, *self.manners] if fault.cause]

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self._verdict()}"]
        if self.arguments:
            lines += ["", *_table(self.arguments)]
        if self.faults:
            lines += ["", *map(str, self.faults)]
        if self.manners:
            lines += ["", f"Manners ({self._weight()}):", *map(str, self.manners)]
        if self.points:
            lines += ["", f"Also compared at {', '.join(self.points)}."]
        if self.notes:
            lines += ["", *dict.fromkeys(self.notes)]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if not self.checked:
            return "could not be checked"
        if self.faults:
            return "WRONG"
        if not self.compared:
            return "nothing was compared"
        text = "the gradients are right"
        if self.precision:
            text += f" (in {self.precision}, in which it computes)"
        if self.against:
            text += f", and those of {self.against}"
        if self.strict and self.manners:
            text += ", the manners are not"
        return text + (f"; not checked: {', '.join(self.unchecked)}" if self.unchecked else "")

    def _weight(self) -> str:
        return "strict: they count" if self.strict else "strict=True or --strict makes them count"


class GradientError(AssertionError):
    """A gradient, or the way of computing it, is wrong. The text is the report's."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return str(self.report)


def _table(arguments: list[Argument]) -> list[str]:
    head = ("gradient of", "elements", "kinks", "greatest error", "at", "backward", "differences",
            "adjoint", "complex step")  # fmt: skip
    rows: list[tuple[str, ...]] = [head]
    for a in arguments:
        worst = "" if a.worst is None else "[" + ", ".join(map(str, a.worst)) + "]"
        rows.append(
            (
                a.name,
                f"{a.checked} of {int(np.prod(a.shape))}",
                str(a.kinks or ""),
                f"{a.error:.1e}",
                worst,
                *("" if np.isnan(v) else f"{v:.6g}" for v in (a.backward, a.differences)),
                *("" if np.isnan(v) else f"{v:.1e}" for v in (a.adjoint, a.complex_step)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    used = [i for i, column in enumerate(zip(*rows, strict=True)) if any(column[1:])]
    return ["  " + "  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows]

"""The result of a gradient check, and its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


class Fault:
    """One fault.

    Its likely cause may be a function that finds it, which takes a while and runs only if the cause
    is read. Tests that shrink an example make hundreds of reports that nobody reads.
    """

    def __init__(
        self, what: str, text: str, cause: str | Callable[[], str | None] | None = None
    ) -> None:
        self.what, self.text = what, text  # the argument, or "forward", "backward"
        self._cause = cause

    @property
    def cause(self) -> str | None:
        """The likely cause, if the pattern is known."""
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
    """The measurements of the gradient of one argument."""

    name: str
    shape: tuple[int, ...]
    checked: int = 0  # elements compared with differences
    wrong: int = 0
    kinks: int = 0  # elements without a derivative
    error: float = 0.0  # the largest error, relative to the largest element of the gradient
    worst: tuple[int, ...] | None = None  # its place
    backward: float = np.nan  # the two numbers there
    differences: float = np.nan
    adjoint: float = np.nan  # the largest relative error along the directions
    complex_step: float = np.nan  # nan: forward does not take complex numbers


@dataclass
class Report:
    """The result of ``gradcheck``: ``ok`` is the verdict, ``str`` the text."""

    subject: str
    names: tuple[str, ...] = ()  # of all arguments
    arguments: list[Argument] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)  # of the gradients
    manners: list[Fault] = field(default_factory=list)  # of the manners
    notes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)  # float arrays without a gradient
    against: str | None = None  # the equivalent that it was compared with
    checked: bool = True  # False: forward could not be run
    error: BaseException | None = None  # the error that forward or backward raised
    strict: bool = False  # whether manners count
    points: list[str] = field(default_factory=list)  # other points of comparison
    precision: str = ""  # the precision of the check, if it is not float64

    @property
    def compared(self) -> bool:
        """True if any gradient was compared."""
        return bool(self.arguments) or bool(self.against)

    @property
    def ok(self) -> bool:
        """True if the gradients are right; with ``strict``, also the manners."""
        return not self.faults and not (self.strict and self.manners)

    @property
    def causes(self) -> list[str]:
        """The likely causes that were found, the most specific first."""
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
    """A gradient or the manners are wrong. The text is the report."""

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

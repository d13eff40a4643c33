"""What the parts of a check share: the subject, one pass of it, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from minicnn.testing import causes
from minicnn.testing.equivalents import Equivalent
from minicnn.testing.report import Fault, Report
from minicnn.testing.subjects import Arrays, ContractError, Subject

Kinks = Literal["between", "one side", "skip"]


class Stop(Exception):
    """What was found makes further checks meaningless."""


class Check:
    """One check of one subject. ``manners`` runs the pass and sets y, dy and gradients."""

    y: np.ndarray
    dy: np.ndarray
    gradients: Arrays
    cache: Any

    def __init__(
        self,
        subject: Subject,
        against: Equivalent | None,
        updates: frozenset[str],
        rng: np.random.Generator,
    ) -> None:
        self.subject, self.against, self.updates, self.rng = subject, against, updates, rng
        self.report = Report(repr(subject), subject.names)
        # As they lie in memory where they are float64 already: backward may depend on that.
        self.arrays = tuple(
            a if a is None or a.dtype.kind != "f" or a.dtype == np.float64 else a.astype(np.float64)
            for a in subject.arrays
        )

    def fresh(self, arrays: Arrays) -> Arrays:
        """Return the arrays, those that forward is meant to write to as copies."""
        return tuple(
            a.copy() if a is not None and name in self.updates else a
            for name, a in zip(self.subject.names, arrays, strict=True)
        )

    def value(self, arrays: Arrays) -> np.ndarray:
        """Return y of other arrays."""
        return self.subject.value(self.fresh(arrays))

    def along(self, i: int, direction: np.ndarray | int) -> Callable[[complex], np.ndarray]:
        """Return t -> y with argument ``i`` moved by t along a direction or an element."""
        array = self.arrays[i]
        assert array is not None

        def at(t: complex) -> np.ndarray:
            moved = array.astype(complex if isinstance(t, complex) else np.float64, order="C")
            if isinstance(direction, np.ndarray):
                moved += t * direction
            else:
                moved.reshape(-1)[direction] += t
            return self.value((*self.arrays[:i], moved, *self.arrays[i + 1 :]))

        return at

    def random(self) -> Arrays:
        """Return arrays of the same shapes with ordinary numbers, which hide less than zeros."""
        return tuple(
            np.asarray(self.rng.standard_normal(a.shape))
            if a is not None and a.dtype.kind == "f"
            else a
            for a in self.arrays
        )

    def fault(self, what: str, text: str, cause: str | None = None, stop: bool = False) -> None:
        """Report what is wrong; with ``stop``, nothing more is checked."""
        self.report.faults.append(Fault(what, text, cause))
        if stop:
            raise Stop

    @contextmanager
    def catching(self, where: str, begins: bool = False) -> Iterator[None]:
        """Report what forward or backward raise; ``begins``: nothing could be checked then."""
        try:
            yield
        except Stop:
            raise
        except ContractError as error:
            self.report.checked = not begins
            self.fault(where, str(error), stop=True)
        except Exception as error:
            cause = causes.of_exception(error)
            if self.against is not None:
                cause = causes.of_rejection(error, self.arrays, self.against) or cause
            self.report.checked = not begins
            self.report.error = error
            text = f"it raised {type(error).__name__}: {error}{_place(error.__traceback__)}"
            self.fault(where, text, cause, stop=True)


def _place(traceback: TracebackType | None) -> str:
    """Return in words where in the checked code an error was raised."""
    here, found = Path(__file__).parent, ""
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        if here not in file.parents and "minicnn" not in file.parts[-3:]:
            name = traceback.tb_frame.f_code.co_name
            found = f" ({file.name}, line {traceback.tb_lineno}, in {name})"
        traceback = traceback.tb_next
    return found

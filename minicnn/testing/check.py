"""The common part of all checks: the subject, one pass of it, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from minicnn.objects import said
from minicnn.testing import causes, points
from minicnn.testing.conventions import Arrays, ContractError, Subject
from minicnn.testing.derivatives import DOUBLE, Precision
from minicnn.testing.equivalents import Equivalent
from minicnn.testing.report import Fault, Report

Kinks = Literal["between", "one side", "skip"]


class Stop(Exception):
    """A fault that makes further checks meaningless."""


class Check:
    """One check of one subject at one point. A pass sets y, dy and gradients."""

    y: np.ndarray
    dy: np.ndarray
    gradients: Arrays

    def __init__(
        self,
        subject: Subject,
        against: Equivalent | None,
        updates: frozenset[str],
        rng: np.random.Generator,
        arrays: Arrays | None = None,
        precision: Precision = DOUBLE,
    ) -> None:
        self.subject, self.against, self.updates, self.rng = subject, against, updates, rng
        self.precision, self.given = precision, arrays is None
        self.report = Report(repr(subject), subject.names)
        self.misshaped: set[str] = set()  # arguments whose gradient has another shape
        self.known: set[str] = set()  # arguments found wrong at another point
        self.narrow: set[str] = set()  # arguments whose gradient is rounded to float32
        self.ignores_upstream = False  # backward gives the gradient of dy = 1
        self.y_dtype = np.dtype(np.float64)
        self.protected = False  # forward or backward writes to its arguments
        # float64 arrays keep their memory order, because backward may depend on it.
        self.dtype = np.dtype(precision.dtype if subject_is_narrow(subject) else np.float64)
        self.arrays = tuple(
            a if a is None or a.dtype.kind != "f" or a.dtype == self.dtype
            else a.astype(self.dtype)
            for a in (subject.arrays if arrays is None else arrays)
        )  # fmt: skip

    def fresh(self, arrays: Arrays) -> Arrays:
        """Return the arrays; those that forward may write to are copied."""
        return tuple(
            np.array(a) if a is not None and (self.protected or name in self.updates) else a
            for name, a in zip(self.subject.names, arrays, strict=True)
        )

    def differentiable(self, i: int) -> bool:
        """Return whether argument ``i`` is an array of floats with a gradient."""
        array, gradients = self.arrays[i], getattr(self, "gradients", None)
        if array is None or array.dtype.kind != "f":
            return False
        return gradients is None or gradients[i] is not None

    def value(self, arrays: Arrays) -> np.ndarray:
        """Return y for other arrays."""
        return wide(self.subject.value(self.fresh(arrays)))

    def run(self, arrays: Arrays | None = None) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)`` of a fresh pass."""
        self.subject.begin()
        y, cache = self.subject.forward(self.fresh(self.arrays if arrays is None else arrays))
        self.y_dtype = y.dtype
        return y, cache

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        """Return the gradients as copies; dy is passed in the dtype of y."""
        gradients = self.subject.backward(dy.astype(self.y_dtype, copy=False), cache)
        return tuple(None if g is None else np.array(g) for g in gradients)

    def answer(self, dy: np.ndarray, arrays: Arrays | None = None) -> Arrays:
        """Return the gradients of a fresh forward and backward."""
        return self.backward(dy.copy(), self.run(arrays)[1])

    def along(self, i: int, direction: np.ndarray | int) -> Callable[[complex], np.ndarray]:
        """Return t -> y with argument ``i`` moved by t along a direction or an element."""

        def at(t: complex) -> np.ndarray:
            return self.value(
                (*self.arrays[:i], self.moved(i, t, direction), *self.arrays[i + 1 :])
            )

        return at

    def moved(self, i: int, t: complex, direction: np.ndarray | int) -> np.ndarray:
        """Return argument ``i`` moved by t along a direction or an element."""
        array = self.arrays[i]
        assert array is not None
        kind = complex if isinstance(t, complex) else self.dtype
        moved = array.astype(kind, order="C")
        if isinstance(direction, np.ndarray):
            moved += (t * direction).astype(kind)
        else:
            moved.reshape(-1)[direction] += t
        return moved

    def random(self) -> Arrays:
        """Return arrays of the same shapes with ordinary numbers, which hide less than zeros.

        Arrays without a gradient are data, such as labels, and stay unchanged.
        """
        return points.ordinary(self)

    def fault(
        self, what: str, text: str, cause: str | Callable[[], str | None] | None = None, *,
        stop: bool = False,
        manners: bool = False,
    ) -> None:  # fmt: skip
        """Report a fault; with ``stop``, nothing more is checked."""
        fault = Fault(what, text, cause)
        kept = self.report.manners if manners else self.report.faults
        if (what, text) not in [(other.what, other.text) for other in kept]:
            kept.append(fault)
        if stop:
            raise Stop

    @contextmanager
    def catching(self, where: str, begins: bool = False) -> Iterator[None]:
        """Report an error of forward or backward; with ``begins``, nothing could be checked."""
        try:
            yield
        except Stop:
            raise
        except ContractError as error:
            self.report.checked = not begins
            self.fault(where, str(error), stop=True)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            cause = causes.of_exception(error)
            if self.against is not None:
                cause = causes.of_rejection(error, self.arrays, self.against) or cause
            self.report.checked = not begins
            self.report.error = error
            text = f"it raised {said(error)}{_place(error.__traceback__)}"
            self.fault(where, text, cause, stop=True)


def wide(y: np.ndarray) -> np.ndarray:
    """Return y in float64 or complex, so that differences lose no further digits."""
    return np.asarray(y, np.complex128 if np.iscomplexobj(y) else np.float64)


def subject_is_narrow(subject: Subject) -> bool:
    """Return whether all floats of a subject are float32, so that it is checked in float32."""
    return getattr(subject, "narrow", False)


def _place(traceback: TracebackType | None) -> str:
    """Return a text that says where in the checked code an error was raised."""
    here, found = Path(__file__).parent, ""
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        ours = here in file.parents or "minicnn" in file.parts[-3:]
        if not ours and not file.name.startswith("<frozen"):  # of Python itself, for example exit
            name = traceback.tb_frame.f_code.co_name
            found = f" ({file.name}, line {traceback.tb_lineno}, in {name})"
        traceback = traceback.tb_next
    return found

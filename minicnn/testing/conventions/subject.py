"""The common form of all conventions: named arguments, one forward and one backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray | None, ...]


class ContractError(Exception):
    """Forward or backward has an unknown form; the text says what is wrong."""


class Subject:
    """Something with forward and backward, and the arguments at which it is checked.

    The arguments are the arrays that forward takes, then the parameters. Backward returns one
    gradient for each argument, None where there is none.

    Attributes
        inputs      the number of arguments that are not parameters; they come first
        answered    the number of inputs for which backward returned a gradient
        takes_dy    False: backward takes no upstream gradient, as in many losses
        held        True: the state is on self, so one object can do one pass at a time
        network     True: it has several layers, whose kinks meet
        unchecked   names of arrays that look like parameters and have no gradient
        integers    options of the subject that are numbers, such as stride and padding
    """

    takes_dy = True
    held = False
    network = False

    def __init__(
        self, name: str, names: Sequence[str], arrays: Arrays, options: Mapping[str, Any]
    ) -> None:
        self.name, self.names, self.arrays = name, tuple(names), arrays
        self.options = dict(options)
        self.inputs = len(arrays)
        self.answered = len(arrays)
        self.unchecked: list[str] = []

    def begin(self) -> None:
        """Restore the state before the first pass: generators, running statistics."""
        raise NotImplementedError

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)``."""
        raise NotImplementedError

    def backward(self, dy: np.ndarray, cache: Any) -> Arrays:
        raise NotImplementedError

    def value(self, arrays: Arrays) -> np.ndarray:
        """Return a copy of y, from the state of before the first pass."""
        self.begin()
        return self.forward(arrays)[0].copy()

    def integers(self) -> dict[str, Any]:
        """Return the options that are integers or pairs of them, by name."""
        found = {k: v for k, v in self.options.items() if is_geometry(v)}
        for k, inside in self.options.items():  # conv_param = {"stride": 2, "pad": 1}
            if isinstance(inside, dict):
                found |= {f"{k}.{name}": v for name, v in inside.items() if is_geometry(v)}
        return found

    def varied(self, name: str, value: Any) -> Subject | None:
        """Return the same subject with one of ``integers`` changed, or None."""
        return None

    def __repr__(self) -> str:
        shapes = [
            f"{name} {'x'.join(map(str, a.shape)) or 'scalar'}"
            for name, a in zip(self.names, self.arrays, strict=True)
            if a is not None
        ]
        return f"{self.name}({', '.join(shapes)})"


def with_option(options: Mapping[str, Any], name: str, value: Any) -> dict[str, Any] | None:
    """Return the options with one of ``integers`` changed, or None if there is no such."""
    outer, dot, inner = name.partition(".")
    if outer not in options:
        return None
    return {**options, outer: {**options[outer], inner: value} if dot else value}


def is_geometry(value: Any) -> bool:
    """Tell whether a value is an integer, or one for each of two axes."""
    if isinstance(value, (tuple, list)):
        return 1 <= len(value) <= 3 and all(map(is_geometry, value))
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def first_dtype(arrays: Arrays) -> np.dtype:
    """Return the dtype of the first array of floats; float64 if there is none."""
    kinds = (a.dtype for a in arrays if a is not None and a.dtype.kind in "fc")
    return next(kinds, np.dtype(np.float64))

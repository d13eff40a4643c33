"""One call of an operation, drawn by a strategy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicnn import fused, ops
from minicnn.testing.strategies.arrays import Fill


class Call:
    """One call of an operation: arrays first, then options by name.

    Attributes
        arrays          positional arguments of forward; None for an optional array not given
        options         its options, by name
        differentiable  the number of arrays for which backward returns gradients
        fill            the fill of the arrays
        updates         arrays that forward writes to on purpose: name and position
    """

    def __init__(
        self,
        name: str,
        fill: Fill,
        arrays: tuple[np.ndarray | None, ...],
        options: dict[str, Any],
        differentiable: int = 1,
        updates: Mapping[str, int] | None = None,
    ) -> None:
        self.name, self.fill = name, fill
        self.op = getattr(ops if hasattr(ops, name) else fused, name)
        self.arrays, self.options, self.differentiable = arrays, options, differentiable
        self.updates = updates or {}

    def __repr__(self) -> str:
        arrays = ["None" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.arrays]
        options = [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{self.name}({', '.join(arrays + options)}) of {self.fill}"

    @property
    def dtype(self) -> np.dtype:
        x = self.arrays[0]
        assert x is not None
        return x.dtype

    def forward(self, impl: str) -> tuple[np.ndarray, Any]:
        """Return ``(y, cache)``. The call does not change, so it can be run again."""
        options = copy.deepcopy(self.options)  # a generator would continue
        arrays = list(self.arrays)
        for i in self.updates.values():
            array = arrays[i]
            arrays[i] = None if array is None else array.copy()
        return self.op.forward(*arrays, **options, impl=impl)

    def backward(self, dy: np.ndarray, cache: Any, impl: str) -> tuple[np.ndarray | None, ...]:
        """Return the gradients, always as a tuple."""
        gradients = self.op.backward(dy, cache, impl=impl)
        return gradients if isinstance(gradients, tuple) else (gradients,)

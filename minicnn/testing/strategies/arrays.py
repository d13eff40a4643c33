"""Arrays as inputs: their numbers, and their layout in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

KINDS = ("normal", "ties", "zeros", "huge", "offset")
NOT_FINITE = ("nan", "infinite")
LAYOUTS = ("contiguous", "unaligned", "transposed", "channels last", "sliced", "reversed")

seeds = st.integers(0, 2**32 - 1)


def numbers(kind: str, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return float64 numbers of one of KINDS or NOT_FINITE."""
    normal = rng.standard_normal(shape)
    match kind:
        case "normal":
            return normal
        case "ties":
            return rng.integers(-2, 3, shape).astype(np.float64)
        case "zeros":  # of both signs
            return np.where(rng.random(shape) < 0.7, np.copysign(0.0, normal), normal)
        case "huge":
            return 1e4 * normal
        case "offset":  # small differences of large numbers
            return 1e3 + normal
        case "infinite":  # of both signs, the negative more often: a maximum is to be rare
            chance = rng.random(shape)
            return np.where(chance < 0.4, -np.inf, np.where(chance > 0.9, np.inf, normal))
        case "nan":
            return np.where(rng.random(shape) < 0.2, np.nan, normal)
    raise ValueError(f"numbers: {kind!r} is none of {', '.join(KINDS + NOT_FINITE)}.")


def arranged(array: np.ndarray, layout: str) -> np.ndarray:
    """Return the same values in one of LAYOUTS; memory between them holds NaN."""
    poison = np.nan if array.dtype.kind == "f" else 0
    if array.ndim == 0:
        return array.copy()
    match layout:
        case "contiguous":
            return array.copy(order="C")
        case "unaligned":
            base = np.full(array.size + 3, poison, array.dtype)
            view = base[1 : 1 + array.size].reshape(array.shape)
        case "transposed":
            return array.copy(order="F")
        case "channels last":
            axis = min(1, array.ndim - 1)
            return np.moveaxis(np.moveaxis(array, axis, -1).copy(order="C"), -1, axis)
        case "sliced":
            base = np.full([2 * size + 1 for size in array.shape], poison, array.dtype)
            view = base[(slice(1, None, 2),) * array.ndim]
        case "reversed":
            return np.flip(np.flip(array).copy(order="C"))
        case _:
            raise ValueError(f"arranged: {layout!r} is none of {', '.join(LAYOUTS)}.")
    view[...] = array
    return view


class Fill:
    """Makes arrays, one after the other, of one kind of numbers; a seed always gives the same."""

    def __init__(
        self, dtype: Any, kind: str, layouts: Sequence[str], frozen: bool, seed: int
    ) -> None:
        self.dtype, self.kind, self.layouts, self.frozen = dtype, kind, layouts, frozen
        self.seed, self.rng = seed, np.random.default_rng(seed)

    def __repr__(self) -> str:
        return (
            f"Fill({self.dtype.__name__}, {self.kind!r}, {self.layouts!r}, "
            f"frozen={self.frozen}, seed={self.seed})"
        )

    def lay(self, array: np.ndarray) -> np.ndarray:
        """Return ``array`` in one of the layouts, read-only if the fill is frozen."""
        laid = arranged(array, self.layouts[int(self.rng.integers(len(self.layouts)))])
        if self.frozen:
            laid.setflags(write=False)
        return laid

    def __call__(self, *shape: int) -> np.ndarray:
        return self.lay(np.asarray(numbers(self.kind, shape, self.rng), self.dtype))

    def upstream(self, shape: Sequence[int]) -> np.ndarray:
        """Return a gradient: always ordinary numbers."""
        return self.lay(np.asarray(self.rng.standard_normal(shape), self.dtype))


def fills(
    kinds: Sequence[str] = KINDS, dtypes: Sequence[Any] = (np.float64, np.float32)
) -> st.SearchStrategy[Fill]:
    """Draw a fill of arrays: kind of number, dtype, layouts, read-only or not, seed."""
    return st.builds(
        Fill,
        dtype=st.sampled_from(list(dtypes)),
        kind=st.sampled_from(list(kinds)),
        layouts=st.sampled_from([("contiguous",), LAYOUTS, ("channels last",)]),
        frozen=st.booleans(),
        seed=seeds,
    )


Values = st.SearchStrategy[Fill]
FINITE: Values = fills()


class Digits(Fill):
    """Makes float64 arrays of small integers, each drawn by hypothesis, so that they shrink to 1.

    They shrink to 1 and not to 0, because a weight of 0 would hide most mistakes. Ties, zeros and
    negative numbers are frequent, and counterexamples become small enough to read.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__(np.float64, "digits", ("contiguous",), frozen=False, seed=0)
        self._draw = draw

    def __repr__(self) -> str:
        return "Digits()"

    def __call__(self, *shape: int) -> np.ndarray:
        return self._draw(hnp.arrays(np.float64, shape, elements=_digits, fill=st.nothing()))


_digits = st.sampled_from([1.0, 0.0, -1.0, 2.0, -2.0, 3.0, -3.0])


@st.composite
def digits(draw: st.DrawFn) -> Fill:
    """Draw a fill of small integers, for readable counterexamples."""
    return Digits(draw)

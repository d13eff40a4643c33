"""Other points at which a gradient is compared, besides the given arrays.

Some mistakes show only at special numbers, others only at ordinary ones: a forgotten parameter that
is 1, ties that random numbers never have, a batch axis of one that broadcasts. All points have
numbers that forward accepts: labels and targets stay, probabilities stay probabilities, and ties
repeat numbers that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from minicnn.testing.conventions import Arrays

if TYPE_CHECKING:
    from minicnn.testing.check import Check

Kind = Literal["parameters", "ties", "zeros", "one", "oblong"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Point(NamedTuple):
    """Arrays to compare at, and a title for them."""

    title: str
    arrays: Arrays
    elements: bool  # compare one by one, since kinks are likely; otherwise all together
    resized: bool = False


def further(check: Check, kinds: tuple[Kind, ...]) -> Iterator[Point]:
    """Yield points of these kinds, if the subject has any."""
    rng = np.random.default_rng(1)
    if "parameters" in kinds:
        yield Point("other parameters and numbers", _moved(check, rng), False)
    if "ties" in kinds and not check.subject.network:
        yield Point("ties", _inputs(check, lambda a, i: _tied(a, rng)), True)
    if "zeros" in kinds and not check.subject.network:
        changed = _inputs(check, lambda a, i: _signed(a, rng, _in_unit_range(check, i)))
        yield Point("zeros and negative numbers", changed, True)
    if "one" in kinds:
        yield from _one(check)
    if "oblong" in kinds:
        yield from _oblong(check)


def ordinary(check: Check) -> Arrays:
    """Return random numbers in the range of the given ones; arrays without gradient stay."""
    return tuple(
        np.asarray(_ordinary(check, a, i), a.dtype)
        if a is not None and check.differentiable(i) else a
        for i, a in enumerate(check.arrays)
    )  # fmt: skip


def _ordinary(check: Check, a: np.ndarray, i: int) -> np.ndarray:
    rng = check.rng
    if _in_unit_range(check, i):
        drawn = rng.uniform(0.1, 0.9, a.shape)
        return drawn / drawn.sum(axis=-1, keepdims=True) if _is_distribution(a) else drawn
    drawn = rng.standard_normal(a.shape)
    positive = a.size > 1 and (a > 0).all() and i < check.subject.inputs and i > 0
    return np.abs(drawn) + 0.1 if positive else drawn


def _is_distribution(a: np.ndarray) -> bool:
    return bool(a.ndim > 0 and a.shape[-1] > 1 and np.allclose(a.sum(axis=-1), 1, atol=1e-6))


def _in_unit_range(check: Check, i: int) -> bool:
    """Return whether an input holds probabilities: numbers from 0 to 1 beside a target."""
    a = check.arrays[i]
    if a is None or i >= check.subject.inputs or not a.size or (a < 0).any() or (a > 1).any():
        return False
    if _is_distribution(a):
        return True
    beside = any(
        other is not None and j != i and j < check.subject.inputs and not check.differentiable(j)
        for j, other in enumerate(check.arrays)
    )
    return beside and check.y.size < a.size


def _inputs(check: Check, change) -> Arrays:
    """Change the inputs that have gradients; parameters and data stay."""
    return tuple(
        np.asarray(change(a, i), a.dtype)
        if a is not None and i < check.subject.inputs and check.differentiable(i) else a
        for i, a in enumerate(check.arrays)
    )  # fmt: skip


def _moved(check: Check, rng: np.random.Generator) -> Arrays:
    """Change all numbers by up to a third; also zeros, if the array has both signs or is 0."""
    found: list[np.ndarray | None] = []
    for i, a in enumerate(check.arrays):
        if a is None or a.dtype.kind != "f" or not a.size:
            found.append(a)
            continue
        constant = bool((a == a.flat[0]).all())
        if not check.differentiable(i):
            # Perhaps a parameter without its gradient; in a loss it may be a target.
            usual = constant and check.y.size > 1 and i > 0
            if not usual:
                found.append(a)
                continue
        unit = _in_unit_range(check, i)
        factor = rng.uniform(0.65, 0.95 if unit else 1.35, a.shape)
        moved = a * factor
        if not unit and ((a < 0).any() or not a.any()):
            moved = moved + np.where(a == 0, 0.3 * rng.standard_normal(a.shape), 0)
        found.append(np.asarray(np.round(moved * 2**12) / 2**12, a.dtype))
    return tuple(found)


def _tied(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Repeat numbers: half of the elements take the number of a neighbour along some axis."""
    tied = a.copy()
    for axis in range(a.ndim):
        if a.shape[axis] > 1:
            tied = np.where(rng.random(a.shape) < 0.35, np.roll(tied, 1, axis), tied)
    return tied


def _signed(a: np.ndarray, rng: np.random.Generator, unit: bool) -> np.ndarray:
    """Set some elements to 0 and change the sign of others; no row becomes all 0."""
    if unit or not a.size:
        return a
    chosen = rng.random(a.shape)
    changed = np.where(chosen < 0.2, 0.0, np.where(chosen < 0.6, -a, a))
    for axis in range(a.ndim):
        if a.shape[axis] > 1:
            nothing = ~changed.any(axis=axis, keepdims=True)
            changed = np.where(nothing, a, changed)
    return changed


def _one(check: Check) -> Iterator[Point]:
    """A batch of one: the inputs with the first axis of x are cut after the first entry."""
    x = check.arrays[0] if check.subject.inputs else None
    if x is None or x.ndim < 2 or x.shape[0] < 2:
        return
    n = x.shape[0]
    cut = tuple(
        a[:1].copy()
        if a is not None and i < check.subject.inputs and a.ndim and a.shape[0] == n
        and (a.shape == x.shape or not check.differentiable(i)) else a
        for i, a in enumerate(check.arrays)
    )  # fmt: skip
    yield Point("a batch of one", cut, False, resized=True)


def _oblong(check: Check) -> Iterator[Point]:
    """An image that is not square: one column is removed if height and width are equal."""
    x = check.arrays[0] if check.subject.inputs else None
    if x is None or x.ndim < 3:
        return
    axes = (2, 3) if x.ndim == 4 and x.shape[2] == x.shape[3] else (1, 2)
    if x.shape[axes[0]] != x.shape[axes[1]] or x.shape[axes[1]] < 3:
        return
    cut = tuple(
        np.delete(a, -1, axis=axes[1])
        if a is not None and i < check.subject.inputs and a.shape == x.shape
        else a
        for i, a in enumerate(check.arrays)
    )
    yield Point("an image that is not square", cut, False, resized=True)


def keeps_its_meaning(check: Check, point: Point, y: np.ndarray) -> bool:
    """Return whether y of a resized point has the shape for a batch of one, or a narrower image.

    If not, the axis had another meaning, or something was broadcast.
    """
    if not point.resized:
        return y.shape == check.y.shape
    before, after = check.y.shape, y.shape
    if before == () or check.y.size == 1:
        return y.size == 1
    if len(before) != len(after):
        return False
    if "batch" in point.title:
        return before[0] == check.arrays[0].shape[0] and after == (1, *before[1:])  # type: ignore[union-attr]
    changed = [k for k in range(len(before)) if before[k] != after[k]]
    return len(changed) <= 1

"""Comparing values and gradients with those of an equivalent."""

from __future__ import annotations

import numpy as np

from minicnn.testing import causes
from minicnn.testing.check import Check
from minicnn.testing.conventions import LayerSubject
from minicnn.testing.equivalents import Equivalent

TOLERANCE = 1e-9  # relative to the largest element


def compare(check: Check, against: Equivalent) -> None:
    """Report if y differs from the equivalent's; if not, whether a gradient differs."""
    y, gradients = against.answer(check.arrays, check.dy)
    if not _agree(check.y, y):
        text = f"y differs from that of {against.name}: {_difference(check.y, y)}"
        check.fault("forward", text, _cause(check, against, y))
        return
    _compare_buffers(check, against)
    for name, ours, theirs in zip(check.subject.names, check.gradients, gradients, strict=False):
        if name in check.misshaped:
            continue
        if ours is not None and theirs is not None and not _agree(ours, theirs):
            text = f"the gradient differs from that of {against.name}: {_difference(ours, theirs)}"
            check.fault(name, text, _cause(check, against, None))


def _compare_buffers(check: Check, against: Equivalent) -> None:
    """Compare the running statistics that one pass leaves in a layer."""
    theirs = against.buffers()
    if not theirs or not isinstance(check.subject, LayerSubject):
        return
    check.subject.begin()
    check.subject.forward(check.fresh(check.arrays))
    for name, ours in check.subject.buffers().items():
        if name in theirs and not _agree(ours, theirs[name]):
            text = f"after forward it is not that of {against.name}: "
            check.fault(name, text + _difference(ours, theirs[name]))


def _cause(check: Check, against: Equivalent, y: np.ndarray | None) -> str | None:
    """Return the likely cause, found here or at ordinary numbers, since zeros hide much."""
    numbers = causes.numbers_of(check.subject, check.y.shape)
    if y is not None:
        cause = causes.of_values(check.y, y, check.arrays, against, numbers)
        if cause:
            return cause
    for _ in range(4):
        arrays = check.random()
        ours, theirs = check.value(arrays), against.value(arrays, against.options)
        if not _agree(ours, theirs):
            return causes.of_values(ours, theirs, arrays, against, numbers)
    return None


def _agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.shape != theirs.shape:
        return False
    size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    return np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * (size + 1e-3), equal_nan=True)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} where {theirs.shape} is expected"
    gap = np.abs(ours - theirs)
    at = np.unravel_index(int(np.argmax(np.where(np.isnan(gap), np.inf, gap))), gap.shape)
    place = [int(k) for k in at]
    return f"at {place} it is {ours[at]:.6g} where {theirs[at]:.6g} is expected"

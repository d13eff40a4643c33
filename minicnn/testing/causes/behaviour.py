"""Mistakes that show when backward runs again: another dy, another seed, another cache."""

from __future__ import annotations

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence
from minicnn.testing.conventions import isolation


def noise(e: Evidence) -> str | None:
    """Backward draws its own random numbers: with other seeds it gives another gradient."""
    found = []
    try:
        for number in (0, 1):
            _, cache = e.check.run()
            isolation.seed(100 + number)
            found.append(e.check.backward(e.dy.copy(), cache)[e.i])
        _, cache = e.check.run()
        found.append(e.check.backward(e.dy.copy(), cache)[e.i])
        found.append(e.check.backward(e.dy.copy(), cache)[e.i])
    except Exception:
        return None
    drawn = [g for g in found if g is not None and g.shape == e.gradient.shape]
    if len(drawn) < 4:
        return None
    reseeded = not np.array_equal(drawn[0], drawn[1])
    # A generator on self continues from one backward to the next; both are wrong.
    goes_on = not np.array_equal(drawn[2], drawn[3]) and not e.same(drawn[3], e.numeric) and (
        _looks_masked(drawn[2], drawn[3])
    )  # fmt: skip
    return texts.RANDOM_BACKWARD if reseeded or goes_on else None


def _looks_masked(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two gradients are 0 at different elements, as with two masks."""
    return bool(((a == 0) != (b == 0)).any())


def upstream(e: Evidence) -> str | None:
    if not e.check.subject.takes_dy or e.check.ignores_upstream:
        return None  # it is reported already, and right for dy = 1
    other = e.again(np.asarray(2 * e.dy + 1))
    same = other is not None and np.array_equal(other, e.gradient) and other.any()
    return texts.UPSTREAM_IGNORED if same else None


def alias(e: Evidence) -> str | None:
    """With y as it was before x was added to it, backward is right."""
    if e.array.shape != e.dy.shape or not e.complete:
        return None
    other = e.again(e.dy.copy(), e.array)
    right = other is not None and other.shape == e.numeric.shape and e.same(other, e.numeric)
    return texts.ALIAS if right else None

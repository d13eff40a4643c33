"""Right numbers at wrong indices, and indices that get no gradient or too much."""

from __future__ import annotations

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence


def unreached(e: Evidence) -> str | None:
    """Backward gives 0 where y changes: on one side of 0, or at some elements."""
    ours, true = e.gradient.reshape(-1), e.smooth.reshape(-1)
    known = np.isfinite(true)
    wrong = known & (np.abs(ours - true) > e.exact * e.scale)
    if not wrong.any() or not (np.abs(ours[wrong]) <= 1e-9 * e.scale).all():
        return None
    x = e.array.reshape(-1)
    silent = known & (ours == 0)
    heard = known & (ours != 0)
    for sign, side in (("negative", x < 0), ("positive", x > 0)):
        if heard.any() and side[silent].all() and not side[heard].any():
            return texts.BRANCH.format(name=e.name, sign=sign)
    return texts.UNREACHED


def flat(e: Evidence) -> str | None:
    """Backward is not 0 where y does not change."""
    ours, true = e.gradient.reshape(-1), e.smooth.reshape(-1)
    known = np.isfinite(true)
    wrong = known & (np.abs(ours - true) > e.exact * e.scale)
    if not wrong.any() or not (np.abs(true[wrong]) <= 1e-4 * np.abs(ours[wrong])).all():
        return None
    reached = any(e.reaches(int(k)) for k in np.flatnonzero(wrong)[:20])
    return texts.FLAT if reached else texts.UNREACHABLE


def permuted(e: Evidence) -> str | None:
    """The same numbers in another order."""
    if not e.complete or not np.isfinite(e.smooth).all() or e.gradient.size < 3:
        return None
    a, b = np.sort(e.gradient, axis=None), np.sort(e.smooth, axis=None)
    if len(np.unique(np.round(b / e.scale, 6))) < 2:
        return None
    return texts.MISPLACED if np.abs(a - b).max() <= e.exact * e.scale else None

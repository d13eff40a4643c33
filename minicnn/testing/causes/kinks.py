"""Ties: which element gets the gradient if several are the maximum."""

from __future__ import annotations

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence
from minicnn.testing.derivatives import central, kink

LOOKED_AT = 40


def ties(e: Evidence) -> str | None:
    """Replay what each of the equal elements would get: everything, a share, or nothing."""
    wrong = e.wrong[:LOOKED_AT]
    if not wrong.size or not np.isin(e.wrong, e.at_kinks).all():
        return None
    precision = e.check.precision
    most, least, ours = [], [], []
    for element in wrong:
        along = e.check.along(e.i, int(element))
        at = kink(along, precision)
        if at is None:
            continue
        rest = np.where(at.kinked, 0, central(along, precision.steps[2]))
        larger = np.where(np.abs(at.left) > np.abs(at.right), at.left, at.right)
        smaller = np.where(np.abs(at.left) > np.abs(at.right), at.right, at.left)
        most.append(float((e.dy * np.where(at.kinked, larger, rest)).sum()))
        least.append(float((e.dy * np.where(at.kinked, smaller, rest)).sum()))
        ours.append(float(e.gradient.reshape(-1)[element]))
    if not ours:
        return None
    slack = 1e-3 * e.scale
    if np.abs(np.subtract(ours, most)).max() <= slack and not e.adjoint_holds:
        return texts.TIES_TO_ALL
    if np.abs(np.subtract(ours, least)).max() <= slack and not e.adjoint_holds:
        return texts.TIES_TO_NONE
    low, high = np.minimum(most, least), np.maximum(most, least)
    between = ((ours >= low - slack) & (ours <= high + slack)).all()
    return texts.TIES_SHARED if e.adjoint_holds and between else None

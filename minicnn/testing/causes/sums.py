"""Sums that leave something out: an axis, a window, or statistics that depend on x."""

from __future__ import annotations

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence


def last_entry(e: Evidence) -> str | None:
    """One entry along one axis of y, the same for every element: a loop that assigns."""
    c = e.contributions
    flat = e.gradient.reshape(-1)[e.elements]
    for axis in range(1, c.ndim):
        if c.shape[axis] < 2:
            continue
        for entry in (-1, 0):
            part = c.take(entry, axis=axis).reshape(len(c), -1).sum(axis=1)
            if np.abs(part - flat).max() <= e.exact * e.scale:
                which = "last" if entry else "first"
                return texts.LAST_ENTRY.format(entry=which, axis=axis - 1)
    return None


def partial(e: Evidence) -> str | None:
    """A sum over some axes of dy instead of all: one slice of it."""
    found = {int(k): c for k, c in zip(e.elements, e.contributions, strict=True)}
    for element in e.wrong:
        c = found.get(int(element))
        if c is None:
            continue
        value = e.gradient.reshape(-1)[element]
        if abs(value) <= 1e-9 * e.scale:
            return None
        slices = [
            part.sum()
            for axis in range(c.ndim)
            if c.shape[axis] > 1
            for part in np.moveaxis(c, axis, 0)
        ]
        if not any(_near(s, value) for s in slices):
            return None
    return texts.PARTIAL if e.wrong.size else None


def _near(a: float, b: float) -> bool:
    return bool(abs(a - b) <= 1e-5 * max(abs(a), abs(b)))


def _parts(e: Evidence, c: np.ndarray) -> list[np.ndarray]:
    """Return the contributions of the windows to an element: per output, or per pixel.

    Only those that are not 0.
    """
    grouped = [c.reshape(-1)]
    if c.ndim > 2:
        grouped.append(c.sum(axis=1).reshape(-1))
    if c.ndim > 1:
        grouped.append(c.sum(axis=-1).reshape(-1))
    return [p[np.abs(p) > 1e-6 * e.scale] for p in grouped]


def accumulation(e: Evidence) -> str | None:
    """One contribution instead of several, or their product instead of their sum."""
    values = e.gradient.reshape(-1)[e.elements]
    rows = [_parts(e, c) for c in e.contributions]
    if not rows:
        return None
    for way in range(len(rows[0])):
        parts = [row[way] for row in rows]
        several = [(p, v) for p, v in zip(parts, values, strict=True) if p.size > 1]
        single = [(p, v) for p, v in zip(parts, values, strict=True) if p.size == 1]
        if not several:
            continue
        products = [_near(float(np.prod(p)), v) for p, v in several]
        if (
            any(products)
            and all(ok or abs(v) <= 1e-9 * e.scale
                    for ok, (_, v) in zip(products, several, strict=True))
            and all(_near(p[0], v) or abs(v) <= 1e-9 * e.scale for p, v in single)
        ):  # fmt: skip
            return texts.PRODUCT
        if all(any(_near(part, v) for part in p) for p, v in several) and all(
            _near(p[0], v) for p, v in single
        ):
            return texts.ACCUMULATION
        # The last window may cover an element without choosing it, and leave 0.
        if (
            sum(any(_near(part, v) for part in p) for p, v in several) > 1
            and all(any(_near(part, v) for part in p) or v == 0 for p, v in several)
            and all(_near(p[0], v) or v == 0 for p, v in single)
            and _overlap(e)
        ):
            return texts.ACCUMULATION
    return None


def _overlap(e: Evidence) -> bool:
    """Return whether zeros come from assignments, not from elements that are never reached."""
    values = e.gradient.reshape(-1)[e.elements]
    some = [bool(np.abs(c).max(initial=0) > 0) for c in e.contributions]
    zeros = np.asarray([v == 0 for v in values])[np.asarray(some)]
    return bool(0 < zeros.sum() < zeros.size)

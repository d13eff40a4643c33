"""Means, variances and normalisers that are treated as constants; and their counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence


def _axes(e: Evidence) -> Iterator[tuple[int, ...]]:
    """Yield sets of axes of x with more than one number, the largest first."""
    for count in range(e.array.ndim, 0, -1):
        for over in itertools.combinations(range(e.array.ndim), count):
            if np.prod([e.array.shape[a] for a in over]) > 1:
                yield over


def constants(e: Evidence) -> str | None:
    """If forward subtracts a mean, adding a constant to x changes nothing; similarly for scales.

    The missing term is added again. If this gives the right gradient, it was the mistake.
    """
    if not e.complete or np.abs(e.smooth[np.isfinite(e.smooth)]).max(initial=0) < 1e-9 * e.scale:
        return None
    ours, true, x = e.gradient, e.smooth, e.array
    for over in _axes(e):
        mean = ours.mean(axis=over, keepdims=True)
        centred = ours - mean
        if e.same(centred, true):
            return texts.MEAN
        p = _softmax(x, over)
        if len(over) == 1 and e.same(ours - p * ours.sum(axis=over, keepdims=True), true):
            return texts.MEAN
    for over in _axes(e):
        for base, kept in ((x - x.mean(axis=over, keepdims=True), ours), (x, ours)):
            if _is_projection(e, kept - true, base, kept, over):
                return texts.VARIANCE
        centred = ours - ours.mean(axis=over, keepdims=True)
        base = x - x.mean(axis=over, keepdims=True)
        if _is_projection(e, centred - true, base, centred, over):
            return texts.STATISTICS
        if _is_share(e, ours - true, over):
            return texts.VARIANCE
    return None


def _is_projection(
    e: Evidence, gap: np.ndarray, base: np.ndarray, ours: np.ndarray, over: tuple[int, ...]
) -> bool:
    """Return whether the error is the part of ``ours`` along ``base``, except for an eps."""
    if not np.isfinite(gap).all() or np.abs(gap).max() <= 1e-5 * e.scale:
        return False
    square = (base * base).sum(axis=over, keepdims=True)
    along = (gap * base).sum(axis=over, keepdims=True)
    whole = (ours * base).sum(axis=over, keepdims=True)
    with np.errstate(all="ignore"):
        share = along / whole
        fits = np.abs(gap - base * along / square).max() <= e.exact * e.scale
    clear = np.abs(whole) > 1e-6 * e.scale * np.sqrt(square)
    shares = share[clear]
    return bool(fits and shares.size and (shares > 0.3).all() and (shares < 1 + 1e-4).all())


def _is_share(e: Evidence, gap: np.ndarray, over: tuple[int, ...]) -> bool:
    """Return whether it is x / x.sum(): the error is one number, and scaling x changes nothing."""
    if not np.isfinite(gap).all() or np.abs(gap).max() <= 1e-5 * e.scale:
        return False
    constant = np.abs(gap - gap.mean(axis=over, keepdims=True)).max() <= e.exact * e.scale
    true = gap * 0 + e.smooth
    still = np.abs((true * e.array).sum(axis=over)).max() <= 1e-4 * e.scale
    moved = np.abs((e.gradient * e.array).sum(axis=over)).max() > 1e-3 * e.scale
    return bool(constant and still and moved)


def _softmax(x: np.ndarray, over: tuple[int, ...]) -> np.ndarray:
    z = np.exp(x - x.max(axis=over, keepdims=True))
    return z / z.sum(axis=over, keepdims=True)


def softmax(e: Evidence) -> str | None:
    """A softmax whose backward sums along another axis, or not at all."""
    x, y, dy = e.array, e.y, e.dy
    for axis in range(x.ndim):
        if x.shape[axis] < 2:
            continue
        p = _softmax(x, (axis,))
        others = [a for a in range(x.ndim) if a != axis]
        if y.shape == x.shape and _equal(e.y, p):
            products = y * dy

            def along(s: np.ndarray, p: np.ndarray = p) -> np.ndarray:
                return p * (dy - s)
        elif y.shape == x.shape and _equal(e.y, np.log(p)):
            products = dy

            def along(s: np.ndarray, p: np.ndarray = p) -> np.ndarray:
                return dy - p * s
        else:
            found = _of_a_loss(e, axis, p, others)
            if found:
                return found
            continue
        for wrong in others:
            if e.fits(along(products.sum(axis=wrong, keepdims=True))):
                return texts.SOFTMAX_AXIS.format(axis=axis, wrong=wrong)
        total = products.sum(axis=axis)
        # Without axis 0, the rest broadcasts correctly.
        if axis and _broadcasts(total.shape, x.shape) and e.fits(along(total)):
            return texts.KEEPDIMS.format(axis=axis)
    return None


def _of_a_loss(e: Evidence, axis: int, p: np.ndarray, others: list[int]) -> str | None:
    """p - target with p of another axis: the error is the difference of the two p, times dy."""
    if e.y.size != 1 and e.y.shape != tuple(np.delete(e.array.shape, axis)):
        return None
    total = e.smooth.sum(axis=axis)  # of p - target it is 0, along the axis of the softmax only
    if not (np.abs(total[np.isfinite(total)]) <= e.exact * e.scale).all():
        return None
    weight = e.dy if e.y.size == 1 else np.expand_dims(e.dy, axis)
    gap = e.gradient - e.smooth
    for wrong in others:
        if e.array.shape[wrong] < 2:
            continue
        between = (_softmax(e.array, (wrong,)) - p) * weight
        known = np.isfinite(gap)
        a, b = gap[known], np.broadcast_to(between, gap.shape)[known]
        if not b.any() or not a.any() or a.size < 4:
            continue
        k = float((a * b).sum() / (b * b).sum())
        if np.abs(a - k * b).max() <= e.exact * e.scale:
            return texts.SOFTMAX_AXIS.format(axis=axis, wrong=wrong)
    return None


def _broadcasts(one: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(one, to) == to
    except ValueError:
        return False


def keepdims(e: Evidence) -> str | None:
    """x - x.mean(axis) whose backward loses the axis: the mean is broadcast along another."""
    if e.y.shape != e.array.shape:
        return None
    for axis in range(1, e.array.ndim):
        mean = e.dy.mean(axis=axis)
        if e.array.shape[axis] < 2 or not _broadcasts(mean.shape, e.array.shape):
            continue
        if e.same(e.dy - e.dy.mean(axis=axis, keepdims=True), e.smooth) and e.fits(e.dy - mean):
            return texts.KEEPDIMS.format(axis=axis)
    return None


def count(e: Evidence) -> str | None:
    """The terms of the statistics divided by a wrong count.

    Let A be the direct term and B the term of the statistics. The right gradient is A - B; backward
    gives A - c B, where c is the right count divided by the wrong one. For the right c, A is a
    multiple of dy, with the same factor along the axes of the statistics.
    """
    if e.y.shape != e.array.shape or not e.complete or not np.isfinite(e.smooth).all():
        return None
    gap = e.gradient - e.smooth
    sizes = e.array.shape
    letters = "NCHW" if len(sizes) == 4 else ""
    for over in _axes(e):
        right = int(np.prod([sizes[a] for a in over]))
        wrongs = {right - 1: f"{right} - 1"}
        for number in range(1, len(sizes) + 1):
            for some in itertools.combinations(range(len(sizes)), number):
                k = int(np.prod([sizes[a] for a in some]))
                name = "*".join(letters[a] if letters else f"the size of axis {a}" for a in some)
                wrongs.setdefault(k, f"{k} ({name})")
        for k, name in wrongs.items():
            if k == right:
                continue
            statistics = gap / (1 - right / k)
            with np.errstate(all="ignore"):
                for weight in _weights(e):
                    ratio = (e.smooth + statistics) / (e.dy * weight)
                    spread = np.abs(ratio - ratio.mean(axis=over, keepdims=True)).max()
                    if spread <= e.exact * np.abs(ratio).max():
                        return texts.COUNT.format(wrong=name, right=right)
    return None


def _weights(e: Evidence) -> Iterator[np.ndarray]:
    """Yield 1 and other arguments that may scale y: per channel, or along the last axis."""
    yield np.ones(1)
    for j, a in enumerate(e.check.arrays):
        if j == e.i or a is None or a.dtype.kind != "f" or not a.size or not a.all():
            continue
        if _broadcasts(a.shape, e.array.shape):
            yield a
        if a.ndim == 1 and e.array.ndim > 2 and a.size == e.array.shape[1]:
            yield a.reshape(-1, *[1] * (e.array.ndim - 2))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-7)

"""Wrong windows: stride, dilation or padding that backward forgets, and shifts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.testing.causes import texts
from minicnn.testing.causes.evidence import Evidence
from minicnn.testing.conventions.names import plain

SHIFTS = 3


def _kind(name: str) -> tuple[str, int] | None:
    """Return the text for an option of windows, and its neutral value."""
    n = plain(name)
    if "strid" in n or n in ("s", "sh", "sw"):
        return texts.STRIDE_FORGOTTEN, 1
    if "dilat" in n or n in ("rate", "d", "atrous"):
        return texts.DILATION_FORGOTTEN, 1
    if "pad" in n or n == "p":
        return texts.PADDING_FORGOTTEN, 0
    return None


def forgotten_option(e: Evidence) -> str | None:
    """The gradient is that of a forward without the stride, the dilation or the padding."""
    for name, value in e.check.subject.integers().items():
        kind = _kind(name)
        if kind is None or np.all(np.asarray(value) == kind[1]):
            continue
        neutral = type(value)(kind[1] for _ in value) if isinstance(value, (tuple, list)) \
            else kind[1]  # fmt: skip
        expected = (
            _without_padding(e, name, neutral, value)
            if kind[1] == 0
            else [_with_option(e, name, neutral, e.check.arrays)]
        )
        if any(found is not None and e.fits(found) for found in expected):
            return kind[0].format(option=name)
    return None


def _with_option(e: Evidence, name: str, value: Any, arrays: Any) -> np.ndarray | None:
    """Return the gradient of a forward with another option; dy fills its first outputs."""
    try:
        subject = e.check.subject.varied(name, value)
        if subject is None:
            return None
        y = subject.value(arrays)
    except Exception:
        return None
    if y.ndim != e.dy.ndim:
        return None
    dy = np.zeros(y.shape)
    common = tuple(slice(0, min(a, b)) for a, b in zip(y.shape, e.dy.shape, strict=True))
    dy[common] = e.dy[common]
    return e.replay(lambda arrays: np.asarray(subject.value(arrays), float), arrays, dy)


def _without_padding(e: Evidence, name: str, neutral: Any, value: Any) -> list[np.ndarray | None]:
    """No padding before: the image is extended at its end, so that as many windows fit."""
    x = e.check.arrays[0]
    if x is None or x.ndim < 2:
        return []
    both = np.broadcast_to(np.asarray(value), 2) if np.size(value) in (1, 2) else None
    if both is None:
        return []
    found = []
    for axes in ((-2, -1), (-3, -2)) if x.ndim > 2 else ((-2, -1),):
        for fill in (0.0, -1e6):
            widths = [(0, 0)] * x.ndim
            for axis, p in zip(axes, both, strict=True):
                widths[axis] = (0, 2 * int(p))
            longer = np.pad(x, widths, constant_values=fill)
            found.append(_with_option(e, name, neutral, (longer, *e.check.arrays[1:])))
    return found


def shifted(e: Evidence) -> str | None:
    """The right gradient, shifted by some rows and columns."""
    if e.array.ndim < 2 or not e.complete:
        return None
    pads = [v for k, v in e.check.subject.integers().items() if (_kind(k) or ("", 1))[1] == 0]
    for axes in ((-2, -1), (-3, -2)) if e.array.ndim > 2 else ((-2, -1),):
        h, w = (e.array.shape[a] for a in axes)
        for a in range(-min(SHIFTS, h - 1), min(SHIFTS, h - 1) + 1):
            for b in range(-min(SHIFTS, w - 1), min(SHIFTS, w - 1) + 1):
                if (a, b) != (0, 0) and _is_shifted(e, axes, (a, b)):
                    if any(np.array_equal(np.broadcast_to(np.asarray(p), 2), (abs(a), abs(b)))
                           for p in pads if np.size(p) in (1, 2)):  # fmt: skip
                        return texts.PADDING_FORGOTTEN.format(option="padding")
                    return texts.SHIFTED.format(shift=(a, b))
    return None


def _is_shifted(e: Evidence, axes: tuple[int, int], by: tuple[int, int]) -> bool:
    ours, true = e.gradient, e.smooth
    for axis, shift in zip(axes, by, strict=True):
        size = e.array.shape[axis]
        to = slice(max(shift, 0), size + min(shift, 0))
        of = slice(max(-shift, 0), size + min(-shift, 0))
        index = [slice(None)] * e.array.ndim
        index[axis] = to
        other = [slice(None)] * e.array.ndim
        other[axis] = of
        ours, true = ours[tuple(index)], true[tuple(other)]
    known = np.isfinite(true)
    if known.sum() < 4 or np.count_nonzero(true[known]) < 3 or 2 * ours.size < e.array.size:
        return False
    return bool(np.abs(ours - true)[known].max() <= e.exact * e.scale)

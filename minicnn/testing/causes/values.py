"""Why forward differs from its equivalent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minicnn.objects import said
from minicnn.testing.causes import texts
from minicnn.testing.causes.amounts import factor
from minicnn.testing.causes.arguments import TURNS
from minicnn.testing.causes.shapes import of_shapes
from minicnn.testing.conventions import Arrays
from minicnn.testing.equivalents import Equivalent


def of_values(
    ours: np.ndarray,
    true: np.ndarray,
    arrays: Arrays,
    against: Equivalent,
    numbers: Mapping[str, float],
) -> str | None:
    """Return why forward might differ from its equivalent."""
    if not np.isfinite(ours).all() and np.isfinite(true).all():
        return texts.OVERFLOW
    for cause, changed, options in _variations(arrays, against.options):
        try:
            if _equal(ours, against.value(changed, options)):
                return cause
        except KeyboardInterrupt:
            raise
        except BaseException:  # the variation is not allowed
            continue
    if ours.shape != true.shape:
        return of_shapes(ours.shape, true.shape)
    too_large = factor(ours, true, numbers)
    if too_large:
        return too_large
    wrong = ~np.isclose(ours, true, rtol=1e-9, atol=1e-12)
    padded = np.any(against.options.get("padding", 0)) or against.options.get("ceil_mode")
    if ours.ndim == 4 and padded and not wrong[:, :, 1:-1, 1:-1].any():
        return texts.BORDER
    if ours.size > 1 and np.allclose(
        np.sort(ours, axis=None), np.sort(true, axis=None), rtol=0, atol=1e-9 * np.abs(true).max()
    ):
        return texts.MISPLACED
    return None


def of_rejection(error: BaseException, arrays: Arrays, against: Equivalent) -> str | None:
    """Return why forward might raise an error that its equivalent does not."""
    for cause, changed, options in _variations(arrays, against.options):
        try:
            against.value(changed, options)
        except KeyboardInterrupt:
            raise
        except BaseException as same:
            if type(same) is type(error) and said(same) == said(error):
                return cause
    return None


def _variations(
    arrays: Arrays, options: Mapping[str, Any]
) -> Iterator[tuple[str, Arrays, Mapping[str, Any]]]:
    """Yield calls that somebody may have computed by mistake."""
    for i, array in enumerate(arrays):
        if array is not None and array.ndim == 4 and i > 0:
            for cause, turn in TURNS.items():
                yield cause, (*arrays[:i], turn(array), *arrays[i + 1 :]), options
    for name, value in options.items():
        if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] != value[1]:
            yield (
                f"{texts.SWAPPED[:-1]} in {name}.",
                arrays,
                {**options, name: (value[1], value[0])},
            )
        if isinstance(value, bool):
            yield f"{name} is taken for {not value}.", arrays, {**options, name: not value}
    for name in ("dilation", "stride", "groups", "label_smoothing", "weight", "divisor_override"):
        if name in options:
            rest = {key: value for key, value in options.items() if key != name}
            yield f"{name} is ignored.", arrays, rest


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12)

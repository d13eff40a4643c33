"""One case: what somebody wrote, the arrays to check it at, and the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Case:
    """``cause`` is a pattern for what is named, ``adapter`` counts the lines written for it.

    ``how`` is what ``gradcheck`` takes by name. Of a convention with usual names it is empty.
    """

    name: str
    thing: Any
    arrays: tuple[Any, ...]
    right: bool
    cause: str | None = None
    how: dict[str, Any] = field(default_factory=dict)
    adapter: int = 0


def numbers(*shape: int, seed: int = 3) -> np.ndarray:
    """Return ordinary numbers of a shape."""
    return np.random.default_rng(seed).standard_normal(shape)


def labels(count: int, classes: int) -> np.ndarray:
    """Return labels, each class at least once if there are as many."""
    return np.arange(count) * 2 % classes


def one_hot(count: int, classes: int) -> np.ndarray:
    return np.eye(classes)[labels(count, classes)]

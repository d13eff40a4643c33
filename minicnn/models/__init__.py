"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minicnn.models.lenet import cnn3, convnet, lenet5
from minicnn.nn import Module

__all__ = ["MODELS", "Model", "cnn3", "convnet", "create", "find", "lenet5"]


class Model(NamedTuple):
    """How to build a network, and the image (channels, height, width) it is made for."""

    build: Callable[..., Module]
    image: tuple[int, int, int]


MODELS: dict[str, Model] = {
    "lenet5": Model(lenet5, (1, 28, 28)),
    "lenet5-1998": Model(partial(lenet5, variant="1998"), (1, 28, 28)),
    "cnn3": Model(cnn3, (1, 28, 28)),
    "convnet": Model(convnet, (1, 28, 28)),
}


def find(name: str) -> Model:
    """Return how to build the network of that name; an unknown name lists the known ones."""
    if name not in MODELS:
        raise ValueError(f"There is no model {name!r}. Known: {', '.join(MODELS)}.")
    return MODELS[name]


def create(name: str, num_classes: int = 10, *, rng: np.random.Generator | None = None) -> Module:
    """Return a new network by its name; an unknown name lists the known ones."""
    return find(name).build(num_classes, rng=rng)

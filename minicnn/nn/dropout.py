"""Dropout as a layer."""

from __future__ import annotations

import numpy as np

from minicnn.nn.module import Elementwise
from minicnn.ops import dropout
from minicnn.shapes import check_rng


class Dropout(Elementwise):
    """Sets numbers to 0 with probability ``p`` in training; does nothing in inference.

    Only the state of ``rng`` changes from pass to pass. Checkpoints save this state.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be from 0 to 1, got {p}.")
        check_rng("Dropout", rng)
        self.p, self.rng = p, rng

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[np.ndarray, dropout.Cache]:
        return dropout.forward(x, self.p, training, rng=self.rng, impl=self.impl)

    def backward(
        self, dy: np.ndarray, cache: dropout.Cache, *, input_grad: bool = True
    ) -> np.ndarray | None:
        return dropout.backward(dy, cache, impl=self.impl) if input_grad else None

    def _options(self) -> str:
        return f"p={self.p}"

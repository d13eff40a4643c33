"""Auxiliary heads: classifiers on inner points of a chain, used in training only.

    h1 = stage1(x),    h2 = stage2(h1),    y = stage3(h2)
    a1 = head1(h1),    a2 = head2(h2)

There are then three losses, each with its own gradient. In backward, each head adds its gradient to
the gradient of the chain at the point where the head is attached:

    dh2 = d stage3(dy) + d head2(da2),    dh1 = d stage2(dh2) + d head1(da1)

Source
    Szegedy et al. (2015), Going deeper with convolutions: their loss is the chain's loss plus 0.3
    times the loss of each head. Lee et al. (2015), Deeply-supervised nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.nn.module import Module, Window
from minicnn.nn.sequential import (
    backward_chain,
    chain_multiply_adds,
    chain_shape,
    chain_window,
    forward_chain,
)


class Branches(NamedTuple):
    """Chains one after the other, and the heads: head i takes the output of chain i."""

    stages: Sequence[Sequence[Module]]
    heads: Sequence[Module]  # at most one for each stage except the last


class Cache(NamedTuple):
    stages: list[list[Any]]
    heads: list[Any]  # none in inference


class AuxiliaryHeads(Module):
    """A chain of stages. In training, each head is applied to the output of its stage.

    With heads, a training forward returns a tuple: the output of the chain, then the outputs of the
    heads from the last to the first. Backward takes a tuple of gradients in the same order.
    Inference returns only the output of the chain. A summary counts inference.

    Networks that name their layers themselves override ``branches``.
    """

    _fused: Branches | None = None  # the fused branches, made by ``minicnn.fuse``; they run instead

    def __init__(self, stages: Sequence[Module], heads: Sequence[Module]) -> None:
        if len(heads) >= len(stages):
            raise ValueError(
                f"AuxiliaryHeads: {len(heads)} heads on {len(stages)} stages. The last stage has "
                "no head, so there must be one stage more than heads."
            )
        for i, stage in enumerate(stages, start=1):
            setattr(self, f"stage{i}", stage)
        for i, head in enumerate(heads, start=1):
            setattr(self, f"head{i}", head)
        self._counts = len(stages), len(heads)

    def branches(self) -> Branches:
        stages, heads = self._counts
        return Branches(
            [[getattr(self, f"stage{i + 1}")] for i in range(stages)],
            [getattr(self, f"head{i + 1}") for i in range(heads)],
        )

    def forward(self, x: np.ndarray, *, training: bool) -> tuple[Any, Cache]:
        stages, heads = self._fused or self.branches()
        outputs, stage_caches, head_caches = [], [], []
        for i, stage in enumerate(stages):
            x, stage_cache = forward_chain(stage, x, training)
            stage_caches.append(stage_cache)
            if training and i < len(heads):
                y, head_cache = heads[i].forward(x, training=training)
                outputs.append(y)
                head_caches.append(head_cache)
        cache = Cache(stage_caches, head_caches)
        return (x, *reversed(outputs)) if outputs else x, cache

    def backward(self, dy: Any, cache: Cache, *, input_grad: bool = True) -> np.ndarray | None:
        stages, heads = self._fused or self.branches()
        dx, *dheads = (dy,) if isinstance(dy, np.ndarray) else dy
        if len(dheads) != len(cache.heads):
            raise ValueError(
                f"{type(self).__name__}: this forward had {1 + len(cache.heads)} outputs, and "
                f"backward needs a gradient for each, got {1 + len(dheads)}. With heads in "
                "training, give a tuple in the order of the outputs."
            )
        dheads = dheads[::-1]  # in the order of the heads
        asked = [input_grad]  # whether the gradient at the start of stage i is needed
        for stage in stages:
            asked.append(asked[-1] or any(module.learns for module in stage))
        for i in reversed(range(len(stages))):
            if i < len(dheads):
                dhead = heads[i].backward(dheads[i], cache.heads[i], input_grad=asked[i + 1])
                if dhead is not None:
                    dx = dx + dhead
            dx = backward_chain(stages[i], dx, cache.stages[i], asked[i])
        return dx

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return chain_shape(self._trunk(), shape)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        return chain_multiply_adds(self._trunk(), shape)

    def window(self, shape: tuple[int, ...]) -> Window | None:
        return chain_window(self._trunk(), shape)

    def _trunk(self) -> list[Module]:
        return [module for stage in self.branches().stages for module in stage]

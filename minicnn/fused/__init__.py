"""A compiler pass over the tree of modules: neighbours that run faster as one operation.

    fast = minicnn.fuse(model)      # the same parameters, the same names, the same numbers

A convolution does hundreds of products with a number that it has read. What follows it does one or
two, and reads and writes everything for that. So the passes over the memory cost more than the
arithmetic in them, and one that does the work of three takes a third of the time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from minicnn.fused.modules import BatchNormReLU, FusedResidual
from minicnn.nn import (
    AuxiliaryHeads,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Module,
    ReLU,
    Residual,
    Sequential,
)
from minicnn.nn import auxiliary, residual

__all__ = ["BatchNormReLU", "FusedResidual", "fuse"]

# What a chain of these kinds becomes. The first that fits is taken.
PATTERNS: list[tuple[tuple[Any, ...], Any]] = [
    (((BatchNorm1d, BatchNorm2d), ReLU), BatchNormReLU),
]


def fuse(model: Module) -> Module:
    """Return a module that computes what ``model`` does, with fewer passes over the memory.

    Both have the same parameters, buffers and names, and what trains one trains the other.
    """
    if isinstance(model, Residual):
        return _fuse_residual(model)
    twin = copy.copy(model)
    if isinstance(model, Sequential):
        twin.fused = fuse_chain(list(model))
    elif isinstance(model, Concat):
        twin.fused = [fuse_chain(branch) for branch in model.branches()]
    elif isinstance(model, AuxiliaryHeads):
        stages, heads = model.branches()
        twin.fused = auxiliary.Branches([fuse_chain(s) for s in stages], [fuse(h) for h in heads])
    else:
        return model
    return twin


def fuse_chain(modules: Sequence[Module]) -> list[Module]:
    """Return a chain that does the same."""
    chain: list[Module] = []
    i = 0
    while i < len(modules):
        for kinds, fused in PATTERNS:
            row = modules[i : i + len(kinds)]
            if len(row) == len(kinds) and all(map(_is, row, kinds)):
                chain.append(fused(*row))
                break
        else:
            row = modules[i : i + 1]
            chain += map(fuse, row)
        i += len(row)
    return chain


def _is(module: Module, kinds: Any) -> bool:
    """Whether the module is of a kind itself: a subclass may do something else."""
    return type(module) in (kinds if isinstance(kinds, tuple) else (kinds,))


def _fuse_residual(block: Residual) -> Module:
    main, shortcut, activation = block.branches()
    last = main[-1] if main else None
    if (
        isinstance(last, BatchNorm1d | BatchNorm2d)
        and len(activation) == 1
        and _is(activation[0], ReLU)
    ):
        return FusedResidual(block, fuse_chain(main[:-1]), last, fuse_chain(shortcut))
    twin = copy.copy(block)
    twin.fused = residual.Branches(*map(fuse_chain, (main, shortcut, activation)))
    return twin

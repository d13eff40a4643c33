"""A compiler pass over the tree of modules: neighbours that run faster as one operation.

    fast = minicnn.fuse(model)      # the same parameters, the same names, the same numbers

A convolution does hundreds of products with a number that it has read. What follows it does one or
two, and reads and writes everything for that. So the passes over the memory cost more than the
arithmetic in them, and one that does the work of three takes a third of the time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

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
    auxiliary,
    residual,
)

__all__ = ["BatchNormReLU", "FusedResidual", "fuse"]

NORM = BatchNorm1d, BatchNorm2d

# What modules of these kinds in a row become: the first that fits is taken, the last always fits.
PATTERNS: list[tuple[Sequence[tuple[type[Module], ...]], Callable[..., Module]]] = [
    ((NORM, (ReLU,)), BatchNormReLU),
    (((Module,),), lambda module: fuse(module)),
]


def fuse(model: Module) -> Module:
    """Return a module that computes what ``model`` does, with fewer passes over the memory.

    Both have the same parameters, buffers and names, and what trains one trains the other. Modules
    with a forward of their own stay as they are.
    """
    twin = copy.copy(model)
    if _runs_as(model, Residual):
        return _fuse_residual(model)
    if _runs_as(model, Sequential):
        twin.fused = fuse_chain([model])
    elif _runs_as(model, Concat):
        twin.fused = [fuse_chain(branch) for branch in model.branches()]
    elif _runs_as(model, AuxiliaryHeads):
        stages, heads = model.branches()
        twin.fused = auxiliary.Branches([fuse_chain(s) for s in stages], [fuse(h) for h in heads])
    else:
        return model
    return twin


def fuse_chain(modules: Sequence[Module]) -> list[Module]:
    """Return a chain that does the same; chains in it become a part of it."""
    modules, chain, i = list(_flat(modules)), [], 0
    while i < len(modules):
        kinds, fused = next(
            (kinds, fused) for kinds, fused in PATTERNS if _fits(modules[i : i + len(kinds)], kinds)
        )
        chain.append(fused(*modules[i : i + len(kinds)]))
        i += len(kinds)
    return chain


def _flat(modules: Sequence[Module]) -> Iterator[Module]:
    for module in modules:
        if _runs_as(module, Sequential):
            yield from _flat(list(module))
        else:
            yield module


def _fits(modules: Sequence[Module], kinds: Sequence[tuple[type, ...]]) -> bool:
    return len(modules) == len(kinds) and all(
        Module in kinds_here or any(_runs_as(module, kind) for kind in kinds_here)
        for module, kinds_here in zip(modules, kinds, strict=True)
    )


def _runs_as(module: Module, kind: type[Module]) -> bool:
    """Whether the module is of that kind, with its forward and backward: not one that overrides."""
    return (
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and type(module).backward is kind.backward
    )


def _fuse_residual(block: Residual) -> Module:
    main, shortcut, activation = map(list, map(_flat, block.branches()))
    if _fits([*main[-1:], *activation], (NORM, (ReLU,))):
        return FusedResidual(block, fuse_chain(main[:-1]), main[-1], fuse_chain(shortcut))
    twin = copy.copy(block)
    twin.fused = residual.Branches(*map(fuse_chain, (main, shortcut, activation)))
    return twin

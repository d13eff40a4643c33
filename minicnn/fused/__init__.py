"""A compiler pass over the tree of modules: neighbours that run faster as one operation.

    fast = minicnn.fuse(model)      # the same parameters, names and, up to rounding, numbers
    minicnn.fuse(model, inference=True)     # for inference alone, and faster: see inference.py

A convolution does hundreds of products with a number that it has read. What follows it does one or
two, and reads and writes everything for that. So the passes over the memory cost more than the
arithmetic in them, and one that does the work of three takes a third of the time. What costs least
is done inside a convolution, to numbers that it has in the cache anyway.

    in a row                                becomes
    convolution, ReLU, max pool             ConvReLUPool    conv_relu_pool.py
    (convolution, batch norm, ReLU) * n     ConvNormReLU    norm_conv.py, bands.py
    linear, ReLU                            LinearReLU      linear_relu.py
    batch norm, ReLU                        BatchNormReLU   batch_norm_relu.py
    a residual block of convolutions        ResidualConvs   norm_conv.py, bands.py
    a residual block that ends with both    FusedResidual   batch_norm_relu.py

What is in no row runs as it is, and so does a module with a forward of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from minicnn.fused.inference import Inference
from minicnn.fused.modules import (
    BatchNormReLU,
    ConvNormReLU,
    ConvReLUPool,
    Fused,
    FusedResidual,
    LinearReLU,
    ResidualConvs,
    Stage,
)
from minicnn.fused.tree import flat, runs_as
from minicnn.nn import (
    AuxiliaryHeads,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
    auxiliary,
    residual,
)

__all__ = [
    "BatchNormReLU",
    "ConvNormReLU",
    "ConvReLUPool",
    "FusedResidual",
    "Inference",
    "LinearReLU",
    "ResidualConvs",
    "fuse",
]

NORM = BatchNorm1d, BatchNorm2d
STAGE = (Conv2d,), (BatchNorm2d,), (ReLU,)

# What modules of these kinds in a row become; the first that fits is taken.
PATTERNS: list[tuple[Sequence[tuple[type[Module], ...]], type[Fused]]] = [
    (((Conv2d,), (ReLU,), (MaxPool2d,)), ConvReLUPool),
    (((Conv2d,), (MaxPool2d,), (ReLU,)), ConvReLUPool),
    (STAGE, ConvNormReLU),
    (((Linear,), (ReLU,)), LinearReLU),
    ((NORM, (ReLU,)), BatchNormReLU),
]


def fuse(model: Module, *, inference: bool = False) -> Module:
    """Return a module that computes what ``model`` does, with fewer passes over the memory.

    With ``inference`` it is for inference alone, and faster still: the weights are those that
    ``model`` has now, and what is trained afterwards is not seen; see inference.py.

    Else both have the same parameters, buffers and names, and what trains one trains the other. The
    layers are those that ``model`` has now: replace some first, then fuse. Modules with a forward
    of their own stay as they are.
    """
    if not isinstance(model, Module):
        raise TypeError(f"fuse: a Module is needed, got {type(model).__name__}.")
    if inference:
        return Inference(model)
    if runs_as(model, Sequential):
        chain = copy.copy(model)
        chain._fused = fuse_chain([model])
        chain._layers = tuple(chain.below())
        return chain
    if runs_as(model, Concat):
        concat = copy.copy(model)
        concat._fused = [fuse_chain(branch) for branch in model.branches()]
        return concat
    if runs_as(model, AuxiliaryHeads):
        stages, heads = model.branches()
        trunk = copy.copy(model)
        trunk._fused = auxiliary.Branches([fuse_chain(s) for s in stages], [fuse(h) for h in heads])
        return trunk
    if runs_as(model, Residual):
        return _fuse_residual(model)
    return model


def fuse_chain(modules: Sequence[Module]) -> list[Module]:
    """Return a chain that does the same; chains in it become a part of it."""
    modules, i = list(flat(modules)), 0
    chain: list[Module] = []
    while i < len(modules):
        for kinds, fused in PATTERNS:
            row = modules[i : i + len(kinds)]
            if _fits(row, kinds) and fused.takes(*row):
                last = chain[-1] if chain else None
                if fused is ConvNormReLU and isinstance(last, ConvNormReLU):
                    chain[-1] = ConvNormReLU(*last.row, *row)  # what lies between is not stored
                else:
                    chain.append(fused(*row))
                i += len(kinds)
                break
        else:
            chain.append(fuse(modules[i]))
            i += 1
    return chain


def _fits(modules: Sequence[Module], kinds: Sequence[tuple[type, ...]]) -> bool:
    return len(modules) == len(kinds) and all(
        any(runs_as(module, kind) for kind in one_of)
        for module, one_of in zip(modules, kinds, strict=True)
    )


def _fuse_residual(block: Residual) -> Module:
    main, shortcut, activation = (list(flat(branch)) for branch in block.branches())
    row = main + activation
    if main and _fits(activation, ((ReLU,),)) and _fits(row, STAGE * (len(row) // 3)):
        stages = map(Stage, row[::3], row[1::3])  # type: ignore[arg-type]
        return ResidualConvs(block, list(stages), fuse_chain(shortcut))
    last = main[-1] if main else None
    if isinstance(last, NORM) and _fits([last, *activation], (NORM, (ReLU,))):
        return FusedResidual(block, fuse_chain(main[:-1]), last, fuse_chain(shortcut))
    twin = copy.copy(block)
    twin._fused = residual.Branches(*map(fuse_chain, (main, shortcut, activation)))
    return twin

"""Rules for modules made of several modules: their graph becomes the graph of the file."""

from __future__ import annotations

from minicnn import nn
from minicnn.export.graph import Graph, Value, rule
from minicnn.models.squeezenet import Fire


@rule.register
def sequential(chain: nn.Sequential, value: Value, graph: Graph) -> Value:
    """One after the other."""
    return graph.run(chain, value)


@rule.register
def residual(block: nn.Residual, value: Value, graph: Graph) -> Value:
    """Add, of both branches."""
    main, shortcut, activation = block.branches()
    m, s = graph.run(main, value), graph.run(shortcut, value)
    return graph.run(activation, graph.add("Add", block, [m, s], m.shape))


@rule.register
def concat(block: nn.Concat, value: Value, graph: Graph) -> Value:
    """Concat, along the channels."""
    parts = [graph.run(branch, value) for branch in block.branches()]
    channels = sum(part.shape[0] for part in parts)
    return graph.add("Concat", block, parts, (channels, *parts[0].shape[1:]), axis=1)


@rule.register
def fire(block: Fire, value: Value, graph: Graph) -> Value:
    """The stem, then Concat."""
    return concat(block, graph.run(block.stem(), value), graph)


@rule.register
def auxiliary_heads(model: nn.AuxiliaryHeads, value: Value, graph: Graph) -> Value:
    """The chain alone: heads run in training only."""
    for stage in model.branches().stages:
        value = graph.run(stage, value)
    return value

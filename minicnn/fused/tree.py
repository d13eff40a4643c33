"""What the passes ask of the tree of modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeGuard, TypeVar

from minicnn.nn import Module, Sequential

Kind = TypeVar("Kind", bound=Module)


def runs_as(module: Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether the module is of that kind, with its forward and backward: not one that overrides."""
    return (
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and type(module).backward is kind.backward
    )


def flat(modules: Sequence[Module]) -> Iterator[Module]:
    """Yield the modules; in the place of a chain, its links."""
    for module in modules:
        if runs_as(module, Sequential):
            yield from flat(list(module))
        else:
            yield module

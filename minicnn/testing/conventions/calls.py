"""How to call forward and backward: from their signatures and their results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minicnn.testing.conventions.names import OUTPUTS
from minicnn.testing.conventions.subject import Arrays, ContractError, first_dtype

CACHES = ("cache", "ctx", "context", "saved", "memory", "caches", "state", "tape")


class Pass(NamedTuple):
    """The result of a forward that its backward needs."""

    cache: Any
    has_cache: bool
    y: np.ndarray
    inputs: Arrays
    owner: Any  # the copies that forward ran on


def positional(function: Callable) -> list[inspect.Parameter]:
    """Return the parameters that can be given by position; () if they are not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def keywords(function: Callable, keyword_only: bool = False) -> set[str]:
    """Return the names that can be given by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {
        p.name
        for p in parameters
        if p.kind == p.KEYWORD_ONLY or (p.kind == p.POSITIONAL_OR_KEYWORD and not keyword_only)
    }


def names_of(forward: Callable, count: int) -> list[str]:
    """Return names for ``count`` arrays; those of forward, if it has any."""
    names = [p.name for p in positional(forward)][:count]
    return names + [f"argument {i}" for i in range(len(names), count)]


def named(thing: Any) -> str:
    """Return the name of an object, a module or a pair of functions in messages."""
    if isinstance(thing, (tuple, list)):
        return getattr(thing[0], "__qualname__", type(thing[0]).__name__) if thing else repr(thing)
    if isinstance(thing, ModuleType):
        return thing.__name__.rpartition(".")[2]
    return getattr(thing, "__name__", type(thing).__name__)


def value_and_cache(
    result: Any, inputs: Arrays, backward: Callable | None, owner: Any
) -> tuple[np.ndarray, Pass]:
    """Return ``(y, what backward needs)`` from the result of forward, in any form."""
    cache, has_cache = None, isinstance(result, (tuple, list)) and len(result) > 1
    if has_cache:
        y, *rest = result
        cache = rest[0] if len(rest) == 1 else tuple(rest)
    else:
        y = result
    if y is None:  # a forward without result leaves y on self
        y = next((getattr(owner, n) for n in OUTPUTS if hasattr(owner, n)), None)
    if y is None:
        raise ContractError(
            "it returned None. Return y, or (y, cache), or leave y on self as output."
        )
    if not isinstance(y, (np.ndarray, np.generic, float, int)):
        raise ContractError(
            f"it returned {type(y).__name__} where y, or a pair (y, cache), is needed, with y an "
            "array of NumPy."
        )
    if type(y) in (float, int):  # Python's have no dtype of their own
        y = np.asarray(y, first_dtype(inputs))
    y = np.asarray(y)
    return y, Pass(cache, has_cache, y, inputs, owner)


def arguments(
    backward: Callable, forward_names: Sequence[str], kept: Pass, dy: np.ndarray
) -> tuple[list[Any], bool]:
    """Return the positional arguments of backward, and whether dy is one of them.

    ``backward(dy, cache)``, ``(cache, dy)``, ``(dy)``, ``()``; also with arrays of forward, which
    are recognised by name: ``(x, dy)``, ``(dy, target)``, ``(prediction, target)``.
    """
    known = positional(backward)
    needed = [p for p in known if p.default is p.empty]
    if kept.has_cache:
        return _with_cache(backward, known, needed, kept, dy)
    if not known:
        return [], False
    if len(needed) <= 1 and len(kept.inputs) == 1:
        return [dy], True
    if not needed:
        return [dy], True
    given = dict(zip(forward_names, kept.inputs, strict=False))
    unknown = [p.name for p in needed if p.name not in given and p.name not in OUTPUTS]
    scalar = kept.y.size == 1
    as_many = len(needed) == len(kept.inputs) > 1
    # backward(predictions, target) of a loss, under other names than forward's.
    renamed = scalar and as_many and unknown == [needed[0].name] and not _is_upstream(unknown[0])
    if len(unknown) > 1 or renamed:
        if scalar and len(needed) == len(kept.inputs):
            return list(kept.inputs), False
        if len(needed) == 1 + len(kept.inputs):
            return [dy, *kept.inputs], True
        raise ContractError(
            f"backward takes {', '.join(p.name for p in needed)}; it is not clear what each of "
            "them is. Known are dy, a cache that forward returns beside y, and forward's own "
            "arguments under their own names."
        )
    values = [given.get(p.name, dy if p.name in unknown else kept.y) for p in needed]
    return values, bool(unknown)


def _is_upstream(name: str) -> bool:
    """Return whether a name is a usual name of a gradient."""
    name = name.lower()
    return name.startswith(("d", "grad", "g_", "upstream", "delta", "error", "next")) and not (
        name.startswith(("data", "dvalues"))
    )


def _with_cache(
    backward: Callable,
    known: list[inspect.Parameter],
    needed: list[inspect.Parameter],
    kept: Pass,
    dy: np.ndarray,
) -> tuple[list[Any], bool]:
    names = [p.name.lower().strip("_") for p in known]
    if known and len(known) == 1:
        return ([kept.cache], False) if names[0] in CACHES else ([dy], True)
    if not known and _takes_nothing(backward):
        return [], False
    if len(needed) > 2 and isinstance(kept.cache, tuple) and len(needed) == 1 + len(kept.cache):
        return [dy, *kept.cache], True
    if len(names) >= 2 and names[0] in CACHES and names[1] not in CACHES:
        return [kept.cache, dy], True
    return [dy, kept.cache], True


def _takes_nothing(function: Callable) -> bool:
    try:
        return not inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False

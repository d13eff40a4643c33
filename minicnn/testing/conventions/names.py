"""Usual names of gradients, and the assignment of several gradients to arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minicnn.testing.conventions.subject import Arrays, ContractError

INPUT_GRADIENTS = ("dinputs", "dinput", "dx", "dX", "d_input", "d_x", "grad_input", "input_grad",
                   "gradInput", "dA_prev", "grad_x")  # fmt: skip
OUTPUTS = ("output", "out", "outputs", "y", "Y", "a", "A", "z")
DICTS = {"params": ("grads", "gradients", "dparams", "param_grads", "grad"),
         "parameters": ("gradients", "grads", "grad"),
         "weights": ("grads", "gradients", "dweights"),
         "p": ("g", "grads"), "theta": ("grads", "dtheta")}  # fmt: skip
UNNAMED = ("data", "value", "val", "array")  # attributes of an object that is a parameter


def plain(name: str) -> str:
    """Return a name without case and underscores."""
    return str(name).replace("_", "").lower()


def is_gradient_of(candidate: str, name: str) -> bool:
    """Return whether ``candidate`` is a usual name for the gradient of ``name``.

    W/dW, weight/dweight, weights/d_weights, W/grad_W, W_grad, gradW, dL_dW, filters/grad_filters.
    """
    candidate, name = plain(candidate), plain(name)
    if name in UNNAMED and candidate in ("grad", "gradient", "delta"):
        return True
    for n in {name, name.rstrip("s"), name + "s"} - {""}:
        if candidate in {
            "d" + n, "grad" + n, n + "grad", n + "grads", "grads" + n, "gradient" + n,
            n + "gradient", n + "gradients", "dld" + n, "dl" + n, "dj" + n, "delta" + n,
            n + "delta", "gradof" + n, "derivative" + n, n + "derivative", "nabla" + n,
        }:  # fmt: skip
            return True
    return False


def is_number(value: Any) -> bool:
    """Return whether a value can be a gradient: an array of NumPy, or a number."""
    return isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, bool)


def assigned(
    returned: Any, names: Sequence[str], inputs: int, arrays: Arrays
) -> tuple[list[Any], int]:
    """Return one gradient for each name from the result of backward, and their number.

    A tuple has the order of the arguments, inputs before parameters. A dictionary has names; dx is
    accepted for x.
    """
    found: list[Any] = [None] * len(names)
    parts = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    parts = [list(part) if isinstance(part, (tuple, list)) else part for part in parts]
    flat: list[Any] = []
    for part in parts:
        flat.extend(part if isinstance(part, list) else [part])
    plainly = [part for part in flat if not isinstance(part, Mapping)]
    for part in flat:
        if isinstance(part, Mapping):
            _by_name(part, names, found)
    for part in plainly:
        if part is not None and not is_number(part):
            raise ContractError(
                f"backward returned {type(part).__name__} where an array is needed, or a tuple of "
                "arrays in the order of forward's, or a dictionary of them by name."
            )
    while len(plainly) > len(names) and plainly[-1] is None:
        plainly = plainly[:-1]
    places = _places(plainly, names, inputs, arrays)
    if places is None:
        raise ContractError(
            f"backward returned {len(plainly)} gradients, but forward was given "
            f"{len(names)} of its arguments. Return them in the order of forward's "
            "arrays; an array that is not given can be passed as None."
        )
    for place, part in zip(places, plainly, strict=True):
        found[place] = part
    return found, len(places)


def _by_name(returned: Mapping[Any, Any], names: Sequence[str], found: list[Any]) -> None:
    for key, gradient in returned.items():
        for place, name in enumerate(names):
            last = name.rpartition(".")[2]
            if plain(key) in (plain(name), plain(last)) or is_gradient_of(key, last):
                found[place] = gradient


def _places(
    parts: Sequence[Any], names: Sequence[str], inputs: int, arrays: Arrays
) -> list[int] | None:
    """Return the argument of each gradient, or None if there are too many gradients."""
    count, params = len(parts), len(names) - inputs
    if count <= inputs:
        return list(range(count))
    if count == 1 + params:
        first, places = [0], list(range(inputs, len(names)))
    elif count == len(names):
        first, places = list(range(inputs)), list(range(inputs, len(names)))
    elif count == params:  # only those of the parameters
        first, places = [], list(range(inputs, len(names)))
    else:
        return None
    # (dx, dW, db) of a class that defines b before W: the shapes decide.
    rest = [np.shape(part) for part in parts[len(first) :]]
    own = [() if (a := arrays[place]) is None else a.shape for place in places]
    if rest != own and sorted(rest) == sorted(own) and len(set(own)) == len(own):
        places = [places[own.index(shape)] for shape in rest]
    return first + places

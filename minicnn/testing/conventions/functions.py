"""Pairs of functions, modules with two functions, and one function that gives loss and gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minicnn.testing.conventions import isolation
from minicnn.testing.conventions.calls import (
    Pass,
    arguments,
    keywords,
    named,
    names_of,
    positional,
    value_and_cache,
)
from minicnn.testing.conventions.names import assigned
from minicnn.testing.conventions.subject import Arrays, ContractError, Subject, with_option


class FunctionSubject(Subject):
    """``forward(x, ...) -> (y, cache)`` and ``backward(dy, cache)``, and other forms of a pair."""

    def __init__(
        self,
        thing: Any,
        pair: tuple[Callable, Callable],
        arrays: Arrays,
        options: Mapping[str, Any],
    ) -> None:
        self._pristine, self._thing = pair, thing
        self._alone = False  # True if the functions use no object that a pass may change
        # The arguments of backward for dy and the cache are not options, whatever their names.
        own = {p.name for p in positional(pair[1])[:2]}
        self._takes = (keywords(pair[1]) - own) & options.keys()
        super().__init__(named(thing), names_of(pair[0], len(arrays)), arrays, options)
        self.begin()

    def begin(self) -> None:
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        isolation.seed()
        pair = self._pristine if self._alone else isolation.copied(self._pristine)
        self._alone = all(a is b for a, b in zip(pair, self._pristine, strict=True))
        forward, backward = pair
        return value_and_cache(forward(*arrays, **self._now), arrays, backward, (forward, backward))

    def backward(self, dy: np.ndarray, cache: Pass) -> Arrays:
        backward = cache.owner[1]
        options = {name: self._now[name] for name in self._takes}
        values, self.takes_dy = arguments(backward, self.names, cache, dy)
        returned = backward(*values, **options)
        found, self.answered = assigned(returned, self.names, self.inputs, self.arrays)
        return tuple(None if g is None else np.asarray(g) for g in found)

    def varied(self, name: str, value: Any) -> Subject | None:
        options = with_option(self.options, name, value)
        if options is None:
            return None
        return FunctionSubject(self._thing, self._pristine, self.arrays, options)


class LossAndGradientSubject(Subject):
    """One function that returns ``(loss, gradient)``, of one or several arrays, or by name."""

    takes_dy = False

    def __init__(self, function: Callable, arrays: Arrays, options: Mapping[str, Any]) -> None:
        self._pristine = function
        super().__init__(named(function), names_of(function, len(arrays)), arrays, options)
        self.begin()

    def begin(self) -> None:
        self._now = copy.deepcopy(self.options)

    def forward(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        isolation.seed()
        function = isolation.copied(self._pristine)
        loss, gradients = loss_and_gradients(function(*arrays, **self._now), self.name)
        return loss, Pass(gradients, True, loss, arrays, None)

    def backward(self, dy: np.ndarray, cache: Pass) -> Arrays:
        gradients = cache.cache
        one = len(gradients) == 1 and not isinstance(gradients[0], Mapping)
        if one and np.shape(gradients[0]) != np.shape(np.asarray(cache.inputs[0])):
            # The shape of a single gradient tells its argument: loss(x, y, W) returns that of W.
            shape = np.shape(gradients[0])
            floats = [(i, a) for i, a in enumerate(cache.inputs) if a is not None]
            same = [i for i, a in floats if a.dtype.kind == "f" and a.shape == shape]
            if len(same) == 1:
                gradients = (None,) * same[0] + tuple(gradients)
        found, self.answered = assigned(gradients, self.names, self.inputs, self.arrays)
        return tuple(None if g is None else np.array(g * dy) for g in found)


def loss_and_gradients(result: Any, name: str) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the loss as an array, and the gradients that came with it."""
    if not isinstance(result, (tuple, list)) or len(result) < 2 or np.size(result[0]) != 1:
        raise ContractError(
            f"{name} has no backward and did not return (loss, gradient) with one number as the "
            "loss. Give a pair (forward, backward), an object with both, or such a function."
        )
    loss, *gradients = result
    if len(gradients) == 1 and isinstance(gradients[0], (tuple, list)):
        gradients = list(gradients[0])
    return np.asarray(loss, np.result_type(np.asarray(loss).dtype, np.float32)), tuple(gradients)

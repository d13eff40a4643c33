"""The forms in which forward and backward may be written; each becomes a ``Subject``.

    pairs of functions, modules       functions.py    forward -> (y, cache), backward(dy, cache)
    one function (loss, gradient)     functions.py
    objects, state on self            stateful.py     forward -> y, backward(dy) -> dx
    layers of minicnn                 layers.py       nn.Module, nn.Param
    torch.autograd.Function           autograd.py

``calls`` finds out how to call them, ``names`` assigns gradients to arguments, ``slots`` finds the
parameters of an object, and ``isolation`` copies everything that a pass may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

from minicnn.nn import Module
from minicnn.testing.conventions import autograd
from minicnn.testing.conventions.calls import keywords, named, positional
from minicnn.testing.conventions.functions import FunctionSubject, LossAndGradientSubject
from minicnn.testing.conventions.isolation import is_object
from minicnn.testing.conventions.layers import LayerSubject, params
from minicnn.testing.conventions.stateful import ObjectSubject
from minicnn.testing.conventions.subject import Arrays, ContractError, Subject, first_dtype

__all__ = ["Arrays", "ContractError", "LayerSubject", "Subject", "first_dtype", "subject_of"]


def subject_of(
    thing: Any,
    arrays: Arrays,
    options: Mapping[str, Any],
    training: bool,
    *,
    forward: str | None = None,
    backward: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Subject:
    """Return the subject for ``thing``. Raises TypeError if it cannot be checked.

    ``forward`` and ``backward`` are the names of the methods if they have other names.
    ``parameters`` has the name of the gradient for each parameter.
    """
    if autograd.is_function(thing):
        return autograd.AutogradSubject(thing, arrays, options)
    told = autograd.advice(thing)
    if told:
        raise TypeError(f"gradcheck: {told}")
    if isinstance(thing, type):
        raise TypeError(
            f"gradcheck: {thing.__name__} is a class; give an instance, {thing.__name__}(...)."
        )
    if isinstance(thing, (tuple, list)):
        pair = _pair(thing)
        owner = _common_owner(pair)
        if owner is not None:  # (layer.forward, layer.backward) is the layer
            return _of_object(
                owner, arrays, options, training, pair[0].__name__, pair[1].__name__, parameters
            )
        return FunctionSubject(thing, pair, arrays, _with_training(pair[0], options, training))
    if isinstance(thing, ModuleType):
        pair = (_found(thing, forward or "forward"), _found(thing, backward or "backward"))
        if not all(map(callable, pair)):
            raise _no_pair(thing, *pair)
        return FunctionSubject(thing, pair, arrays, _with_training(pair[0], options, training))
    if isinstance(thing, MethodType) and not isinstance(thing.__self__, type):
        return ObjectSubject(
            thing.__self__, arrays, _with_training(thing, options, training),
            (thing.__name__, None), parameters,
        )  # fmt: skip
    if isinstance(thing, FunctionType) and not hasattr(thing, "backward"):
        return LossAndGradientSubject(thing, arrays, _with_training(thing, options, training))
    return _of_object(thing, arrays, options, training, forward, backward, parameters)


def _of_object(
    thing: Any, arrays: Arrays, options: Mapping[str, Any], training: bool,
    forward: str | None, backward: str | None, parameters: Mapping[str, str] | None,
) -> Subject:  # fmt: skip
    for name in (forward, backward):
        if name and not callable(getattr(thing, name, None)):
            own = [n for n in dir(thing) if callable(getattr(thing, n)) and n[0] != "_"]
            raise TypeError(
                f"gradcheck: {named(thing)} has no method {name}. It has {', '.join(own)}."
            )
    if forward is None:
        forward = "forward" if callable(getattr(thing, "forward", None)) else "__call__"
    one = _found(thing, forward)
    other = _found(thing, backward or "backward")
    if not callable(one) or (other is None and forward in ("forward", "__call__")):
        raise _no_pair(thing, one, other)
    learned = params(thing)
    options = _with_training(one, options, training, keyword_only=not learned)
    if isinstance(thing, Module) and "training" not in options:
        raise TypeError(
            f"gradcheck: {type(thing).__name__} is a Module, and its forward does not take "
            "training. Write def forward(self, x, *, training)."
        )
    usual = forward == "forward" and backward in (None, "backward") and not parameters
    if isinstance(thing, Module) or (learned and usual and len(positional(other)) > 1):
        return LayerSubject(thing, arrays, options)
    if not is_object(thing):
        pair = (one, other)
        return FunctionSubject(thing, pair, arrays, options)
    methods: tuple[str, str | None] = (forward, None if other is None else backward or "backward")
    return ObjectSubject(thing, arrays, options, methods, parameters)


def _with_training(
    forward: Callable, options: Mapping[str, Any], training: bool, keyword_only: bool = True
) -> dict[str, Any]:
    """Return the options, with ``training`` if forward takes it, as layers do."""
    asked = "training" in keywords(forward, keyword_only=keyword_only)
    return {"training": training, **options} if asked else dict(options)


def _found(thing: Any, name: str) -> Any:
    return thing if name == "__call__" and callable(thing) else getattr(thing, name, None)


def _common_owner(pair: tuple[Any, Any]) -> Any:
    """Return the object if both are methods of one object, or None."""
    owners = [getattr(f, "__self__", None) for f in pair]
    same = owners[0] is owners[1] and all(isinstance(f, MethodType) for f in pair)
    return owners[0] if same and not isinstance(owners[0], type) else None


def _pair(thing: Any) -> tuple[Any, Any]:
    if len(thing) == 2 and all(map(callable, thing)):
        for part in thing:
            if told := autograd.advice(part):
                raise TypeError(f"gradcheck: {told}")
        return thing[0], thing[1]
    raise _no_pair(thing, None, None)


def _no_pair(thing: Any, forward: Any, backward: Any) -> TypeError:
    has = (
        "neither forward nor backward"
        if not callable(forward) and not callable(backward)
        else "forward but no backward" if callable(forward) else "backward but no forward"
    )  # fmt: skip
    return TypeError(
        f"gradcheck: {named(thing)} cannot be checked: it has {has}. Give an operation, a layer, "
        "an object with forward and backward (forward= and backward= if they are called "
        "otherwise), a pair of functions (forward, backward), or one function that returns "
        "(loss, gradient)."
    )

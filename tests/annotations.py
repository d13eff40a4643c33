"""Enforces the shapes in the annotations of minicnn.ops, for as long as the tests run.

The operation runs first, so that its own errors win. Then what went in and what came out are held
against the annotations: one letter has one size throughout a call.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable

import numpy as np
from beartype import BeartypeConf
from beartype.door import is_bearable
from jaxtyping import jaxtyped

from minicnn import ops

_NUMBERS = BeartypeConf(is_pep484_tower=True)  # an int is welcome where a float is


class AnnotationViolated(AssertionError):
    """An argument or a result that is not what its annotation says."""


def checked(function: Callable) -> Callable:
    """Return ``function`` with every argument and the result held against its annotations."""
    hints = typing.get_type_hints(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        with jaxtyped("context"):  # within it, letters keep their sizes
            for name, value in {**bound.arguments, "return": result}.items():
                if name in hints and not is_bearable(_plain(value), hints[name], conf=_NUMBERS):
                    raise AnnotationViolated(
                        f"{function.__module__}.{function.__name__}: {name} is {_described(value)}"
                        f" where the annotation says {hints[name]}, with {_sizes(bound)}."
                    )
        return result

    return call


def enforce() -> None:
    """Wrap the public ``forward`` and ``backward`` of every operation; kernels stay as they are."""
    for name in ops.__all__:
        module = getattr(ops, name)
        for function in (module.forward, module.backward):
            if not hasattr(function, "__wrapped__"):
                setattr(module, function.__name__, checked(function))


def _plain(value: object) -> object:
    """Return ``value`` with Python's integers in the place of NumPy's, which are as welcome."""
    if isinstance(value, np.integer):
        return int(value)
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    return value


def _described(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_described(v) for v in value) + ")"
    if hasattr(value, "shape"):
        return f"{type(value).__name__} {value.dtype} {value.shape}"
    return type(value).__name__


def _sizes(bound: inspect.BoundArguments) -> str:
    return ", ".join(f"{k} {v.shape}" for k, v in bound.arguments.items() if hasattr(v, "shape"))

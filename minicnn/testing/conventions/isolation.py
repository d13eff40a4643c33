"""Copies of the checked object, so that no pass sees the leftovers of another pass.

An object is copied. For functions, the objects that they use through a closure or a global name are
copied too. So two functions around a layer can be checked like the layer itself.
"""

from __future__ import annotations

import copy
import random
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from minicnn.objects import said

# Functions of libraries use objects that must not be copied; ours keep no state.
LIBRARIES = (
    *{sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parents[2]),
)


def copied(thing: Any, kept: dict[int, Any] | None = None) -> Any:
    """Return a deep copy of an object, or of a pair of functions with the objects they use.

    Raises TypeError for an object that cannot be copied.
    """
    memo: dict[int, Any] = dict(kept or {})
    if isinstance(thing, (tuple, list)):
        return tuple(_copied(part, memo, 0) for part in thing)
    return _copied(thing, memo, 0)


def _copied(thing: Any, memo: dict[int, Any], depth: int) -> Any:
    if id(thing) in memo:
        return memo[id(thing)]
    if isinstance(thing, MethodType):
        owner = thing.__self__
        return thing if isinstance(owner, type) else MethodType(
            thing.__func__, _copied(owner, memo, depth)
        )  # fmt: skip
    if isinstance(thing, partial):
        function = _copied(thing.func, memo, depth)
        return partial(function, *thing.args, **thing.keywords)
    if isinstance(thing, FunctionType):
        return _function(thing, memo, depth)
    if isinstance(thing, (type, ModuleType)):
        return thing
    try:
        return copy.deepcopy(thing, memo)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name = type(thing).__name__
        raise TypeError(
            f"gradcheck: {name} cannot be copied ({said(error)}), and each pass is made on a copy. "
            "Give a pair of functions (forward, backward) instead."
        ) from error


def _function(function: FunctionType, memo: dict[int, Any], depth: int) -> Any:
    """Return the function with its own copies of the objects that it uses."""
    memo[id(function)] = function  # it may use itself
    home = str(function.__globals__.get("__file__", function.__code__.co_filename))
    if depth > 4 or home.startswith(LIBRARIES) or "site-packages" in home:
        return function
    code = function.__code__
    cells = list(function.__closure__ or ())
    contents = [_content(cell) for cell in cells]
    changed = [_reached(value, memo, depth) for value in contents]
    names = {n for n in code.co_names if n in function.__globals__}
    theirs = {n: function.__globals__[n] for n in names}
    ours = {n: _reached(value, memo, depth) for n, value in theirs.items()}
    if all(a is b for a, b in zip(contents, changed, strict=True)) and all(
        ours[n] is theirs[n] for n in names
    ):
        return function
    for k, (before, after) in enumerate(zip(contents, changed, strict=True)):
        if before is not after:
            cells[k] = CellType(after)
    new = FunctionType(
        code, {**function.__globals__, **ours}, function.__name__, function.__defaults__,
        tuple(cells) or None,
    )  # fmt: skip
    new.__kwdefaults__ = function.__kwdefaults__
    memo[id(function)] = new
    return new


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _reached(value: Any, memo: dict[int, Any], depth: int) -> Any:
    """Return a copy of a value that a function uses, if a pass may change it."""
    if isinstance(value, FunctionType):
        return _function(value, memo, depth + 1) if id(value) not in memo else memo[id(value)]
    if isinstance(value, (type, ModuleType)) or not is_object(value):
        return value
    try:
        return _copied(value, memo, depth)
    except TypeError:  # a lock or a file is not copied
        return value


def is_object(value: Any) -> bool:
    """Return whether a value is an instance of a user's class, or a random generator."""
    if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random, MethodType)):
        return True
    return hasattr(value, "__dict__") and not isinstance(
        value, (type, ModuleType, FunctionType, np.ndarray, BaseException)
    ) and type(value).__module__ not in ("builtins", "typing", "__future__")  # fmt: skip


def seed(number: int = 0) -> None:
    """Seed the global generators, because many layers draw masks with ``np.random.rand``."""
    np.random.seed(number)  # noqa: NPY002 - it is others who draw from it
    random.seed(number)


@contextmanager
def global_randomness_kept() -> Iterator[None]:
    """Restore the global generators afterwards."""
    state, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(pythons)

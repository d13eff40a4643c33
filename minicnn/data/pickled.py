"""Reading pickled arrays of bytes, as data only.

A pickle is a program for a stack machine. Python's own machine calls any function that the program
names. The machine below knows only the instructions for dictionaries of numbers, bytes, lists and
arrays. It calls nothing: for an array it only keeps the description. Tuples are never hashed,
because a program of 90 bytes can nest them so deeply that hashing takes longer than a life.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, NamedTuple

import numpy as np

_MARK = object()


class _Name(NamedTuple):
    """A function or a class that the program names."""

    name: str


class _Array:
    """Stands for numpy.ndarray, whose content is its state."""

    values: np.ndarray | None = None


class _Dtype:
    """Stands for numpy.dtype of a byte."""


_ARRAY, _DTYPE = (_Name(f"numpy.{name}") for name in ("ndarray", "dtype"))
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Name("reconstruct"),
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _DTYPE,
}


def read_pickle(content: bytes) -> dict[Any, Any]:
    """Return a pickled dictionary of numbers, bytes, lists and uint8 arrays.

    The strings of Python 2 become bytes. Raises ValueError for anything else, and for damage.
    """
    try:
        entries = _run(content)
    except Exception as error:  # a damaged program may raise any error
        reason = str(error)[:200] or type(error).__name__
        raise ValueError(f"cannot be unpickled ({reason})") from error
    if not isinstance(entries, dict):
        raise ValueError(f"holds a {type(entries).__name__} where a dictionary is expected")
    return {k: v.values if isinstance(v, _Array) else v for k, v in entries.items()}


def _run(content: bytes) -> Any:
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "STOP":
            break
        machine.do(opcode.name, argument)
    return machine.stack.pop()


def deepest_tuple(content: bytes) -> int:
    """Return the depth of nested tuples in a pickle, or in several pickles in a row.

    Nothing else is computed. In a damaged pickle, the part before the damage counts.
    """
    deepest, stream = 0, io.BytesIO(content)
    while True:
        stack: list[Any] = []  # the depth of the tuples of each object
        memo: dict[int, int] = {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                    memo[len(memo) if argument is None else int(argument)] = stack[-1]
                elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
                    stack.append(memo[int(argument or 0)])
                else:
                    deepest = max(deepest, _replace(stack, opcode))
        except Exception:  # the end, or damage
            return deepest


def _replace(stack: list[Any], opcode: Any) -> int:
    """Apply an opcode to a stack of depths instead of objects; return the new depth."""
    before, taken = list(opcode.stack_before), []
    if pickletools.markobject in before:
        while (item := stack.pop()) is not _MARK:
            taken.append(item)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() for _ in before]
    nests = opcode.name.startswith("TUPLE") or opcode.name == "FROZENSET"
    depth = 1 + max(taken, default=0) if nests else 0
    marks = (kind is pickletools.markobject for kind in opcode.stack_after)
    stack.extend(_MARK if mark else depth for mark in marks)
    return depth


# What pushes its own argument, and what pushes one value.
_PUSHES = frozenset({
    "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # of Python 2, as latin-1
            stack.append(argument.encode("latin-1"))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("TUPLE", "LIST"):
            items = self._marked()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            _of(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            if name == "SETITEM":
                value, key = stack.pop(), stack.pop()
                items = [key, value]
            else:
                items = self._marked()
            if name == "DICT":
                stack.append({})
            _put(_of(stack[-1], dict), items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "GLOBAL":
                module, _, thing = argument.partition(" ")
            else:
                thing, module = stack.pop(), stack.pop()
            stack.append(_named(module, thing))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(_called(called, _of(arguments, tuple)))
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif name == "POP":
            stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise pickle.UnpicklingError(f"it asks for {name}, which is not data")

    def _marked(self) -> list[Any]:
        """Remove the objects above the last mark from the stack, and the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise pickle.UnpicklingError(f"a {type(value).__name__} is used as a {kind.__name__}")
    return value


def _put(target: dict[Any, Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (bytes, str, int):
            raise pickle.UnpicklingError(f"a {type(key).__name__} is used as a key")
        target[key] = value


def _named(module: Any, name: Any) -> _Name:
    module, name = _of(module, str), _of(name, str)
    if (module, name) not in _NAMES:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
    return _NAMES[module, name]


def _called(called: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the stand-in for the array or the dtype that the program makes."""
    if not isinstance(called, _Name):
        raise pickle.UnpicklingError(f"it calls a {type(called).__name__}, which is not data")
    if called is not _DTYPE:
        return _Array()  # a class, a shape and a type; the state repeats all of them
    if not arguments or arguments[0] not in (b"u1", "u1"):
        kind = repr(arguments[0])[:100] if arguments and _is_text(arguments[0]) else "something"
        raise pickle.UnpicklingError(f"an array is of {kind}, not of bytes")
    return _Dtype()


def _is_text(value: Any) -> bool:
    return type(value) in (bytes, str)


def _build(thing: Any, state: Any) -> None:
    if isinstance(thing, _Dtype):
        return  # the order of bytes, which does not matter for single bytes
    _version, shape, dtype, fortran, content = _of(state, tuple)
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array is not of bytes")
    values = np.frombuffer(content, np.uint8)
    _of(thing, _Array).values = values.reshape(shape, order="F" if fortran else "C")

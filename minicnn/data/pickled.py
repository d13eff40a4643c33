"""Reading pickled arrays of bytes as data.

A pickle is a program that may call any function by its name. Here it finds three names only, those
that the pickle of an array calls, and behind them not NumPy's functions but a few lines that do
nothing else than keep what they are given.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np


def read_pickle(content: bytes) -> dict[Any, Any]:
    """Return a pickled dictionary of numbers, bytes, lists and uint8 arrays.

    The strings of Python 2 come as bytes. Raises ValueError for anything else and for what is
    damaged.
    """
    try:
        entries = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged program can fail in any way
        reason = str(error)[:200] or type(error).__name__
        raise ValueError(f"cannot be unpickled ({reason})") from error
    if not isinstance(entries, dict):
        raise ValueError(f"holds a {type(entries).__name__} where a dictionary is expected")
    return {k: v.values if isinstance(v, _Array) else v for k, v in entries.items()}


class _Array:
    """Stands for numpy.ndarray, whose content is its state."""

    values: np.ndarray | None = None

    def __init__(self, *args: Any) -> None:
        pass  # a class, a shape and a type, all of which the state gives again

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array is not of bytes")
        values = np.frombuffer(content, np.uint8)
        self.values = values.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Stands for numpy.dtype, where it is that of a byte."""

    def __init__(self, name: Any, *args: Any) -> None:
        if name not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"an array is of {name!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        pass  # the order of bytes, of which there is one


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return _NAMES[module, name]

"""Checks of what comes in: each says which operation, which axis, the arithmetic and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np


class ShapeError(ValueError):
    """An array or an option whose size does not fit the others."""


def check_array(op: str, name: str, array: object) -> None:
    """Raise unless ``array`` is an array of NumPy."""
    if isinstance(array, np.ndarray):
        return
    remedy = f"Use np.asarray({name}, dtype=np.float32)."
    if isinstance(array, tuple):
        remedy = (
            "forward returns (y, cache), and a loader gives (images, labels): take the array out "
            "of the tuple."
        )
    raise TypeError(f"{op}: {name} must be a NumPy array, got {type(array).__name__}. {remedy}")


def check_float(op: str, **arrays: np.ndarray | None) -> np.dtype:
    """Raise unless every array is float32, or every one float64; return that dtype.

    None stands for an optional array that was not given.
    """
    first, dtype = "", np.dtype(np.float32)
    for name, array in arrays.items():
        if array is None:
            continue
        check_array(op, name, array)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{op}: {name} has dtype {array.dtype}; float32 and float64 are supported. "
                f"Use {name}.astype(np.float32)."
            )
        if first and array.dtype != dtype:
            raise TypeError(
                f"{op}: {name} is {array.dtype} but {first} is {dtype}. "
                f"Use {name}.astype(np.{dtype}), or {first}.astype(np.{array.dtype})."
            )
        first, dtype = first or name, array.dtype
    return dtype


def check_shape(op: str, name: str, array: np.ndarray, axes: str, *sizes: int | None) -> None:
    """Raise unless ``array`` has one axis per word of ``axes``, of the sizes given (None: any)."""
    words = axes.split()
    if array.ndim != len(words):
        one = array.ndim == len(words) - 1 and words[0] == "n"
        remedy = f" Of one image make a batch: {name}[None]." if one and len(words) > 2 else ""
        if one and words == ["n", "c", "h", "w"]:
            remedy += f" Images without channels get one: {name}[:, None]."
        raise ShapeError(
            f"{op}: {name} must have {len(words)} axes ({', '.join(words)}), "
            f"got {array.ndim} with shape {array.shape}.{remedy}"
        )
    for axis, (word, size) in enumerate(zip(words, sizes, strict=False)):
        if size is not None and array.shape[axis] != size:
            raise ShapeError(
                f"{op}: {name} has {array.shape[axis]} along {word} (axis {axis}) where {size} "
                f"is needed; its shape is {array.shape}."
            )


def check_image(op: str, name: str, array: np.ndarray, axes: str = "n c h w") -> None:
    """Raise unless ``array`` has these axes, and none but the batch is empty."""
    check_shape(op, name, array, axes)
    for axis, word in enumerate(axes.split()):
        if word != "n" and not array.shape[axis]:
            raise ShapeError(
                f"{op}: {name} of shape {array.shape} is empty along {word} (axis {axis}); only "
                "the batch may be empty."
            )


def if_channels_last(name: str, shape: tuple[int, ...], channels: int) -> str:
    """Return what to write if an image (n, c, h, w) seems to be (n, h, w, c), else nothing."""
    last = len(shape) == 4 and shape[3] == channels != shape[1]
    return f" If its channels are last, use {name}.transpose(0, 3, 1, 2)." if last else ""


def check_gradient(op: str, dy: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise unless the upstream gradient has the shape and dtype of the output it belongs to."""
    if not isinstance(dy, np.ndarray) or dy.dtype != dtype:
        got = dy.dtype if isinstance(dy, np.ndarray) else type(dy).__name__
        raise TypeError(f"{op}: dy must be {dtype} like the output, got {got}.")
    if dy.shape != shape:
        raise ShapeError(f"{op}: dy must have the shape of the output, {shape}, got {dy.shape}.")


def check_choice(op: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}.")


def check_rng(op: str, rng: object) -> None:
    """Raise unless ``rng`` is a generator of random numbers."""
    if not isinstance(rng, np.random.Generator):
        seed = rng if isinstance(rng, int) else 0
        raise TypeError(
            f"{op}: rng must be a numpy.random.Generator, got {type(rng).__name__}. Use "
            f"rng=np.random.default_rng({seed})."
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean lenet5?" with those of ``known`` that ``name`` is close to, else ""."""
    near = get_close_matches(name.lower(), known, n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def whole(op: str, name: str, value: object) -> int:
    """Return ``value`` as an int; raise unless it is one, of Python's or of NumPy's."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}.")
    return int(value)


def integer(op: str, name: str, value: object, least: int) -> int:
    """Return ``value`` as an int; raise unless it is one and at least ``least``."""
    number = whole(op, name, value)
    if number < least:
        raise ShapeError(f"{op}: {name} must be at least {least}, got {number}.")
    return number


def pair(op: str, name: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    """Return (height, width) from one integer for both or from two; each at least ``least``.

    A tuple or list of one integer is that integer, as in torch.
    """
    if isinstance(value, (tuple, list)):
        if len(value) not in (1, 2):
            raise ShapeError(
                f"{op}: {name} must be an integer or two (height, width), got {value!r}."
            )
        return integer(op, name, value[0], least), integer(op, name, value[-1], least)
    both = integer(op, name, value, least)
    return both, both


def axis_index(op: str, dim: int, ndim: int) -> int:
    """Return ``dim`` counted from the front; negative counts from the back."""
    if not -ndim <= dim < ndim:
        raise ShapeError(f"{op}: dim {dim} is out of range for {ndim} axes.")
    return dim % ndim

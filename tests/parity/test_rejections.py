"""What torch rejects, we reject, with an error of our own; what we accept, torch accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from minicnn import ops
from tests.arrays import impls

OURS = (ValueError, TypeError)  # ShapeError is a ValueError
THEIRS = (RuntimeError, ValueError, TypeError, IndexError)


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def ints(*values: int) -> np.ndarray:
    return np.array(values)


X = zeros(2, 4, 5, 6)
W = zeros(6, 4, 3, 3)
Z = zeros(3, 4)
T = ints(0, 1, 2)

REJECTED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("conv2d", (zeros(4, 5), W), {}),
    ("conv2d", (X, zeros(6, 4, 3)), {}),
    ("conv2d", (X, zeros(6, 3, 3, 3)), {}),
    ("conv2d", (X, zeros(6, 2, 3, 3)), {"groups": 3}),
    ("conv2d", (X, zeros(5, 2, 3, 3)), {"groups": 2}),
    ("conv2d", (X, W), {"groups": 2}),
    ("conv2d", (X, W), {"groups": 0}),
    ("conv2d", (X, W), {"groups": -1}),
    ("conv2d", (X, zeros(0, 4, 3, 3)), {}),
    ("conv2d", (X, zeros(6, 4, 6, 1)), {}),
    ("conv2d", (X, zeros(6, 4, 1, 7)), {}),
    ("conv2d", (X, W), {"dilation": 3}),
    ("conv2d", (X, W), {"dilation": 0}),
    ("conv2d", (X, W), {"stride": 0}),
    ("conv2d", (X, W), {"stride": -1}),
    ("conv2d", (X, W), {"stride": 1.5}),
    ("conv2d", (X, W), {"stride": (1, 1, 1)}),
    ("conv2d", (X, W), {"padding": -1}),
    ("conv2d", (X, W), {"padding": "full"}),
    ("conv2d", (X, W), {"padding": "same", "stride": 2}),
    ("conv2d", (X, W, zeros(5)), {}),
    ("conv2d", (X, W, zeros(6, 1)), {}),
    ("conv2d", (zeros(1, 4, 0, 5), W), {"padding": 3}),
    ("conv2d", (zeros(1, 4, 5, 0), W), {"padding": 3}),
    ("conv2d", (X.astype(np.float64), W), {}),
    ("conv2d", (X, W, zeros(6, dtype=np.float64)), {}),
    ("unfold", (X, 7), {}),
    ("unfold", (X, 0), {}),
    ("unfold", (X, 2), {"stride": 0}),
    ("unfold", (X, 2), {"dilation": 0}),
    ("unfold", (X, 2), {"padding": -1}),
    ("unfold", (X, (2, 2, 2)), {}),
    ("unfold", (zeros(1, 4, 0, 5), 3), {"padding": 3}),
    ("unfold", (zeros(1, 0, 5, 5), 3), {}),
    ("fold", (zeros(2, 10, 4), 3, 2), {}),
    ("fold", (zeros(2, 12, 5), 3, 2), {}),
    ("fold", (zeros(2, 12, 1), 1, 2), {}),
    ("fold", (zeros(2, 0, 4), 3, 2), {}),
    ("fold", (zeros(0, 0, 4), 3, 2), {}),
    ("fold", (zeros(2, 12, 4), 3, 2), {"stride": 0}),
    ("fold", (zeros(2, 12, 4), 3, 2), {"dilation": 0}),
    ("fold", (zeros(2, 12, 4), 3, 2), {"padding": -1}),
    ("fold", (zeros(2, 12, 4), 0, 2), {}),
    ("fold", (zeros(2, 12, 2, 2), 3, 2), {}),
    ("max_pool2d", (X, 7), {}),
    ("max_pool2d", (X, 0), {}),
    ("max_pool2d", (X, 2), {"stride": 0}),
    ("max_pool2d", (X, 2), {"dilation": 0}),
    ("max_pool2d", (X, 3), {"dilation": 3}),
    ("max_pool2d", (X, 3), {"padding": 2}),
    ("max_pool2d", (X, (3, 2)), {"padding": (1, 2)}),
    ("max_pool2d", (X, 3), {"padding": -1}),
    ("max_pool2d", (zeros(2, 4, 0, 5), 2), {"padding": 1}),
    ("max_pool2d", (zeros(2, 0, 5, 5), 2), {}),
    ("max_pool2d", (zeros(5, 5), 2), {}),
    ("avg_pool2d", (X, 7), {}),
    ("avg_pool2d", (X, 0), {}),
    ("avg_pool2d", (X, 2), {"stride": 0}),
    ("avg_pool2d", (X, 3), {"padding": 2}),
    ("avg_pool2d", (X, 3), {"padding": -1}),
    ("avg_pool2d", (X, 2), {"divisor_override": 0}),
    ("avg_pool2d", (zeros(2, 4, 0, 5), 2), {"padding": 1}),
    ("avg_pool2d", (zeros(2, 0, 5, 5), 2), {}),
    ("adaptive_avg_pool2d", (X, -1), {}),
    ("adaptive_avg_pool2d", (X, (1, 2, 3)), {}),
    ("adaptive_avg_pool2d", (X, (1.5, 2)), {}),
    ("adaptive_avg_pool2d", (zeros(2, 4, 0, 5), 2), {}),
    ("linear", (zeros(3, 5), zeros(2, 4)), {}),
    ("linear", (zeros(3, 4), zeros(2, 4), zeros(3)), {}),
    ("linear", (zeros(3, 4), zeros(1, 2, 4)), {}),
    ("linear", (zeros(3, 4), zeros(2, 4, dtype=np.float64)), {}),
    ("softmax", (X, 4), {}),
    ("softmax", (X, -5), {}),
    ("softmax", (ints(1, 2), 0), {}),
    ("log_softmax", (X, 4), {}),
    ("log_softmax", (ints(1, 2), 0), {}),
    ("dropout", (X, -0.1), {}),
    ("dropout", (X, 1.1), {}),
    *[
        case
        for loss in ("nll_loss", "cross_entropy")
        for case in [
            (loss, (Z, ints(0, 1, 4)), {}),
            (loss, (Z, ints(0, 1, -1)), {}),
            (loss, (Z, ints(0, 1)), {}),
            (loss, (Z, ints(0, 1, 2)[:, None]), {}),
            (loss, (zeros(3, 4, 2), ints(0, 1, 2)), {}),
            (loss, (Z, T, zeros(3)), {}),
            (loss, (Z, T, zeros(4, dtype=np.float64)), {}),
            (loss, (Z, T), {"reduction": "average"}),
            (loss, (Z, zeros(3)), {}),
            (loss, (zeros(3, 0), T), {}),
        ]
    ],
    ("nll_loss", (Z, Z), {}),
    ("cross_entropy", (Z, zeros(3, 5)), {}),
    ("cross_entropy", (Z, Z), {"ignore_index": 1}),
    ("cross_entropy", (Z, T), {"label_smoothing": 1.1}),
]


def described(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Return the call in words, as the name of its test."""
    words = [
        f"{'x'.join(map(str, a.shape))} {a.dtype}" if isinstance(a, np.ndarray) else f"{a}"
        for a in args
    ]
    return f"{name} {', '.join(words)} {options or ''}".strip()


def theirs(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> torch.Tensor:
    """Call torch on the CPU: a wrong target on a card would end the process."""
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in args]
    return getattr(F, name)(*tensors, **options)


def ours(name: str, args: tuple[Any, ...], options: dict[str, Any], impl: str) -> np.ndarray:
    if name == "dropout":
        options = {"rng": np.random.default_rng(0)} | options
    return getattr(ops, name).forward(*args, **options, impl=impl)[0]


@impls
@pytest.mark.parametrize(
    ("name", "args", "options"), [pytest.param(*case, id=described(*case)) for case in REJECTED]
)
def test_what_torch_rejects_is_rejected(name: str, args: Any, options: Any, impl: str) -> None:
    with pytest.raises(THEIRS):
        theirs(name, args, options)
    with pytest.raises(OURS, match=f"^{name}: "):
        ours(name, args, options, impl)


# ------------------------------------------------------- options that may or may not be valid

kernels, strides, paddings = st.integers(1, 6), st.integers(1, 4), st.integers(0, 3)
dilations, sides = st.integers(1, 3), st.integers(1, 7)


def two(values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(values, values)


conv_options = st.fixed_dictionaries(
    {"stride": two(strides), "padding": two(paddings), "dilation": two(dilations)}
)
pool_options = st.fixed_dictionaries(
    {"stride": st.none() | two(strides), "padding": two(paddings), "ceil_mode": st.booleans()}
)


def outcome(function: Callable, errors: tuple[type[Exception], ...], *args) -> tuple | None:
    """Return the shape of the result, or None if it was an error."""
    try:
        return tuple(function(*args).shape)
    except errors:
        return None


@given(image=two(sides), kernel=two(kernels), options=conv_options)
def test_conv2d_accepts_exactly_what_torch_accepts(image, kernel, options) -> None:
    args = (zeros(1, 1, *image), zeros(1, 1, *kernel))
    shape = outcome(ours, OURS, "conv2d", args, options, "fast")
    assert shape == outcome(theirs, THEIRS, "conv2d", args, options)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(image=two(sides), kernel=two(kernels), options=pool_options)
def test_pools_accept_nothing_that_torch_rejects(name, image, kernel, options) -> None:
    args = (zeros(1, 1, *image), kernel)
    shape = outcome(ours, OURS, name, args, options, "fast")
    if shape is not None:
        assert shape == outcome(theirs, THEIRS, name, args, options)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(image=two(sides), kernel=two(kernels), options=pool_options)
@example(image=(3, 3), kernel=(5, 5), options={"stride": 3, "padding": 0, "ceil_mode": True})
def test_pools_reject_nothing_that_torch_accepts(name, image, kernel, options) -> None:
    args = (zeros(1, 1, *image), kernel)
    shape = outcome(theirs, THEIRS, name, args, options)
    if shape is not None:
        assert shape == outcome(ours, OURS, name, args, options, "fast")

"""However torch takes an option, so do we: one integer in a list, NumPy's integers, none at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import minicnn
from minicnn import nn, ops
from minicnn.shapes import ShapeError
from tests.arrays import impls

SPELLINGS: dict[str, Callable[[int], Any]] = {
    "list of one": lambda n: [n],
    "tuple of one": lambda n: (n,),
    "list of two": lambda n: [n, n],
    "torch.Size": lambda n: torch.Size((n, n)),
    "NumPy's integer": np.int64,
    "list of one of NumPy's": lambda n: [np.int32(n)],
    "two of NumPy's": lambda n: (np.int64(n), np.uint8(n)),
}
spelled = pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)

X = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
W = np.random.default_rng(1).standard_normal((4, 3, 3, 3))
COLUMNS = np.random.default_rng(2).standard_normal((2, 3 * 4, 9))
TAKEN: dict[str, tuple[tuple[np.ndarray, ...], dict[str, int]]] = {  # arrays and options
    "conv2d": ((X, W), {"stride": 2, "padding": 1, "dilation": 2}),
    "max_pool2d": ((X,), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    "avg_pool2d": ((X,), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "unfold": ((X,), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}),
    "fold": ((COLUMNS,), {"output_size": 7, "kernel_size": 2, "stride": 2, "padding": 0}),
    "adaptive_avg_pool2d": ((X,), {"output_size": 4}),
}
cases = pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, (_, options) in TAKEN.items()
                         for option in options],
)  # fmt: skip


@impls
@spelled
@cases
def test_an_operation_takes_it(
    name: str, option: str, spell: Callable[[int], Any], impl: str
) -> None:
    arrays, plain = TAKEN[name]
    options: dict[str, Any] = plain | {option: spell(plain[option])}
    y, cache = getattr(ops, name).forward(*arrays, **options, impl=impl)
    theirs = getattr(F, name)(*map(torch.from_numpy, arrays), **plain)
    np.testing.assert_allclose(y, theirs.numpy(), rtol=0, atol=1e-12)
    getattr(ops, name).backward(y, cache, impl=impl)


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "Conv2d": lambda **o: nn.Conv2d(3, 4, **o, rng=np.random.default_rng(0), dtype=np.float64),
    "MaxPool2d": nn.MaxPool2d,
    "AvgPool2d": nn.AvgPool2d,
    "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
}
OPTIONS: dict[str, dict[str, int]] = {
    "Conv2d": {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
    "MaxPool2d": {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
    "AvgPool2d": {"kernel_size": 3, "stride": 2, "padding": 1},
    "AdaptiveAvgPool2d": {"output_size": 4},
}


@spelled
@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options]
)
def test_a_layer_takes_it(name: str, option: str, spell: Callable[[int], Any]) -> None:
    plain = OPTIONS[name]
    expected = LAYERS[name](**plain)
    layer = LAYERS[name](**(plain | {option: spell(plain[option])}))
    np.testing.assert_array_equal(layer(X), expected(X))
    shape = X.shape[1:]
    assert layer.output_shape(shape) == expected.output_shape(shape) == layer(X).shape[1:]
    assert layer.window(shape) == expected.window(shape)


@pytest.mark.parametrize("stride", [(), [], None])
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_no_stride_is_that_of_the_kernel(name: str, stride: Any) -> None:
    y, _ = getattr(ops, name).forward(X, (2, 3), stride)
    theirs = getattr(F, name)(torch.from_numpy(X), (2, 3), stride)
    np.testing.assert_allclose(y, theirs.numpy(), rtol=0, atol=1e-12)
    layer = {"max_pool2d": nn.MaxPool2d, "avg_pool2d": nn.AvgPool2d}[name]((2, 3), stride)
    np.testing.assert_array_equal(layer(X), y)
    assert layer.window((3, 9, 8)) == ((2, 3), (2, 3), (1, 1))


@pytest.mark.parametrize("size", [(None,), [None], None])
def test_no_output_size_keeps_the_sides(size: Any) -> None:
    np.testing.assert_allclose(nn.AdaptiveAvgPool2d(size)(X), X, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conv2d", {"stride": ()}),
        ("conv2d", {"padding": []}),
        ("conv2d", {"dilation": ()}),
        ("conv2d", {"stride": [0]}),
        ("conv2d", {"stride": [2.0]}),
        ("conv2d", {"stride": [True]}),
        ("max_pool2d", {"kernel_size": ()}),
        ("max_pool2d", {"kernel_size": 2, "padding": ()}),
        ("max_pool2d", {"kernel_size": 2, "dilation": []}),
        ("max_pool2d", {"kernel_size": 2, "stride": [0]}),
        ("avg_pool2d", {"kernel_size": [1, 2, 3]}),
        ("adaptive_avg_pool2d", {"output_size": ()}),
        ("adaptive_avg_pool2d", {"output_size": [1.0]}),
        ("unfold", {"kernel_size": 2, "stride": ()}),
        ("fold", {"output_size": (), "kernel_size": 2}),
    ],
    ids=str,
)
def test_what_torch_refuses_is_refused(name: str, options: dict[str, Any]) -> None:
    arrays = TAKEN[name][0]
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        getattr(F, name)(*map(torch.from_numpy, arrays), **options)
    with pytest.raises((ShapeError, TypeError), match=name):
        getattr(ops, name).forward(*arrays, **options)


# ------------------------------------------------------------------------------------- Flatten


@pytest.mark.parametrize("end", [-1, -2, 1, 2, 3, np.int64(-1)])
@pytest.mark.parametrize("start", [0, 1, 2, 3, -1, -2, -4, np.int64(1)])
@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_flatten_is_torchs(ndim: int, start: int, end: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)[:ndim])
    try:
        expected = torch.nn.Flatten(start, end)(torch.from_numpy(x)).numpy()
    except (RuntimeError, IndexError):
        with pytest.raises(ShapeError, match="Flatten"):
            nn.Flatten(start, end)(x)
        return
    layer = nn.Flatten(start, end)
    y, cache = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward(y, cache), x)
    if len(x) == len(y) and y.ndim > 1:
        assert layer.output_shape(x.shape[1:]) == y.shape[1:]
    else:
        with pytest.raises(ShapeError, match="joins the batch"):
            layer.output_shape(x.shape[1:])


def test_flatten_takes_one_number_as_torch_does() -> None:
    theirs = torch.nn.Flatten(0)(torch.tensor(2.0)).numpy()
    np.testing.assert_array_equal(nn.Flatten(0)(np.array(2.0)), theirs)


@pytest.mark.parametrize("wrong", [1.0, True, "1", None, [1]])
def test_an_axis_is_an_integer(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^Flatten: start_dim must be an integer"):
        nn.Flatten(wrong)
    with pytest.raises(TypeError, match=r"^Flatten: end_dim must be an integer"):
        nn.Flatten(1, wrong)


def test_the_text_of_flatten() -> None:
    assert repr(nn.Flatten()) == "Flatten()"
    assert repr(nn.Flatten(2)) == "Flatten(start_dim=2, end_dim=-1)"
    with pytest.raises(ShapeError) as error:
        nn.Flatten(2, 1)(X)
    assert str(error.value) == (
        "Flatten: start_dim=2 is axis 2 of (2, 3, 9, 8), after end_dim=1, axis 1. Use a start_dim "
        "of at most 1."
    )


def test_what_flattens_some_axes_is_fused_as_it_is() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 2, rng=rng, dtype=np.float64), nn.ReLU(), nn.Flatten(2),
        nn.Linear(8 * 7, 5, rng=rng, dtype=np.float64), nn.ReLU(), nn.Flatten(1, 2),
    )  # fmt: skip
    for fast in (minicnn.fuse(model), minicnn.fuse(model, inference=True)):
        np.testing.assert_allclose(fast(X), model(X), rtol=0, atol=1e-12)

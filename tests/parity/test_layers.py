"""Every layer against torch.nn's of the same name, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minicnn import nn
from minicnn.testing.strategies import WIDE, seeds
from minicnn.testing.strategies import geometry as geo
from tests.arrays import assert_close, dtypes, impls
from tests.oracle import device, quietly, to_numpy, to_torch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def same_weights(ours: nn.Module, theirs: torch.nn.Module) -> torch.nn.Module:
    """Return ``theirs`` in float64 with the weights of ``ours``; the names have to agree."""
    state = {name: torch.from_numpy(array) for name, array in ours.state_dict().items()}
    theirs.double().load_state_dict(state)
    return theirs.to(device())


def assert_same_passes(
    ours: nn.Module, theirs: torch.nn.Module, x: np.ndarray, scale: float = 1.0
) -> None:
    """Raise unless value, gradient of the input and gradients of all parameters are equal."""
    tensor = to_torch(x).requires_grad_()
    with quietly():
        expected = same_weights(ours, theirs)(tensor)
    dy = rng(1).standard_normal(expected.shape).astype(x.dtype)
    expected.backward(to_torch(dy))
    y, cache = ours.forward(x, training=False)
    dx = ours.backward(dy, cache)
    assert y.dtype == dx.dtype == x.dtype
    assert_close(y, to_numpy(expected), "y", scale)
    assert_close(dx, to_numpy(tensor.grad), "dx", scale)
    parameters = dict(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(parameters)
    for name, param in ours.named_parameters():
        assert param.grad.dtype == x.dtype
        assert_close(param.grad, to_numpy(parameters[name].grad), name, scale)


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv2d", (2, 6, 3), {}, (3, 2, 7, 6)),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, False), {}, (2, 4, 9, 8)),
    ("Conv2d", (3, 3, 3), {"padding": "same", "groups": 3}, (2, 3, 5, 4)),
    ("Conv2d", (3, 5, 1), {"padding": "valid"}, (2, 3, 5, 4)),
    ("Linear", (7, 5), {}, (4, 7)),
    ("Linear", (7, 5), {"bias": False}, (2, 3, 7)),
    ("MaxPool2d", (2,), {}, (2, 3, 7, 6)),
    ("MaxPool2d", (3, 2, 1, 2), {"ceil_mode": True}, (2, 3, 9, 8)),
    ("AvgPool2d", (2,), {}, (2, 3, 7, 6)),
    ("AvgPool2d", ((3, 2), 2, 1, True, False), {}, (2, 3, 9, 8)),
    ("AvgPool2d", (3,), {"divisor_override": 5}, (2, 3, 9, 8)),
    ("AdaptiveAvgPool2d", (3,), {}, (2, 3, 7, 5)),
    ("AdaptiveAvgPool2d", ((None, 2),), {}, (2, 3, 7, 5)),
    ("ReLU", (), {}, (4, 5)),
    ("LeakyReLU", (), {}, (4, 5)),
    ("LeakyReLU", (0.3,), {}, (4, 5)),
    ("Sigmoid", (), {}, (4, 5)),
    ("Tanh", (), {}, (4, 5)),
    ("GELU", (), {}, (4, 5)),
    ("GELU", ("tanh",), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5, 2)),
    ("LogSoftmax", (-1,), {}, (4, 5, 2)),
    ("Flatten", (), {}, (4, 3, 2, 5)),
]


@impls
@dtypes
@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    LAYERS,
    ids=[f"{name}{args}{options or ''}" for name, args, options, _ in LAYERS],
)
def test_layer(name, args, options, shape, dtype: type, impl: str) -> None:
    learned = {"rng": rng()} if name in ("Conv2d", "Linear") else {}
    ours = getattr(nn, name)(*args, **options, **learned).set_impl(impl).astype(dtype)
    theirs = getattr(torch.nn, name)(*args, **options)
    assert_same_passes(ours, theirs, rng(2).standard_normal(shape).astype(dtype))


@impls
@given(drawn=geo.convolutions(WIDE), seed=seeds)
def test_conv2d_of_any_geometry(impl: str, drawn: geo.Convolution, seed: int) -> None:
    names = ("kernel_size", "stride", "padding", "dilation")
    options = drawn.geometry.options(*names) | {"groups": drawn.groups, "bias": drawn.bias}
    channels = drawn.x_shape[1], drawn.weight_shape[0]
    ours = nn.Conv2d(*channels, **options, rng=rng(seed), dtype=np.float64).set_impl(impl)
    x = rng(seed).standard_normal(drawn.x_shape)
    assert_same_passes(ours, torch.nn.Conv2d(*channels, **options), x, 100)


@pytest.mark.parametrize("options", [{"stride": 2, "padding": "same"}, {"padding": "full"}])
def test_conv2d_rejects_at_once_what_torch_rejects_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="padding"):
        torch.nn.Conv2d(1, 1, 3, **options)
    with pytest.raises(ValueError, match=r"^Conv2d: padding"):
        nn.Conv2d(1, 1, 3, **options, rng=rng())


def test_dropout_in_inference() -> None:
    ours, theirs = nn.Dropout(0.3, rng=rng()), torch.nn.Dropout(0.3).eval()
    assert_same_passes(ours, theirs, rng().standard_normal((3, 4)))


@impls
def test_a_module_used_twice_receives_both_gradients(impl: str) -> None:
    """The convolution is the first and the third layer, the activation the second and fourth."""
    conv, act = nn.Conv2d(3, 3, 3, padding=1, rng=rng(), dtype=np.float64), nn.Tanh()
    ours = nn.Sequential(conv, act, conv, act).set_impl(impl)
    shared = same_weights(conv, torch.nn.Conv2d(3, 3, 3, padding=1))
    theirs = torch.nn.Sequential(shared, torch.nn.Tanh(), shared, torch.nn.Tanh())
    x = rng(3).standard_normal((2, 3, 5, 4))
    tensor = to_torch(x).requires_grad_()
    expected = theirs(tensor)
    expected.sum().backward()
    y, cache = ours.forward(x, training=True)
    dx = ours.backward(np.ones_like(y), cache)
    assert_close(y, to_numpy(expected), "y")
    assert_close(dx, to_numpy(tensor.grad), "dx")
    assert_close(conv.weight.grad, to_numpy(shared.weight.grad), "weight", 100)
    assert_close(conv.bias.grad, to_numpy(shared.bias.grad), "bias", 100)


@impls
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@given(reduction=st.sampled_from(["mean", "sum", "none"]), weighted=st.booleans(), seed=seeds)
def test_losses(name: str, impl: str, reduction: str, weighted: bool, seed: int) -> None:
    generator = rng(seed)
    x, target = generator.standard_normal((4, 3, 2)), generator.integers(0, 3, (4, 2))
    weight = generator.uniform(0.5, 2, 3) if weighted else None
    options: dict[str, Any] = {"ignore_index": 1, "reduction": reduction}
    if name == "CrossEntropyLoss":
        options["label_smoothing"] = 0.2
    theirs = getattr(torch.nn, name)(None if weight is None else to_torch(weight), **options)
    tensor = to_torch(x).requires_grad_()
    expected = theirs(tensor, to_torch(target))
    dy = np.asarray(generator.standard_normal(expected.shape))
    expected.backward(to_torch(dy))
    ours = getattr(nn, name)(weight, **options, impl=impl)
    y, cache = ours.forward(x, target)
    assert_close(y, to_numpy(expected), "y")
    assert_close(ours.backward(dy, cache), to_numpy(tensor.grad), "dx")

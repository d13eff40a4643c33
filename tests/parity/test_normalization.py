"""Normalisation against torch: operations with all gradients and what runs, and layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from minicnn import nn
from minicnn.backend import IMPLS
from minicnn.ops import batch_norm, local_response_norm
from tests.oracle import device, to_numpy, to_torch

impls = pytest.mark.parametrize("impl", IMPLS)
seeds = st.integers(0, 2**32 - 1)
TOLERANCE = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_close(actual: np.ndarray, expected: torch.Tensor, what: str) -> None:
    e = to_numpy(expected)
    scale = max(1, np.abs(e).max(initial=0))
    np.testing.assert_allclose(
        actual, e, rtol=0, atol=TOLERANCE[actual.dtype] * scale, err_msg=what
    )


# ------------------------------------------------------------------------------------- batch_norm


class Case(NamedTuple):
    """What batch_norm is called with."""

    shape: tuple[int, ...]
    weight: bool
    bias: bool
    running: bool
    training: bool
    momentum: float
    eps: float
    kind: str
    layout: str
    dtype: type
    seed: int

    def numbers(self, r: np.random.Generator) -> np.ndarray:
        normal = r.standard_normal(self.shape)
        match self.kind:
            case "ties":
                return np.round(normal)
            case "offset":
                return 1e3 + normal
            case _:
                return normal

    def lay(self, x: np.ndarray) -> np.ndarray:
        match self.layout:
            case "channels last":
                return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
            case "sliced":
                return np.repeat(x, 2, axis=-1)[..., ::2]
            case _:
                return x


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rest = draw(st.lists(st.integers(1, 5), max_size=3))
    several = draw(st.integers(2 if all(side == 1 for side in rest) else 1, 5))
    training = draw(st.booleans())
    return Case(
        shape=(several, draw(st.integers(1, 7) | st.sampled_from([40, 600])), *rest),
        weight=draw(st.booleans()),
        bias=draw(st.booleans()),
        running=draw(st.booleans()) or not training,
        training=training,
        momentum=draw(st.sampled_from([0.1, 0.0, 0.6, 1.0])),
        eps=draw(st.sampled_from([1e-5, 1e-3, 0.5])),
        kind=draw(st.sampled_from(["normal", "ties", "offset"])),
        layout=draw(st.sampled_from(["channels first", "channels last", "sliced"])),
        dtype=draw(st.sampled_from([np.float64, np.float32])),
        seed=draw(seeds),
    )


def assert_like_torch(case: Case, impl: str) -> None:
    r, c = rng(case.seed), case.shape[1]
    x = case.lay(case.numbers(r).astype(case.dtype))
    weight = r.standard_normal(c).astype(case.dtype) if case.weight else None
    bias = r.standard_normal(c).astype(case.dtype) if case.bias else None
    mean = r.standard_normal(c).astype(case.dtype) if case.running else None
    var = r.uniform(0.1, 2, c).astype(case.dtype) if case.running else None
    dy = r.standard_normal(case.shape).astype(case.dtype)

    leaves = [None if a is None else to_torch(a).requires_grad_() for a in (x, weight, bias)]
    running = [None if a is None else to_torch(a) for a in (mean, var)]
    options = {"training": case.training, "momentum": case.momentum, "eps": case.eps}
    expected = F.batch_norm(leaves[0], *running, *leaves[1:], **options)
    expected.backward(to_torch(dy))

    y, cache = batch_norm.forward(x, weight, bias, mean, var, **options, impl=impl)
    gradients = batch_norm.backward(dy, cache, impl=impl)
    assert y.dtype == case.dtype
    assert_close(y, expected, "y")
    for ours, leaf, name in zip(gradients, leaves, ("dx", "dweight", "dbias"), strict=True):
        if leaf is None:
            assert ours is None
        else:
            assert ours.dtype == case.dtype
            assert_close(ours, leaf.grad, name)
    for ours, theirs, name in zip((mean, var), running, ("mean", "var"), strict=True):
        if theirs is not None:
            assert ours.dtype == case.dtype
            assert_close(ours, theirs, f"running {name}")


@impls
@given(case=cases())
def test_batch_norm(impl: str, case: Case) -> None:
    assert_like_torch(case, impl)


@impls
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(8, 24, 9, 7), (6, 3, 40, 11), (130, 33), (3, 1, 2000)])
def test_batch_norm_of_many_lines_and_parts(shape, training: bool, impl: str) -> None:
    for dtype in (np.float64, np.float32):
        options = (0.1, 1e-5, "normal", "channels first", dtype, 0)
        assert_like_torch(Case(shape, True, True, True, training, *options), impl)


@impls
def test_batch_norm_of_an_empty_batch(impl: str) -> None:
    options = (0.1, 1e-5, "normal", "channels first", np.float64, 0)
    for shape in ((0, 3), (0, 3, 4, 4), (2, 3, 0)):
        assert_like_torch(Case(shape, True, True, True, True, *options), impl)


ONES = np.ones(3, np.float32)
X = np.arange(6, dtype=np.float32).reshape(2, 3)

REJECTED: list[tuple[np.ndarray, dict[str, Any]]] = [
    (X[0], {}),
    (X[:1], {}),
    (X[:1, :, None, None], {}),
    (X, {"training": False}),
    (X, {"running_mean": ONES}),
    (X, {"running_var": ONES}),
    (X, {"running_mean": ONES, "training": False}),
    (X, {"running_mean": ONES[:2], "running_var": ONES}),
    (X, {"running_mean": ONES.astype(np.float64), "running_var": ONES.astype(np.float64)}),
    (X, {"weight": ONES[:2]}),
    (X, {"bias": ONES[:2]}),
    (X.astype(np.float64), {"weight": ONES}),
    (X, {"momentum": None}),
]


@impls
@pytest.mark.parametrize(("x", "options"), REJECTED)
def test_what_torch_rejects_is_rejected(x: np.ndarray, options: dict, impl: str) -> None:
    options = {"running_mean": None, "running_var": None, "training": True} | options
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
        F.batch_norm(torch.from_numpy(x), **tensors)
    with pytest.raises((ValueError, TypeError), match=r"^batch_norm: "):
        batch_norm.forward(x, **options, impl=impl)


# ---------------------------------------------------------------------------- local_response_norm


@impls
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("channels", range(1, 10))
def test_local_response_norm_of_every_size(channels: int, dtype: type, impl: str) -> None:
    for size in range(1, 8):
        for rest, beta in (((3,), 0.75), ((2, 3), 0.75), ((2, 1, 2), 0.6)):
            r = rng(size)
            x, dy = (3 * r.standard_normal((2, channels, *rest)).astype(dtype) for _ in range(2))
            leaf = to_torch(x).requires_grad_()
            expected = F.local_response_norm(leaf, size, 0.5, beta, 1.5)
            expected.backward(to_torch(dy))
            y, cache = local_response_norm.forward(x, size, 0.5, beta, 1.5, impl=impl)
            dx = local_response_norm.backward(dy, cache, impl=impl)
            assert y.dtype == dx.dtype == dtype
            assert_close(y, expected, f"y, size {size}")
            assert_close(dx, leaf.grad, f"dx, size {size}")


@impls
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.integers(1, 4)),
    size=st.integers(1, 50),
    alpha=st.floats(0, 2),
    beta=st.sampled_from([0.75, 0.0, 0.5, 1.0, 1.7]),
    k=st.floats(0.5, 3),
    zeros=st.booleans(),
    seed=seeds,
)
def test_local_response_norm(impl: str, shape, size, alpha, beta, k, zeros, seed: int) -> None:
    r = rng(seed)
    x, dy = r.standard_normal((2, *shape))
    x = np.where(r.random(shape) < 0.5, 0, x) if zeros else x
    leaf = to_torch(x).requires_grad_()
    expected = F.local_response_norm(leaf, size, alpha, beta, k)
    expected.backward(to_torch(dy))
    y, cache = local_response_norm.forward(x, size, alpha, beta, k, impl=impl)
    assert_close(y, expected, "y")
    assert_close(local_response_norm.backward(dy, cache, impl=impl), leaf.grad, "dx")


@impls
def test_defaults_of_local_response_norm(impl: str) -> None:
    x = 100 * rng().standard_normal((2, 7, 3))  # alpha is small
    y, _ = local_response_norm.forward(x, 5, impl=impl)
    assert_close(y, F.local_response_norm(to_torch(x), 5), "y")


# ----------------------------------------------------------------------------------------- layers

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("BatchNorm1d", (5,), {}, (4, 5)),
    ("BatchNorm1d", (5, 1e-3, 0.4), {}, (4, 5, 3)),
    ("BatchNorm1d", (5,), {"momentum": None, "affine": False}, (4, 5)),
    ("BatchNorm2d", (5,), {}, (4, 5, 3, 2)),
    ("BatchNorm2d", (5, 1e-3, None), {}, (4, 5, 3, 2)),
    ("BatchNorm2d", (5,), {"affine": False}, (4, 5, 3, 2)),
    ("BatchNorm2d", (5,), {"track_running_stats": False}, (4, 5, 3, 2)),
    ("BatchNorm2d", (5, 1e-5, None, False, False), {}, (4, 5, 3, 2)),
    ("LocalResponseNorm", (5,), {}, (4, 7, 3)),
    ("LocalResponseNorm", (4, 0.5, 0.6, 1.5), {}, (4, 7, 3, 2)),
]


def assert_same_state(ours: nn.Module, theirs: torch.nn.Module) -> None:
    """Raise unless names, their order, shapes and values agree; integers stay integers."""
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, array in state.items():
        assert array.shape == tuple(expected[name].shape)
        if array.dtype.kind == "i":
            assert array.dtype == np.int64
            assert array == int(expected[name])
        else:
            assert_close(array, expected[name], name)


@impls
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    LAYERS,
    ids=[f"{name}{args}{options or ''}" for name, args, options, _ in LAYERS],
)
def test_layer_over_some_steps(name, args, options, shape, dtype: type, impl: str) -> None:
    ours = getattr(nn, name)(*args, **options).set_impl(impl).astype(dtype)
    theirs = getattr(torch.nn, name)(*args, **options).double().to(device())
    for i, param in enumerate(ours.parameters()):
        param.data[...] = rng(9 + i).uniform(0.5, 2, param.data.shape)
    with torch.no_grad():
        for param, tensor in zip(ours.parameters(), theirs.parameters(), strict=True):
            tensor.copy_(to_torch(param.data))
    assert_same_state(ours, theirs)
    for step, training in enumerate([True, True, False, True, False]):
        x, dy = (rng(step).standard_normal((2, *shape)) * 2 + step).astype(dtype)
        leaf = to_torch(x).requires_grad_()
        ours.zero_grad()
        theirs.zero_grad()
        theirs.train(training)
        expected = theirs(leaf)
        expected.backward(to_torch(dy))
        y, cache = ours.forward(x, training=training)
        dx = ours.backward(dy, cache)
        assert y.dtype == dx.dtype == dtype
        assert_close(y, expected, f"y of step {step}")
        assert_close(dx, leaf.grad, f"dx of step {step}")
        for param, tensor in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(param.grad, tensor.grad, f"gradient of step {step}")
        assert_same_state(ours, theirs)


def test_a_state_dict_moves_both_ways() -> None:
    ours, theirs = nn.BatchNorm2d(5, dtype=np.float64), torch.nn.BatchNorm2d(5).double()
    x = rng().standard_normal((4, 5, 3, 2))
    theirs(torch.from_numpy(x))
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert_same_state(ours, theirs)
    ours.forward(2 * x, training=True)
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in ours.state_dict().items()})
    assert_same_state(ours, theirs)
    assert int(theirs.num_batches_tracked) == 2
    assert_close(ours(x), theirs.eval()(torch.from_numpy(x)), "y")

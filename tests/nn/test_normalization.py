"""Layers that normalise: what they keep, when it moves, what they say."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError, nn
from minicnn.backend import IMPLS

impls = pytest.mark.parametrize("impl", IMPLS)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_state_begins_as_torchs() -> None:
    state = nn.BatchNorm2d(3).state_dict()
    expected = {
        "weight": np.ones(3, np.float32),
        "bias": np.zeros(3, np.float32),
        "running_mean": np.zeros(3, np.float32),
        "running_var": np.ones(3, np.float32),
        "num_batches_tracked": np.array(0, np.int64),
    }
    assert list(state) == list(expected)
    for name, array in expected.items():
        assert state[name].dtype == array.dtype
        assert state[name].shape == array.shape
        np.testing.assert_array_equal(state[name], array)


@impls
def test_only_training_moves_what_runs(impl: str) -> None:
    layer, x = nn.BatchNorm2d(3).set_impl(impl), normal(4, 3, 2, 5)
    held = layer.running_mean, layer.running_var, layer.num_batches_tracked
    before = layer.state_dict()
    layer(x)
    layer.backward(x, layer.forward(x, training=False)[1])
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    layer.forward(x, training=True)
    assert layer.num_batches_tracked == 1
    assert (layer.running_mean != 0).all()
    assert (layer.running_var != 1).all()
    assert held[0] is layer.running_mean  # in place
    assert held[1] is layer.running_var
    assert held[2] is layer.num_batches_tracked


@impls
def test_a_pass_that_fails_moves_nothing(impl: str) -> None:
    layer = nn.BatchNorm1d(3).set_impl(impl)
    with pytest.raises(ShapeError, match="1 value per channel"):
        layer.forward(normal(1, 3), training=True)
    assert layer.num_batches_tracked == 0
    assert not layer.running_mean.any()


def test_frozen_parameters_receive_nothing_while_statistics_run() -> None:
    layer, x = nn.BatchNorm1d(3).freeze(), normal(4, 3)
    y, cache = layer.forward(x, training=True)
    assert layer.backward(y, cache).shape == x.shape
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()
    assert layer.num_batches_tracked == 1


@impls
def test_gradients_add_and_the_input_may_do_without(impl: str) -> None:
    layer, x = nn.BatchNorm1d(3).set_impl(impl), normal(4, 3)
    y, cache = layer.forward(x, training=True)
    assert layer.backward(x, cache, input_grad=False) is None
    once = layer.weight.grad.copy(), layer.bias.grad.copy()
    layer.backward(x, cache)
    np.testing.assert_array_equal(layer.weight.grad, 2 * once[0])
    np.testing.assert_array_equal(layer.bias.grad, 2 * once[1])
    assert nn.LocalResponseNorm(2).backward(y, None, input_grad=False) is None


def test_astype_turns_what_runs_and_leaves_the_count() -> None:
    layer = nn.BatchNorm2d(3)
    layer.forward(normal(4, 3, 2, 2), training=True)
    layer.astype(np.float64)
    kinds = {name: array.dtype for name, array in layer.state_dict().items()}
    assert kinds.pop("num_batches_tracked") == np.int64
    assert set(kinds.values()) == {np.dtype(np.float64)}
    y, _ = layer.forward(normal(4, 3, 2, 2).astype(np.float64), training=True)
    assert y.dtype == np.float64
    assert layer.num_batches_tracked == 2
    assert nn.BatchNorm2d(3, dtype=np.float64).running_var.dtype == np.float64


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm2d(3), (3,), "BatchNorm2d: x must have shape (n, 3, h, w), got (n, 3)."),
        (
            nn.BatchNorm2d(3), (5, 4, 4),
            "BatchNorm2d: x must have shape (n, 3, h, w), got (n, 5, 4, 4).",
        ),
        (
            nn.BatchNorm1d(3), (3, 4, 4),
            "BatchNorm1d: x must have shape (n, 3) or (n, 3, l), got (n, 3, 4, 4).",
        ),
        (
            nn.BatchNorm1d(3, affine=False, track_running_stats=False), (4,),
            "BatchNorm1d: x must have shape (n, 3) or (n, 3, l), got (n, 4).",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_by_the_pass_and_by_the_summary(layer, shape, message) -> None:
    message += " num_features=3 is the number of channels."
    for call in (
        lambda: layer.forward(normal(2, *shape), training=True),
        lambda: layer.output_shape(shape),
    ):
        with pytest.raises(ShapeError) as error:
            call()
        assert str(error.value) == message


def test_num_features_and_size_are_numbers() -> None:
    with pytest.raises(ShapeError, match=r"^BatchNorm1d: num_features must be at least 1, got 0"):
        nn.BatchNorm1d(0)
    with pytest.raises(TypeError, match=r"^BatchNorm2d: num_features must be an integer"):
        nn.BatchNorm2d(1.5)
    with pytest.raises(ShapeError, match=r"^LocalResponseNorm: size must be at least 1, got 0"):
        nn.LocalResponseNorm(0)


def test_in_a_network_and_its_summary() -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        conv=nn.Conv2d(2, 4, 3, rng=rng),
        norm=nn.BatchNorm2d(4),
        act=nn.ReLU(),
        lrn=nn.LocalResponseNorm(3),
    )
    rows = {row.name: row for row in nn.summarize(model, (2, 6, 5))}
    assert rows["norm"].output == rows["lrn"].output == (4, 4, 3)
    assert rows["norm"].parameters == 8
    assert rows["lrn"].field == (3, 3)
    y, cache = model.forward(normal(5, 2, 6, 5), training=True)
    assert model.backward(y, cache).shape == (5, 2, 6, 5)
    assert list(model.state_dict())[2:4] == ["norm.weight", "norm.bias"]


def test_repr() -> None:
    assert repr(nn.BatchNorm2d(3, momentum=None)) == (
        "BatchNorm2d(3, eps=1e-05, momentum=None, affine=True, track_running_stats=True)"
    )
    assert repr(nn.BatchNorm1d(3, affine=False, track_running_stats=False)) == (
        "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"
    )
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"

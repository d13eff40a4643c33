"""A fused network is the network: the same numbers, parameters and names."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import models, nn
from minicnn.fused import BatchNormReLU, FusedResidual, fuse
from minicnn.nn.init import Undrawn
from minicnn.testing.strategies import networks, seeds
from tests.arrays import assert_close, impls, whole_networks
from tests.parity.test_graphs import graphs


def passes(model: nn.Module, x: np.ndarray, training: bool) -> dict[str, np.ndarray]:
    """Return all that a forward and a backward leave, by name."""
    model.zero_grad()
    y, cache = model.forward(x, training=training)
    outputs = y if isinstance(y, tuple) else (y,)
    rng = np.random.default_rng(1)
    gradients = tuple(rng.standard_normal(out.shape).astype(out.dtype) for out in outputs)
    dx = model.backward(gradients if isinstance(y, tuple) else gradients[0], cache)
    assert dx is not None
    left = {f"y{i}": out for i, out in enumerate(outputs)} | {"dx": dx}
    left |= {f"d{name}": param.grad.copy() for name, param in model.named_parameters()}
    return left | {name: array.astype(x.dtype) for name, array in model.state_dict().items()}


def assert_same(model: nn.Module, x: np.ndarray, training: bool) -> nn.Module:
    """Raise unless ``model`` and what ``fuse`` makes of it do the same; return the latter."""
    fused = fuse(copy.deepcopy(model))
    expected, got = passes(model, x, training), passes(fused, x, training)
    assert list(got) == list(expected)
    scale = max(1e3, *(np.abs(a).max(initial=0) for a in expected.values()))
    for name, array in expected.items():
        assert_close(got[name], array, name, scale)
    return fused


@impls
@given(data=st.data(), channels=st.integers(1, 3), training=st.booleans(), seed=seeds)
def test_any_graph(
    impl: str, data: st.DataObject, channels: int, training: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    model, _, _ = data.draw(graphs(channels, 3, {}, rng))
    assert_same(model.set_impl(impl), rng.standard_normal((3, channels, 4, 3)), training)


@given(drawn=networks(), training=st.booleans())
def test_any_chain(drawn: tuple[nn.Sequential, np.ndarray], training: bool) -> None:
    model, x = drawn
    assert_same(without_chance(model), x, training)


def without_chance(model: nn.Module) -> nn.Module:
    for _, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


SMALL = {  # the side of its images
    "lenet5": 28, "cnn3": 28, "inception_mnist": 28, "resnet20": 8, "resnet20-preact": 8,
    "resnet18": 32, "resnet50": 16, "vgg11_bn": 32, "densenet121": 32, "squeezenet1_1": 32,
}  # fmt: skip
FEW = {"vgg11_bn": {"hidden": 20}}  # not 120 million weights, which have to be drawn and copied


@whole_networks
@pytest.mark.parametrize("name", SMALL)
def test_networks(name: str) -> None:
    build, rng = models.MODELS[name].build, np.random.default_rng(0)
    model = build(5, rng=rng, **FEW.get(name, {})).astype(np.float64)
    c = models.MODELS[name].image[0]
    x = np.random.default_rng(1).standard_normal((2, c, SMALL[name], SMALL[name]))
    assert_same(without_chance(model), x, training=True)
    assert_same(without_chance(model), x, training=False)


@whole_networks
def test_auxiliary_heads() -> None:
    model = models.googlenet(5, aux_logits=True, rng=np.random.default_rng(0)).astype(np.float64)
    x = np.random.default_rng(1).standard_normal((2, 3, 128, 128))
    assert_same(without_chance(model), x, training=True)


def parts(model: nn.Module) -> list[str]:
    """Return the kinds of what runs, in order."""
    found = [type(model).__name__]
    for chain in (getattr(model, name, None) or [] for name in ("_fused", "_main", "_shortcut")):
        for part in chain:
            for module in part if isinstance(part, list) else [part]:
                found += parts(module)
    return found


def test_what_a_residual_network_becomes() -> None:
    kinds = parts(fuse(models.resnet20(rng=Undrawn(np.random.PCG64(0)))))
    assert kinds.count("ResidualConvs") == 9
    assert kinds.count("ConvNormReLU") == 1
    assert "BatchNorm2d" not in kinds
    assert "ReLU" not in kinds


def test_what_lenet_becomes() -> None:
    chain = ["ConvReLUPool", "ConvReLUPool", "Flatten", "LinearReLU", "LinearReLU", "Linear"]
    assert parts(fuse(models.lenet5(rng=Undrawn(np.random.PCG64(0)))))[1:] == chain
    exchanged = parts(fuse(models.convnet(rng=Undrawn(np.random.PCG64(0)))))[1:]
    assert exchanged == ["ConvReLUPool", "ConvReLUPool", "Flatten", "Linear", "LogSoftmax"]


def test_options_that_an_operation_has_not_are_left_to_the_layers() -> None:
    def kinds(pool: nn.MaxPool2d, **options: int) -> list[str]:
        rng = np.random.default_rng(0)
        conv = nn.Conv2d(2, 2, 3, rng=rng, dtype=np.float64, **options)  # type: ignore[arg-type]
        model = nn.Sequential(conv, nn.ReLU(), pool)
        return parts(assert_same(model, rng.standard_normal((2, 2, 9, 9)), training=True))

    assert kinds(nn.MaxPool2d(2)) == ["Sequential", "ConvReLUPool"]
    apart = ["Sequential", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds(nn.MaxPool2d(2, dilation=2)) == apart
    assert kinds(nn.MaxPool2d(2), dilation=2) == apart
    assert kinds(nn.MaxPool2d(2), groups=2) == apart


@whole_networks
def test_both_train_the_same_parameters() -> None:
    model = models.resnet20(rng=np.random.default_rng(0))
    fused = fuse(model)
    assert all(a is b for a, b in zip(fused.parameters(), model.parameters(), strict=True))
    fused.load_state_dict(models.resnet20(rng=np.random.default_rng(1)).state_dict())
    x = np.random.default_rng(2).standard_normal((2, 3, 8, 8)).astype(np.float32)
    fused.forward(x, training=True)
    assert model.bn1.num_batches_tracked == 1
    np.testing.assert_array_equal(fused(x), fuse(model)(x))


def test_a_module_with_a_forward_of_its_own_stays() -> None:
    class Doubled(nn.ReLU):
        def forward(self, x, *, training):
            return super().forward(2 * x, training=training)

    norm = nn.BatchNorm2d(2, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    model = nn.Sequential(norm, Doubled())
    np.testing.assert_array_equal(fuse(model)(x), model(x))
    block = nn.Residual(norm, activation=Doubled())
    np.testing.assert_array_equal(fuse(block)(x), block(x))
    assert type(fuse(block)) is nn.Residual


def test_what_is_left_is_the_module_itself() -> None:
    layer = nn.Linear(2, 3, rng=np.random.default_rng(0))
    assert fuse(layer) is layer


def test_a_copy_of_a_fused_network_is_another() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
    fused = fuse(model)
    other = copy.deepcopy(fused)
    other[0].weight.data[...] = 5
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(other(x), 5 * fused(x), rtol=1e-6)
    assert isinstance(fused._fused[0], BatchNormReLU)
    assert not isinstance(fused, FusedResidual)


@whole_networks
def test_a_layer_of_a_fused_network_is_not_replaced_in_silence() -> None:
    model = models.resnet20(rng=np.random.default_rng(0))
    fused = fuse(model)
    head = nn.Linear(64, 3, rng=np.random.default_rng(1))
    with pytest.raises(
        AttributeError,
        match=re.escape(
            "Sequential: a fused network runs the layers that it was made from. Set fc in the "
            "original network, then fuse it again."
        ),
    ):
        fused.fc = head
    model.fc = head
    assert fuse(model)(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 3)


def test_only_modules_are_fused() -> None:
    with pytest.raises(TypeError, match=re.escape("fuse: a Module is needed, got list.")):
        fuse([nn.ReLU()])

"""A network made for inference gives what the network gives in inference."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import models, nn
from minicnn.fused import Inference, fuse
from minicnn.shapes import ShapeError
from minicnn.testing.strategies import networks, seeds
from tests.arrays import dtypes, impls, untouched, whole_networks
from tests.parity.test_graphs import graphs


def trained(model: nn.Module) -> nn.Module:
    """Give batch norm something to do, as after some training."""
    rng = np.random.default_rng(0)
    for name, array in model.named_buffers():
        if name.endswith("running_mean"):
            array[...] = 0.3 * rng.standard_normal(array.shape)
        elif name.endswith("running_var"):
            array[...] = rng.uniform(0.5, 2, array.shape)
    return model


def assert_same(model: nn.Module, x: np.ndarray) -> nn.Module:
    """Raise unless ``model`` and what is made of it infer the same; return the latter."""
    fast = fuse(model, inference=True)
    expected = model(x)
    with untouched(x):
        y = fast(x)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(y, expected, rtol=0, atol=scale * TOLERANCE[x.dtype.type])
    return fast


TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


@impls
@given(data=st.data(), channels=st.integers(1, 3), n=st.integers(0, 3), seed=seeds)
def test_any_graph(impl: str, data: st.DataObject, channels: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, _, _ = data.draw(graphs(channels, 3, {}, rng))
    x = rng.standard_normal((n, channels, 4, 3))
    if all(m.running_mean is not None for _, m in model.named_modules() if is_norm(m)) or n > 1:
        assert_same(trained(model.set_impl(impl)), x)


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))


@given(drawn=networks())
def test_any_chain(drawn: tuple[nn.Sequential, np.ndarray]) -> None:
    model, x = drawn
    assert_same(trained(model), x)


SMALL = {
    "lenet5": 28, "cnn3": 28, "convnet": 28, "inception_mnist": 28, "resnet20": 8,
    "resnet20-preact": 8, "resnet18": 33, "resnet50": 32, "alexnet": 64, "vgg11": 32,
    "vgg11_bn": 32, "googlenet": 64, "densenet121": 32, "squeezenet1_1": 32,
}  # fmt: skip
FEW = {"vgg11": {"hidden": 20}, "vgg11_bn": {"hidden": 20}}  # not 120 million weights


@whole_networks
@dtypes
@pytest.mark.parametrize("name", SMALL)
def test_networks(name: str, dtype: type) -> None:
    build, options = models.MODELS[name].build, FEW.get(name, {})
    model = trained(build(5, rng=np.random.default_rng(0), **options).astype(dtype))
    c, rng = models.MODELS[name].image[0], np.random.default_rng(1)
    x = rng.standard_normal((3, c, SMALL[name], SMALL[name])).astype(dtype)
    fast = assert_same(model, x)
    for n in (0, 1):  # the same network, other shapes
        np.testing.assert_allclose(fast(x[:n]), fast(x)[:n], rtol=0, atol=TOLERANCE[dtype])


@whole_networks
def test_heads_do_not_run() -> None:
    model = models.googlenet(5, aux_logits=True, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    assert_same(trained(model), x)


def small(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        conv=nn.Conv2d(2, 4, 3, rng=rng, dtype=np.float64),
        norm=nn.BatchNorm2d(4, dtype=np.float64),
        relu=nn.ReLU(),
        flatten=nn.Flatten(),
        fc=nn.Linear(4 * 2 * 3, 5, rng=rng, dtype=np.float64),
    )


def test_it_is_a_snapshot() -> None:
    rng = np.random.default_rng(0)
    model, x = small(rng), rng.standard_normal((2, 2, 4, 5))
    fast, before = fuse(model, inference=True), model(x)
    for array in model._arrays().values():
        array[...] = 1
    np.testing.assert_allclose(fast(x), before, atol=1e-12)


def test_what_is_not_known_is_a_snapshot_too() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.factor = nn.module.Param(np.full(1, 2.0))

        def forward(self, x, *, training):
            return x * self.factor.data, None

    model = nn.Sequential(Scale(), nn.ReLU())
    fast = fuse(model, inference=True)
    model[0].factor.data[...] = 3
    np.testing.assert_array_equal(fast(np.ones((1, 2))), np.full((1, 2), 2.0))


def test_it_does_not_train() -> None:
    fast = minicnn.fuse(small(np.random.default_rng(0)), inference=True)
    assert isinstance(fast, Inference)
    remedy = (
        "needs the network itself; this was made of its weights as they were, and for inference "
        "alone. Use that one, then make another by minicnn.fuse(model, inference=True)."
    )
    with pytest.raises(RuntimeError, match=re.escape(f"Inference: training {remedy}")):
        fast.forward(np.zeros((1, 2, 4, 5)), training=True)
    with pytest.raises(RuntimeError, match=re.escape(f"Inference: backward {remedy}")):
        fast.backward(np.zeros((1, 5)), None)


def test_what_comes_in_is_checked() -> None:
    fast = fuse(small(np.random.default_rng(0)), inference=True)
    with pytest.raises(
        TypeError,
        match=re.escape(
            "Inference: x is float32 but the weights are float64. Use x.astype(np.float64)."
        ),
    ):
        fast(np.zeros((1, 2, 4, 5), np.float32))
    with pytest.raises(TypeError, match="must be a NumPy array"):
        fast([1.0])
    for shape in [(1, 3, 4, 5), (2, 4, 5), (1, 2, 2, 5), (1, 2, 5, 5)]:
        with pytest.raises(ShapeError):
            fast(np.zeros(shape))
    assert fast(np.zeros((1, 2, 4, 5))).shape == (1, 5)


def test_images_may_lie_otherwise_than_the_first() -> None:
    rng = np.random.default_rng(0)
    model = small(rng)
    fast = fuse(model, inference=True)
    for shape in [(2, 2, 4, 5), (2, 2, 5, 4), (1, 2, 3, 8)]:
        x = rng.standard_normal(shape)
        np.testing.assert_allclose(fast(x), model(x), atol=1e-12)
        np.testing.assert_allclose(
            fast(x[::-1, :, :, ::-1]), model(x[::-1, :, :, ::-1]), atol=1e-12
        )


def test_branches_that_do_not_join_are_refused() -> None:
    rng = np.random.default_rng(0)
    model = nn.Concat(nn.Conv2d(2, 3, 1, rng=rng), nn.Conv2d(2, 3, 3, rng=rng))
    with pytest.raises(ShapeError, match=r"only shapes that differ .* the channels"):
        fuse(model, inference=True)(np.zeros((1, 2, 5, 5), np.float32))


def test_its_shapes_are_the_networks() -> None:
    model = small(np.random.default_rng(0))
    fast = fuse(model, inference=True)
    assert fast.output_shape((2, 4, 5)) == (5,)
    assert fast.multiply_adds((2, 4, 5)) == model.multiply_adds((2, 4, 5))
    assert fast.window((2, 4, 5)) == model.window((2, 4, 5))
    assert repr(fast) == "Inference(2 steps)"

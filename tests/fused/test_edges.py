"""Trees and inputs at the edges of what the passes take."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minicnn import models, nn
from minicnn.fused import Inference, fuse
from minicnn.shapes import ShapeError
from tests.arrays import assert_close, compiled, whole_networks
from tests.fused.test_fuse import assert_same


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def stage(c: int = 2) -> list[nn.Module]:
    conv = nn.Conv2d(c, c, 3, padding=1, rng=draw(), dtype=np.float64)
    return [conv, nn.BatchNorm2d(c, dtype=np.float64), nn.ReLU()]


# Residual blocks whose sum stands elsewhere than before one last ReLU.
BLOCKS = {
    "relu before the sum": lambda c: nn.Residual(nn.Sequential(*stage(c))),
    "a stage after the sum": lambda c: nn.Residual(
        nn.Sequential(*stage(c)), None, nn.Sequential(*stage(c))
    ),
    "norm and relu after the sum": lambda c: nn.Residual(
        nn.Sequential(*stage(c), stage(c)[0]), None, nn.Sequential(*stage(c)[1:])
    ),
    "nothing before the sum": lambda c: nn.Residual(
        nn.Sequential(), None, nn.Sequential(*stage(c))
    ),
}


@pytest.mark.parametrize("c", [2, 16])
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_sum_stays_where_it_is(block, c: int) -> None:
    model, x = block(c), draw(1).standard_normal((3, c, 8, 8))
    assert_same(model, x, training=True)
    assert_close(fuse(model, inference=True)(x), model(x), "inference", 1e3)


@whole_networks
def test_a_residual_network_of_textbook_operations_has_its_gradients() -> None:
    model = models.resnet20(5, rng=draw()).astype(np.float64).set_impl("textbook")
    assert_same(model, draw(1).standard_normal((2, 3, 8, 8)), training=True)


@pytest.mark.parametrize("c", [2, 16])
def test_what_comes_back_is_checked(c: int) -> None:
    x = draw().standard_normal((16, c, 12, 12))
    chain = nn.Sequential(*stage(c))
    block = nn.Residual(nn.Sequential(*stage(c)[:2]), activation=nn.ReLU())
    for model in (fuse(chain), fuse(block)):
        y, cache = model.forward(x, training=True)
        with pytest.raises(ShapeError, match="dy must have the shape of the output"):
            model.backward(y[:1], cache)
        with pytest.raises(TypeError, match="dy must be float64 like the output, got float32"):
            model.backward(y.astype(np.float32), cache)


def test_branches_of_different_shapes_do_not_add() -> None:
    shrinking = nn.Conv2d(2, 2, 3, stride=2, padding=1, rng=draw(), dtype=np.float64)
    block = nn.Residual(nn.Sequential(shrinking, *stage()[1:2]), activation=nn.ReLU())
    x = np.ones((2, 2, 8, 8))
    with pytest.raises(ShapeError, match="residual must have the shape of x"):
        fuse(block).forward(x, training=True)
    pooled = nn.Residual(nn.AdaptiveAvgPool2d(1))
    for model in (block, pooled):
        with pytest.raises(ShapeError, match="only equal shapes add"):
            fuse(model, inference=True)(x)


class Casts(nn.Module):
    """Gives the other precision, as no layer of ours does."""

    def forward(self, x, *, training):
        return x.astype(np.float64 if x.dtype == np.float32 else np.float32), None


def test_no_other_precision_gets_into_a_kernel() -> None:
    def conv() -> nn.Conv2d:
        return nn.Conv2d(2, 2, 3, padding=1, rng=draw())

    x = np.ones((1, 2, 5, 5), np.float32)
    for model in (
        nn.Sequential(Casts(), conv()),
        nn.Residual(conv(), Casts()),
        nn.Concat(conv(), Casts()),
        nn.Sequential(nn.Flatten(), Casts(), nn.Linear(50, 3, rng=draw())),
    ):
        with pytest.raises(TypeError, match=re.escape("astype(np.float")):
            fuse(model, inference=True)(x)


def test_batch_norm_is_folded_into_linear_only_where_it_means_the_same_axis() -> None:
    norm = nn.BatchNorm1d(4, dtype=np.float64)
    norm.running_mean[...] = np.arange(4)  # type: ignore[index]
    linear = nn.Linear(5, 4, rng=draw(), dtype=np.float64)
    model = nn.Sequential(linear, norm)
    x = draw(1).standard_normal((2, 4, 5))
    assert_close(fuse(model, inference=True)(x), model(x), "three axes")
    flat = nn.Sequential(nn.Flatten(), linear, norm)
    folded = fuse(flat, inference=True)
    assert isinstance(folded, Inference)
    assert len(folded._steps) == 1
    assert_close(folded(x[:, :1]), flat(x[:, :1]), "two axes")


def test_a_layer_replaced_below_is_noticed() -> None:
    model = nn.Sequential(nn.Sequential(*stage()), nn.ReLU())
    fused = fuse(model)
    x = np.ones((2, 2, 4, 4))
    fused.forward(x, training=True)
    model[0][0].padding = 1  # type: ignore[index]
    fused.forward(x, training=True)
    setattr(model[0], "0", nn.Conv2d(2, 2, 1, rng=draw(), dtype=np.float64))
    with pytest.raises(RuntimeError, match="a layer was replaced after fusing"):
        fused.forward(x, training=True)
    fuse(model).forward(x, training=True)


def test_an_option_that_no_longer_fits_is_noticed() -> None:
    conv = nn.Conv2d(1, 2, 3, rng=draw())
    fused = fuse(nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2)))
    conv.dilation = 2
    with pytest.raises(RuntimeError, match="changed after fusing"):
        fused(np.ones((1, 1, 9, 9), np.float32))


def test_parameters_of_an_inference_network_are_not_to_be_had() -> None:
    network = fuse(nn.Linear(2, 2, rng=draw()), inference=True)
    for ask in (network.parameters, network.state_dict, network.freeze, network.zero_grad):
        with pytest.raises(RuntimeError, match="needs the network itself"):
            ask()


@compiled
def test_what_is_frozen_in_a_band_costs_no_weight_gradient() -> None:
    modules = [m.astype(np.float32) for m in stage(16)]
    model = nn.Sequential(*modules)
    x = draw(1).standard_normal((16, 16, 12, 12)).astype(np.float32)
    gradients = []
    for frozen in (False, True):
        model[0].freeze(frozen)
        y, cache = fuse(model).forward(x, training=True)
        model.zero_grad()
        gradients.append(fuse(model).backward(y, cache))
        assert (model[0].weight.grad == 0).all() == frozen  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*gradients)

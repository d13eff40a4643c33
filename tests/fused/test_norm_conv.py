"""Convolutions between batch norms, band by band, against one layer after the other."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import nn
from minicnn.fused import ConvNormReLU, ResidualConvs, bands, fuse, norm_conv
from minicnn.kernels.simd import lanes_of
from minicnn.kernels.tile import ROWS
from minicnn.ops import batch_norm, conv2d
from minicnn.testing.strategies import seeds
from tests.arrays import assert_close, compiled, dtypes, impls, on_threads
from tests.fused.test_fuse import assert_same, parts, passes

# Enough tiles for Winograd's convolution; sizes that fill them and that do not, an image in one
# band and an image in several.
SIZES = [(9, 13, 16), (33, 5, 7), (130, 4, 3), (2, 60, 35)]


def stages(
    *channels: int, rng: np.random.Generator, bias: bool = False, affine: bool = True
) -> list[nn.Module]:
    """Return 3x3 convolutions with batch norm and ReLU, the numbers of all drawn."""
    modules: list[nn.Module] = []
    for c, o in pairwise(channels):
        norm = nn.BatchNorm2d(o, affine=affine)
        for param in norm.parameters():
            param.data[...] = rng.standard_normal(o)
        assert norm.running_mean is not None
        norm.running_mean[...] = rng.standard_normal(o)
        modules += [nn.Conv2d(c, o, 3, padding=1, bias=bias, rng=rng), norm, nn.ReLU()]
    return modules


def taken(x: np.ndarray, conv: nn.Conv2d) -> bool:
    return bands.suits(x, conv.weight.data, None, conv.stride, conv.padding, conv.dilation, 1)


@compiled
@dtypes
@given(
    size=st.sampled_from(SIZES),
    channels=st.lists(st.sampled_from([16, 32, 48]), min_size=2, max_size=4),
    bias=st.booleans(),
    affine=st.booleans(),
    training=st.booleans(),
    residual=st.booleans(),
    seed=seeds,
)
def test_any_row_of_stages(
    dtype: type,
    size: tuple[int, int, int],
    channels: list[int],
    bias: bool,
    affine: bool,
    training: bool,
    residual: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    channels = [*channels, channels[0]] if residual else channels
    modules = stages(*channels, rng=rng, bias=bias, affine=affine)
    model: nn.Module = nn.Sequential(*modules)
    if residual:
        model = nn.Residual(nn.Sequential(*modules[:-1]), activation=modules[-1])
    n, h, w = size
    x = rng.standard_normal((n, channels[0], h, w)).astype(dtype)
    assert taken(x, modules[0].astype(dtype))  # type: ignore[arg-type]
    # In float32 a number at the kink may fall to either side, and its gradient with it.
    exact = passes(model.astype(np.float64), x.astype(np.float64), training)
    kinds = parts(fuse(model))
    assert kinds.count("ResidualConvs" if residual else "ConvNormReLU") == 1
    if dtype is np.float64:
        assert_same(model, x, training)
        return
    unfused, fused = (passes(m.astype(dtype), x, training) for m in (model, fuse(model)))
    for name, array in exact.items():
        own = np.linalg.norm(fused[name] - array)
        theirs = np.linalg.norm(unfused[name] - array)
        flips = 4 * np.abs(array).max(initial=0)  # a wrong lane would be wrong everywhere
        assert own <= 3 * theirs + 1e-3 * np.linalg.norm(array) + 1e-3 + flips, name


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bands.py take what it can, also where it is not the fastest."""
    monkeypatch.setattr(bands, "suits", lambda *_: True)


FEW = [(1, 4, 4), (2, 5, 6), (5, 5, 1)]  # images of one tile and of several, filled and not


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", FEW)
@pytest.mark.parametrize("residual", [False, True])
def test_few_tiles(residual: bool, size: tuple[int, int, int], training: bool) -> None:
    """So few that it is done in a moment without a compiler too."""
    rng, dtype = np.random.default_rng(0), np.dtype(np.float64)
    c = max(ROWS, lanes_of(dtype))
    channels = (c, 2 * c, c) if residual else (c, c, 2 * c)
    modules = stages(*channels, rng=rng, bias=not residual)
    model: nn.Module = nn.Sequential(*modules)
    if residual:
        model = nn.Residual(nn.Sequential(*modules[:-1]), activation=modules[-1])
    x = rng.standard_normal((size[0], c, *size[1:]))
    assert_same(model.astype(dtype), x, training)
    modules[0].freeze()
    assert_same(model, x, training)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("learns", [True, False])
def test_few_tiles_that_begin_with_a_norm(learns: bool) -> None:
    """The norm before is only prepared; its sums come back with the gradient."""
    rng = np.random.default_rng(1)
    c = max(ROWS, lanes_of(np.dtype(np.float64)))
    x, weight = rng.standard_normal((2, c, 5, 6)), rng.standard_normal((c, c, 3, 3))
    scale, shift = rng.standard_normal((2, c))
    found = {}
    for impl in ("fast", "textbook"):
        before = norm_conv.Before(
            *batch_norm.prepare(x, scale, shift, None, None, True, 0.1, 1e-5, impl=impl)
        )
        y, statistics, cache = norm_conv.forward(x, before, weight, padding=1, impl=impl)
        g = np.random.default_rng(2).standard_normal(y.shape)
        norm, _ = batch_norm.prepare(y, None, None, None, None, True, 0.1, 1e-5, impl=impl)
        centered = y - y.mean((0, 2, 3), keepdims=True)
        sums = (g * centered).sum((0, 2, 3)) * norm.inverse_std, g.sum((0, 2, 3))
        after = norm_conv.After(norm, *sums)
        dx, dweight, _, last = norm_conv.backward(g, after, cache, param_grad=learns, impl=impl)
        assert (cache.steps is None) == (impl == "fast")
        less = norm_conv.backward(
            g, after, cache, input_grad=False, param_grad=learns, impl=impl
        )  # fmt: skip
        assert less.dx is None or impl == "fast"  # the bands give it in any case
        np.testing.assert_array_equal(less.dweight, dweight)
        assert (dweight is not None) == learns
        assert last is not None
        found[impl] = {"y": y, "dx": dx, "dnorm": last.dweight, "dshift": last.dbias}
        if dweight is not None:
            found[impl]["dweight"] = dweight
        if statistics:
            np.testing.assert_allclose(statistics[0], y.mean((0, 2, 3)), atol=1e-12)
            np.testing.assert_allclose(statistics[1], y.var((0, 2, 3)), rtol=1e-12)
    for name, array in found["textbook"].items():
        assert_close(found["fast"][name], array, name)


@compiled
@dtypes
def test_a_large_mean_costs_no_digits(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 16, 13, 16)).astype(dtype)
    weight = 0.01 * rng.standard_normal((32, 16, 3, 3)).astype(dtype)
    y, statistics, _ = norm_conv.forward(x, None, weight, np.full(32, 1e3, dtype), padding=1)
    assert statistics is not None
    mean, var = statistics
    np.testing.assert_allclose(mean, y.mean((0, 2, 3), dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(var, y.var((0, 2, 3), dtype=np.float64), rtol=1e-5)


@compiled
def test_a_large_mean_is_taken_away_where_x_is_read() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((9, 16, 13, 16)) + 12345.678).astype(np.float32)
    weight = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    before = norm_conv.Before(
        *batch_norm.prepare(x, None, None, None, None, True, 0.1, 1e-5, impl="fast")
    )
    y, statistics, _ = norm_conv.forward(x, before, weight, padding=1)
    assert statistics is not None
    z, _ = batch_norm.forward(x.astype(np.float64), training=True, impl="textbook")
    expected, _ = conv2d.forward(np.maximum(z, 0), weight.astype(np.float64), padding=1)
    assert_close(y, expected.astype(np.float32), "y")


@compiled
@dtypes
def test_the_number_of_threads_changes_no_bit(dtype: type) -> None:
    rng = np.random.default_rng(3)
    model = fuse(nn.Sequential(*stages(16, 32, 16, rng=rng)).astype(dtype))
    x = rng.standard_normal((33, 16, 9, 8)).astype(dtype)
    found = []
    for count in {1, numba.get_num_threads()}:
        with on_threads(count):
            found.append(passes(model, x, True))
    for name, array in found[0].items():
        if "running" not in name and "tracked" not in name:
            np.testing.assert_array_equal(found[-1][name], array, err_msg=name)


@compiled
def test_nan_is_not_swallowed() -> None:
    rng = np.random.default_rng(4)
    model = fuse(nn.Sequential(*stages(16, 16, 16, rng=rng)))
    x = rng.standard_normal((9, 16, 13, 16)).astype(np.float32)
    x[3, 2, 5, 5] = np.nan
    y, _ = model.forward(x, training=True)
    assert np.isnan(y).all()
    clean = np.isfinite(model(x)).all(axis=(1, 2, 3))
    assert not clean[3]


@compiled
def test_what_is_frozen_gets_no_gradient() -> None:
    rng = np.random.default_rng(5)
    modules = stages(16, 32, 16, 16, rng=rng)
    modules[0].freeze()
    modules[1].freeze()
    modules[4].freeze()
    x = rng.standard_normal((9, 16, 13, 16))
    assert_same(nn.Sequential(*modules).astype(np.float64), x, True)
    model = fuse(nn.Sequential(*modules))
    model.zero_grad()
    y, cache = model.forward(x, training=True)
    assert model.backward(y, cache, input_grad=False) is None
    grads = {name: np.abs(param.grad).max() for name, param in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad == 0] == [
        "0.weight", "1.weight", "1.bias", "4.weight", "4.bias",
    ]  # fmt: skip


@impls
def test_other_shapes_go_one_operation_after_the_other(impl: str) -> None:
    rng = np.random.default_rng(6)
    first = nn.Conv2d(3, 4, 3, 2, rng=rng)
    second = nn.Conv2d(4, 5, (1, 2), groups=1, rng=rng)
    model = nn.Sequential(
        first, nn.BatchNorm2d(4), nn.ReLU(), second, nn.BatchNorm2d(5, affine=False), nn.ReLU()
    ).set_impl(impl)
    x = rng.standard_normal((3, 3, 7, 9))
    assert not taken(x, first)
    for training in (True, False):
        fused = assert_same(model.astype(np.float64), x, training)
        assert isinstance(fused._fused[0], ConvNormReLU)


def test_a_residual_block_of_stages_is_one_module() -> None:
    rng = np.random.default_rng(7)
    *main, relu = stages(3, 4, 3, rng=rng)
    block = nn.Residual(nn.Sequential(*main), activation=relu)
    assert isinstance(fuse(block), ResidualConvs)
    x = rng.standard_normal((2, 3, 5, 6))
    assert_same(block.astype(np.float64), x, True)
    assert_same(block.astype(np.float64), x, False)


def test_errors_are_those_of_the_convolution() -> None:
    rng = np.random.default_rng(8)
    model = fuse(nn.Sequential(*stages(3, 4, rng=rng)))
    with pytest.raises(ValueError, match="conv2d: x has 2 channels"):
        model(np.zeros((2, 2, 5, 5), np.float32))

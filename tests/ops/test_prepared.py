"""A convolution made for inference against the convolution, and what follows it, one by one."""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels.epilogue import finish, greatest
from minicnn.ops import conv2d, max_pool2d
from minicnn.shapes import ShapeError
from minicnn.testing.strategies import calls, seeds
from minicnn.windows import pool_windows
from tests.arrays import assert_close, compiled, dtypes, on_threads, untouched

POOLS = [(1, 1), (2, None), (2, 1), (3, 2), ((1, 2), (2, 1))]


def followed(y, added, pool, floor):
    """Return what is to come out, operation by operation."""
    if added is not None:
        y = y + added
    if pool is not None:
        y, _ = max_pool2d.forward(y, *pool, ceil_mode=True, impl="textbook")
    return np.where(y < floor, y.dtype.type(floor), y)


@given(
    call=calls.conv2d(),
    pool=st.none() | st.sampled_from(POOLS),
    relu=st.booleans(),
    adds=st.booleans(),
    seed=seeds,
)
def test_equals_one_operation_after_the_other(call, pool, relu, adds, seed) -> None:
    x, weight, bias = call.arrays
    y, _ = call.forward("textbook")
    if pool is not None and min(y.shape[2:]) < 3:
        pool = (1, 1)
    rng, floor = np.random.default_rng(seed), 0.0 if relu else -math.inf
    added = rng.standard_normal(y.shape).astype(y.dtype) if adds and pool is None else None
    run = conv2d.prepare(
        weight, bias, **call.options, floor=floor,
        pool=pool and (lambda image: pool_windows("pool", image, *pool, ceil_mode=True)),
    )  # fmt: skip
    expected = followed(y, added, pool, floor)
    with untouched(x, weight, bias, added):
        got = run(x, added)
    assert got.dtype == x.dtype
    assert run.output_shape(x.shape) == expected.shape
    assert_close(got, expected, "y", 100)
    # into some channels of a larger array, and nowhere else
    n, o, oh, ow = expected.shape
    whole = np.full((n, oh, ow, o + 5), 7, x.dtype)
    run(x, added, (whole, 2))
    assert_close(whole[..., 2 : 2 + o].transpose(0, 3, 1, 2), expected, "part", 100)
    assert (whole[..., :2] == 7).all()
    assert (whole[..., 2 + o :] == 7).all()


# Of each way that the work is cut: tasks of a few images, of pixels, of panels, panels of a padded
# image, blocks of a pool, several pixels as one, Winograd of few and of many tiles, many blocks.
SHAPES = [
    # n, c, o, h, w, k, stride, padding, pool
    (40, 1, 6, 12, 12, 5, 1, 0, (2,)),
    (3, 3, 6, 12, 13, 5, 1, 2, None),
    (1, 3, 20, 47, 45, 7, 2, 3, (3, 2, 1)),
    (1, 3, 40, 90, 70, 3, 2, 0, (2,)),
    (1, 600, 70, 5, 4, 3, 2, 1, None),
    (1, 300, 100, 3, 7, 3, 1, 1, None),
    (2, 130, 300, 3, 3, 3, 2, 1, None),
    (9, 700, 500, 1, 1, 1, 1, 0, None),
    (1, 17, 40, 14, 15, 3, 1, 1, None),
    (1, 16, 100, 22, 23, 3, 1, 2, None),
    (5, 32, 16, 22, 23, 3, 1, 0, None),
]


@compiled
@dtypes
@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_to_cut_it(shape, dtype: type) -> None:
    n, c, o, h, w, k, stride, padding, pool = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, c, h, w)).astype(dtype)
    weight = (rng.standard_normal((o, c, k, k)) / math.sqrt(c * k * k)).astype(dtype)
    bias = rng.standard_normal(o).astype(dtype)
    y, _ = conv2d.forward(x, weight, bias, stride, padding, impl="textbook")
    added = None if pool else rng.standard_normal(y.shape).astype(dtype)
    windows = pool and (lambda image: pool_windows("pool", image, *pool, ceil_mode=True))
    run = conv2d.prepare(weight, bias, stride, padding, floor=0, pool=windows)
    expected = followed(y, added, pool, 0)
    with on_threads(numba.config.NUMBA_NUM_THREADS):
        got = run(x, added)
    assert_close(got, expected, "y", 10)
    with on_threads(1):
        np.testing.assert_array_equal(run(x, added), got)


def test_weights_are_those_of_before() -> None:
    weight, bias = np.ones((2, 3, 3, 3)), np.zeros(2)
    run, x = conv2d.prepare(weight, bias), np.ones((1, 3, 5, 4))
    weight[...], bias[...] = 5, 5
    np.testing.assert_array_equal(run(x), np.full((1, 2, 3, 2), 27))


def test_without_winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (64, 64, 3, 3)
    assert conv2d.may_take_winograd(shape, 1, 1, 1)
    assert not conv2d.may_take_winograd(shape, 2, 1, 1)
    assert not conv2d.may_take_winograd((8, 64, 3, 3), 1, 1, 1)
    monkeypatch.setattr(conv2d, "WINOGRAD", False)
    assert not conv2d.may_take_winograd(shape, 1, 1, 1)
    assert not conv2d.prepare(np.zeros(shape)).transform


@pytest.mark.parametrize("pool", [None, 2])
def test_nan_passes(pool: int | None) -> None:
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 0, 0] = np.nan
    windows = pool and (lambda image: pool_windows("pool", image, pool))
    y = conv2d.prepare(np.ones((20, 1, 1, 1)), floor=0, pool=windows)(x)
    assert np.isnan(y[0, :, 0, 0]).all()
    assert np.isnan(y).sum() == 20
    few = conv2d.prepare(np.ones((1, 1, 1, 1)), floor=0, pool=windows)(x)
    assert np.isnan(few[0, :, 0, 0]).all()
    assert not np.isnan(few[:, :, 1:]).any()


def test_errors() -> None:
    run = conv2d.prepare(np.zeros((4, 3, 3, 3)))
    with pytest.raises(
        ShapeError,
        match=re.escape("conv2d: x must have shape (n, 3, h, w), got (1, 2, 5, 5)."),
    ):
        run(np.zeros((1, 2, 5, 5)))
    with pytest.raises(
        ShapeError,
        match=re.escape(
            "conv2d: the convolution gives (1, 4, 3, 3), what is added to it has shape "
            "(1, 4, 3, 1); only equal shapes add."
        ),
    ):
        run(np.zeros((1, 3, 5, 5)), np.zeros((1, 4, 3, 1)))


# ------------------------------------------------------------------------------ the vector code


@dtypes
@given(count=st.integers(0, 40), adds=st.booleans(), low=st.sampled_from([0.0, -math.inf]))
def test_finish(dtype: type, count: int, adds: bool, low: float) -> None:
    rng = np.random.default_rng(count)
    sums, added = rng.standard_normal((2, count + 3)).astype(dtype)
    sums[: count // 2] = np.nan
    added = added if adds else added[:0]
    own, theirs = np.full((2, count + 9), 7, dtype)
    _call_finish(sums, 3, added, 3 if adds else 0, dtype(low), own, 4, count)
    z = sums[3:] + added[3:] if adds else sums[3:]
    theirs[4 : 4 + count] = np.maximum(z, dtype(low))  # of which NaN stays NaN
    np.testing.assert_array_equal(own, theirs)


@dtypes
@given(count=st.integers(0, 40), rows=st.integers(0, 3), taps=st.integers(0, 3))
def test_greatest(dtype: type, count: int, rows: int, taps: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.standard_normal(400).astype(dtype)
    x[rng.integers(0, 400, 20)] = np.nan
    columns = np.array([5, 0, 50, 7])
    own, theirs = np.full((2, count + 9), 7, dtype)
    _call_greatest(x, (2, 101, rows, columns, 1, 1 + taps), dtype(0), own, 4, count)
    seen = [x[2 + i * 101 + columns[j] :][:count] for i in range(rows) for j in range(1, 1 + taps)]
    theirs[4 : 4 + count] = np.max([np.zeros(count), *seen], axis=0)
    np.testing.assert_array_equal(own, theirs)


@numba.njit
def _call_finish(sums, s0, added, a0, low, y, y0, count):
    finish(sums, s0, added, a0, low, y, y0, count)


@numba.njit
def _call_greatest(x, window, low, y, y0, count):
    greatest(x, window, low, y, y0, count)

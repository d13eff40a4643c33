"""Convolution against loops over its definition, and what is special to the direct algorithm."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import conv_direct as direct
from minicnn.kernels import conv_few_channels as narrow
from minicnn.kernels import conv_plan, panels, tile, tile_at_steps, winograd_weights
from minicnn.kernels import conv_winograd as winograd
from minicnn.kernels.simd import ONE, TWO, lanes_of
from minicnn.kernels.tile import Left, Right, Sums
from minicnn.kernels.tile_at_steps import EvenLeft, EvenSums
from minicnn.ops import conv2d
from minicnn.testing.strategies import WIDE, calls, fills, seeds
from minicnn.testing.strategies import geometry as geo
from minicnn.windows import Windows, conv_windows
from tests.arrays import assert_close, compiled, dtypes, large, sizes_of_terms

impls = pytest.mark.parametrize("impl", ["fast", "textbook", "direct"])  # those for any geometry

# ------------------------------------------------------------------------------ the definition


def terms(x: np.ndarray, weight: np.ndarray, g: Windows, groups: int) -> Iterator[tuple]:
    """Yield the indices into y, weight and x of every product in the definition."""
    o, per_group = weight.shape[:2]
    for n, out, i, j in itertools.product(*map(range, (x.shape[0], o, g.oh, g.ow))):
        first = out // (o // groups) * per_group
        for c, r, s in itertools.product(range(per_group), range(g.kh), range(g.kw)):
            p, q = i * g.sh + r * g.dh - g.top, j * g.sw + s * g.dw - g.left
            if 0 <= p < g.h and 0 <= q < g.w:
                yield (n, out, i, j), (out, c, r, s), (n, first + c, p, q)


@st.composite
def tiny(draw: st.DrawFn) -> calls.Call:
    """Draw few channels and one or two images: the loops are slow."""
    drawn, fill = draw(geo.conv_geometries(WIDE)), draw(fills(("normal", "ties")))
    groups, inward, outward = draw(st.tuples(*[st.integers(1, 2)] * 3))
    x = fill(draw(st.integers(1, 2)), groups * inward, *drawn.image)
    weight = fill(groups * outward, inward, *drawn.kernel)
    options = drawn.options("stride", "padding", "dilation") | {"groups": groups}
    return calls.Call("conv2d", fill, (x, weight, fill(groups * outward)), options, 3)


@impls
@given(call=tiny())
def test_equals_loops_over_the_definition(impl: str, call: calls.Call) -> None:
    x, weight, bias = (a.astype(np.float64) for a in call.arrays)
    options = dict(call.options)
    groups = options.pop("groups")
    g = conv_windows("conv2d", x.shape[2:], weight.shape[2:], **options)
    y, cache = call.forward(impl)
    dy = call.fill.upstream(y.shape)
    dx, dweight, dbias = call.backward(dy, cache, impl)
    sums = [np.zeros(a.shape) for a in (y, x, weight)]
    for at_y, at_w, at_x in terms(x, weight, g, groups):
        sums[0][at_y] += weight[at_w] * x[at_x]
        sums[1][at_x] += weight[at_w] * dy[at_y]
        sums[2][at_w] += x[at_x] * dy[at_y]
    assert_close(y, sums[0] + bias[:, None, None], "y", 100)
    assert_close(dx, sums[1], "dx", 100)
    assert_close(dweight, sums[2], "dweight", 100)
    assert_close(dbias, np.array([dy[:, o].sum() for o in range(bias.size)]), "dbias", 100)


@impls
def test_a_pixel_that_no_window_reaches_moves_nothing(impl: str) -> None:
    x = np.ones((1, 2, 5, 5))
    x[:, :, 4, :] = x[:, :, :, 4] = np.nan  # two windows of two: the fifth is left over
    y, cache = conv2d.forward(x, np.ones((3, 2, 2, 2)), stride=2, impl=impl)
    dx, dweight, _ = conv2d.backward(np.ones_like(y), cache, impl=impl)
    np.testing.assert_array_equal(y, np.full((1, 3, 2, 2), 8.0))
    np.testing.assert_array_equal(dweight, np.full((3, 2, 2, 2), 4.0))
    np.testing.assert_array_equal(dx, np.where(np.isnan(x), 0, 3))


# ------------------------------------------------------- sizes at which the fast side cuts work


def both_ways(x: np.ndarray, weight: np.ndarray, **options: Any) -> Iterator[tuple]:
    """Yield each result of the two implementations."""
    results = []
    for impl in ("direct", "textbook"):
        y, cache = conv2d.forward(x, weight, **options, impl=impl)
        results.append((y, *conv2d.backward(np.sin(y), cache, impl=impl)[:2]))
    return zip(*results, strict=True)


@dtypes
@pytest.mark.parametrize("n", [7, 8, 17, 40])
@pytest.mark.parametrize("stride", [1, 2])
def test_small_images_that_are_taken_together(n: int, stride: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 5, 7, 6)).astype(dtype)
    weight = rng.standard_normal((19, 5, 3, 3)).astype(dtype)
    assert n < 16 or conv_plan.images_at_once(n, 7 * 6) > 1
    for ours, formula in both_ways(x, weight, padding=1, stride=stride):
        assert_close(ours, formula, f"{n} images", 300)


@dtypes
def test_more_taps_than_a_block_and_more_channels_than_a_panel(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 70, 6, 5)), rng.standard_normal((75, 70, 3, 3))
    assert 2 * direct.COLUMNS < 9 * 70
    for ours, formula in both_ways(x.astype(dtype), weight.astype(dtype), padding=1):
        assert_close(ours, formula, "blocks", 300)


@large
@pytest.mark.parametrize(("n", "side"), [(1, 90), (2, 64)])
def test_images_so_large_that_they_are_cut(n: int, side: int) -> None:
    rng = np.random.default_rng(side)
    x, weight = rng.standard_normal((n, 32, side, side)), rng.standard_normal((4, 32, 3, 3))
    for stride in (1, 3):
        for ours, formula in both_ways(x, weight, padding=2, stride=stride, dilation=2):
            assert_close(ours, formula, f"stride {stride}", 3000)


@dtypes
@pytest.mark.parametrize("side", [15, 16, 17, 33])
def test_more_pixels_than_the_weight_gradient_takes_at_a_time(side: int, dtype: type) -> None:
    rng = np.random.default_rng(side)
    x = rng.standard_normal((3, 2, side, side)).astype(dtype)
    weight = rng.standard_normal((4, 2, 1, 1)).astype(dtype)
    assert 15 * 15 < direct.GROUP <= 16 * 16
    for ours, formula in both_ways(x, weight):
        assert_close(ours, formula, f"side {side}", 10 * side)


@large
@pytest.mark.parametrize(("o", "c"), [(2048, 1200), (2900, 2900)])
def test_weights_so_large_that_fewer_sums_are_kept(o: int, c: int) -> None:
    rng = np.random.default_rng(o)
    x, dy = (rng.standard_normal((9, size)).astype(np.float32) for size in (c, o))
    weight = np.zeros((o, c, 1, 1), np.float32)
    _, cache = conv2d.forward(x[:, :, None, None], weight)
    _, dweight, dbias = conv2d.backward(dy[:, :, None, None], cache, input_grad=False)
    assert dbias is None
    assert_close(dweight[:, :, 0, 0], dy.T.astype(np.float64) @ x, f"{o} x {c}")


@dtypes
@pytest.mark.parametrize("n", [1, 3])
def test_the_same_call_gives_the_same_bits_each_time(n: int, dtype: type) -> None:
    """A single image is cut into pieces that run at once: none may disturb another's sums."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 1, 6, 5)).astype(dtype)
    weight, bias = rng.standard_normal((3, 1, 3, 1)).astype(dtype), np.ones(3, dtype)
    y, cache = conv2d.forward(x, weight, bias)
    dy = rng.standard_normal(y.shape).astype(dtype)
    results = {tuple(array.tobytes() for array in conv2d.backward(dy, cache)) for _ in range(300)}
    assert len(results) == 1


# -------------------------------------------------------------------------- the tile of registers


@numba.njit
def run_tile(c, c0, places, start, fresh, a, rows, row, last, cols, k0, count, b, bs, two):
    """The tile where each array but c is read from index 1 on."""
    sums, left = Sums(c, c0, places, start, 1, fresh), Left(a, 1, rows, cols, k0, count)
    if two:
        tile.run_tile(sums, left, Right(b, 1, bs), row, last, TWO)
    else:
        tile.run_tile(sums, left, Right(b, 1, bs), row, last, ONE)


@dtypes
@pytest.mark.parametrize("two", [False, True])
def test_a_tile_computes_its_rows_and_writes_nothing_else(two: bool, dtype: type) -> None:
    rng = np.random.default_rng(two)
    lanes = (1 + two) * lanes_of(np.dtype(dtype))
    for count, fresh, last in itertools.product((0, 1, 7), (False, True), (20, 3, 9)):
        # Small integers, so that a sum is exact in whatever order and however it is rounded.
        c, start, a, b = (rng.integers(-9, 9, 2000).astype(dtype) for _ in range(4))
        rows, cols = rng.integers(0, 500, 30), rng.integers(0, 500, 30)
        places = rng.permutation(30) * (lanes + 3)
        c0, row, k0 = rng.integers(0, 4, 3).tolist()
        bs = lanes + 7
        expected = c.copy()
        for p in range(row, min(row + tile.ROWS, last + 1)):
            own = expected[c0 + places[p] : c0 + places[p] + lanes]
            if fresh:
                own[:] = start[1 : 1 + lanes]
            for k in range(count):
                own += a[1 + rows[p] + cols[k0 + k]] * b[1 + k * bs : 1 + k * bs + lanes]
        run_tile(c, c0, places, start, fresh, a, rows, row, last, cols, k0, count, b, bs, two)
        np.testing.assert_array_equal(c, expected)


@numba.njit
def run_tile_at_steps(sums, start, fresh, left, right, row, last, count, two):
    if fresh and two:
        tile_at_steps.fresh(sums, start, 1, left, right, row, last, count, TWO)
    elif fresh:
        tile_at_steps.fresh(sums, start, 1, left, right, row, last, count, ONE)
    elif two:
        tile_at_steps.more(sums, left, right, row, last, count, TWO)
    else:
        tile_at_steps.more(sums, left, right, row, last, count, ONE)


@dtypes
@pytest.mark.parametrize("two", [False, True])
def test_a_tile_at_steps_computes_its_rows_and_writes_nothing_else(two: bool, dtype: type) -> None:
    rng = np.random.default_rng(two)
    lanes = (1 + two) * lanes_of(np.dtype(dtype))
    for count, fresh, last in itertools.product((0, 1, 7), (False, True), (20, 4, 2)):
        c, start, a, b = (rng.integers(-9, 9, 2000).astype(dtype) for _ in range(4))
        (ar, ak), bk, expected = rng.integers(1, 50, 2).tolist(), lanes + 5, c.copy()
        row = int(rng.integers(0, 3))
        for p in range(row, min(row + tile.ROWS, last + 1)):
            own = expected[2 + 40 * p :][:lanes]
            if fresh:
                own[:] = start[1 : 1 + lanes]
            for k in range(count):
                own += a[3 + p * ar + k * ak] * b[1 + k * bk :][:lanes]
        sums, left = EvenSums(c, 2, 40), EvenLeft(a, 3, ar, ak)
        run_tile_at_steps(sums, start, fresh, left, Right(b, 1, bk), row, last, count, two)
        np.testing.assert_array_equal(c, expected)


# ------------------------------------------------------------- nothing is written out of bounds

GUARD = 64  # elements on either side of every array


class GuardedNumpy(SimpleNamespace):
    """NumPy, but what ``empty`` and ``zeros`` return lies between two bands of NaN."""

    def __init__(self) -> None:
        super().__init__(bases=[])

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def guarded(self, array: np.ndarray) -> np.ndarray:
        """Return a copy of ``array``, contiguous, between two bands of NaN."""
        base = np.full(array.size + 2 * GUARD, np.nan, array.dtype)
        self.bases.append(base)
        inside = base[GUARD:-GUARD].reshape(array.shape)
        inside[...] = array
        return inside

    def empty(self, shape: Any, dtype: Any = float) -> np.ndarray:
        return self.guarded(np.full(shape, np.nan, dtype))

    def zeros(self, shape: Any, dtype: Any = float) -> np.ndarray:
        return self.guarded(np.zeros(shape, dtype))

    def assert_untouched(self) -> None:
        for base in self.bases:
            bands = np.concatenate([base[:GUARD], base[-GUARD:]])
            assert np.isnan(bands).all(), "a kernel has written out of bounds"


@contextmanager
def guarded_numpy() -> Iterator[GuardedNumpy]:
    guarded = GuardedNumpy()
    with pytest.MonkeyPatch.context() as patch:
        for module in (direct, narrow, panels, winograd, winograd_weights):
            patch.setattr(module, "np", guarded)
        yield guarded
    guarded.assert_untouched()


@pytest.fixture(scope="module")
def _compiled_before() -> None:
    """Kernels that are compiled while NumPy is replaced would not find it."""
    for dtype in (np.float32, np.float64):
        x = np.ones((1, 1, 3, 3), dtype)
        for impl in ("direct", "winograd"):
            y, cache = conv2d.forward(x, x, np.ones(1, dtype), impl=impl)
            conv2d.backward(y, cache, impl=impl)


@compiled
@pytest.mark.usefixtures("_compiled_before")
@given(call=calls.conv2d(WIDE))
def test_memory_around_every_array_stays_untouched(call: calls.Call) -> None:
    check_memory(call, "direct")


@st.composite
def three_by_three(draw: st.DrawFn) -> calls.Call:
    fill, channels = draw(fills(("normal", "ties"))), st.integers(1, 40)
    n, c, o = draw(st.integers(0, 9)), draw(channels), draw(channels)
    x = fill(n, c, draw(st.integers(3, 11)), draw(st.integers(3, 11)))
    bias = fill(o) if draw(st.booleans()) else None
    options = {"padding": draw(st.integers(0, 3)), "stride": 1, "dilation": 1, "groups": 1}
    return calls.Call("conv2d", fill, (x, fill(o, c, 3, 3), bias), options, 3)


@compiled
@pytest.mark.usefixtures("_compiled_before")
@given(call=three_by_three())
def test_so_it_does_with_winograd(call: calls.Call) -> None:
    check_memory(call, "winograd")


def check_memory(call: calls.Call, impl: str) -> None:
    expected, cache = call.forward("textbook")
    dy = call.fill.upstream(expected.shape)
    gradients = call.backward(dy, cache, "textbook")
    scales = sizes_of_terms(call)
    with guarded_numpy() as memory:
        x, weight, dy = (
            np.moveaxis(memory.guarded(np.moveaxis(a, 1, -1)), -1, 1)
            for a in (call.arrays[0], call.arrays[1], dy)
        )
        bias = None if call.arrays[2] is None else memory.guarded(call.arrays[2])
        y, cache = conv2d.forward(x, weight, bias, **call.options, impl=impl)
        ours = conv2d.backward(dy, cache, impl=impl)
    assert len(memory.bases) >= 10
    for array, other, scale in zip((y, *ours), (expected, *gradients), scales, strict=True):
        if other is not None:  # what was read out of bounds would show as NaN
            assert_close(array, other, str(call), scale)


@numba.njit
def product(*args):
    tile.product(*args)


@compiled
@given(
    dtype=st.sampled_from([np.float32, np.float64]),
    width=st.integers(1, 40),
    tiles=st.integers(1, 3),
    count=st.integers(0, 5),
    seed=seeds,
)
def test_the_product_writes_only_its_rows(
    dtype: type, width: int, tiles: int, count: int, seed: int
) -> None:
    """Every array is as large as the kernel was promised, to the element."""
    memory, rng = GuardedNumpy(), np.random.default_rng(seed)
    wide, pixels = width > 20, tiles * tile.ROWS - width % tile.ROWS
    lanes = lanes_of(np.dtype(dtype)) * (2 if wide else 1)
    out = memory.empty(pixels * lanes, dtype)
    image = memory.guarded(rng.integers(-9, 9, 50).astype(dtype))
    bias = memory.guarded(rng.integers(-9, 9, lanes).astype(dtype))
    weights = memory.guarded(rng.integers(-9, 9, count * lanes).astype(dtype))
    rows, cols = rng.integers(0, 25, pixels), rng.integers(0, 25, max(count, 1))
    places = np.arange(pixels) * lanes
    sums, left = Sums(out, 0, places, bias, 0, True), Left(image, 0, rows, cols, 0, count)
    product(sums, left, Right(weights, 0, lanes), 0, pixels, wide)
    memory.assert_untouched()
    expected = bias + image[rows[:, None] + cols[:count]] @ weights.reshape(count, lanes)
    np.testing.assert_array_equal(out.reshape(pixels, lanes), expected)


def test_the_guard_bands_notice_a_stray_write() -> None:
    memory = GuardedNumpy()
    inside = memory.zeros((2, 3), np.float32)
    memory.assert_untouched()
    np.lib.stride_tricks.as_strided(inside, (7,), (4,))[6] = 0
    with pytest.raises(AssertionError, match="out of bounds"):
        memory.assert_untouched()

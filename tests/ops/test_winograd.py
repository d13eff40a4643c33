"""Winograd's convolution: the derivation, every size, its error, and where it may be used."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError
from minicnn.kernels import winograd_transforms as transforms
from minicnn.kernels.simd import lanes_of
from minicnn.kernels.simd_rows import Patch
from minicnn.ops import conv2d
from minicnn.ops.conv2d import textbook
from minicnn.ops.conv2d import winograd as formula
from minicnn.testing.strategies import seeds
from minicnn.windows import conv_windows
from tests.arrays import assert_close, assert_threads_change_no_bit, compiled, dtypes

# ------------------------------------------------------------------------------- the derivation


def test_four_outputs_from_six_products() -> None:
    rng = np.random.default_rng(0)
    d, u = rng.standard_normal(6), rng.standard_normal(3)
    y = transforms.AT @ ((transforms.G @ u) * (transforms.BT @ d))
    np.testing.assert_allclose(y, np.correlate(d, u), rtol=1e-12)


def test_the_transformations_by_hand_are_the_matrices() -> None:
    for lines, matrix in (
        (transforms.inputs, transforms.BT),
        (transforms.outputs, transforms.AT),
        (transforms.gradients, transforms.AT.T),
    ):
        np.testing.assert_allclose(lines(np.eye(matrix.shape[1])), matrix, rtol=0, atol=1e-14)


def test_a_bias_at_the_frequencies_is_a_bias_on_the_tile() -> None:
    tile = transforms.AT @ transforms.ONES.reshape(6, 6) @ transforms.AT.T
    np.testing.assert_allclose(tile, np.ones((4, 4)), rtol=1e-13)


@dtypes
@pytest.mark.parametrize("name", ["inputs", "outputs", "gradients"])
def test_a_patch_is_transformed_in_both_directions_with_zeros_outside(
    name: str, dtype: type
) -> None:
    transform, matrix = {
        "inputs": (transforms.transform_inputs, transforms.BT),
        "outputs": (transforms.transform_outputs, transforms.AT),
        "gradients": (transforms.transform_gradients, transforms.AT.T),
    }[name]
    side, lanes = matrix.shape[1], lanes_of(np.dtype(dtype))

    @numba.njit
    def run(x, patch, y, place):
        transform(x, patch, y, place)

    rng = np.random.default_rng(side)
    for top, bottom, left, right in ((0, 6, 0, 6), (-3, 9, 2, 4), (1, 3, -1, 2), (3, 4, 6, 7)):
        x, y = (rng.standard_normal(50 * lanes).astype(dtype) for _ in range(2))
        got = y.copy()
        run(x, Patch(3, 6 * lanes, lanes, top, bottom, left, right), got, (2, 6 * lanes, lanes))
        square = np.zeros((side, side, lanes))
        for i, j in np.ndindex(side, side):
            if top <= i < bottom and left <= j < right:
                square[i, j] = x[3 + (6 * i + j) * lanes :][:lanes]
        for i, j in np.ndindex(len(matrix), len(matrix)):
            there = slice(2 + (6 * i + j) * lanes, 2 + (6 * i + j + 1) * lanes)
            y[there] = np.einsum("p,q,pql->l", matrix[i], matrix[j], square)
        np.testing.assert_allclose(got, y, atol=2e-5 if dtype == np.float32 else 1e-13)


# ------------------------------------------------------------------------------------ every size


class Case(NamedTuple):
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    padding: Any


@st.composite
def cases(draw: st.DrawFn, dtype: type = np.float64, least: int = 0) -> Case:
    """Draw any size: images that fill tiles and that do not, channels that fill vectors or not."""
    channels = st.integers(1, 20) | st.sampled_from([16, 31, 32, 33, 48, 64, 70])
    n, c, o = draw(st.integers(least, 9)), draw(channels), draw(channels)
    padding = draw(st.sampled_from([1, 0, 2, 3, 5, (0, 3), (2, 1), "same", "valid"]))
    h, w = draw(st.integers(3, 13)), draw(st.integers(3, 13))
    rng = np.random.default_rng(draw(seeds))
    x, weight = rng.standard_normal((n, c, h, w)), rng.standard_normal((o, c, 3, 3))
    bias = rng.standard_normal(o).astype(dtype) if draw(st.booleans()) else None
    return Case(x.astype(dtype), weight.astype(dtype), bias, padding)


def passes(case: Case, impl: str) -> tuple[np.ndarray, ...]:
    """Return y, dx, dweight and dbias, if there is one."""
    y, cache = conv2d.forward(case.x, case.weight, case.bias, padding=case.padding, impl=impl)
    dy = np.random.default_rng(y.size).standard_normal(y.shape).astype(y.dtype)
    gradients = conv2d.backward(dy, cache, impl=impl)
    return y, *(g for g in gradients if g is not None)


@given(case=cases())
def test_equals_the_textbook(case: Case) -> None:
    scale = 3 * np.sqrt(case.x.shape[0] * case.x[0].size if case.x.size else 1)
    for ours, theirs in zip(passes(case, "winograd"), passes(case, "textbook"), strict=True):
        assert_close(ours, theirs, "winograd", scale)


@given(case=cases(least=1))
def test_the_derivation_in_numpy_equals_the_textbook(case: Case) -> None:
    g = conv_windows("conv2d", case.x.shape[2:], (3, 3), 1, case.padding)
    y = textbook.forward(case.x, case.weight, None, g, 1)
    assert_close(formula.forward(case.x, case.weight, g), y, "y", 100)
    dweight = textbook.weight_gradient(y, case.x, case.weight.shape, g, 1)
    scale = np.abs(dweight).max()
    assert_close(formula.weight_gradient(y, case.x, g), dweight, "dweight", scale)


@compiled
@given(case=cases(np.float32))
def test_results_do_not_depend_on_the_number_of_threads(case: Case) -> None:
    assert_threads_change_no_bit(lambda: passes(case, "winograd"))


# -------------------------------------------------------------------------------------- rounding


@compiled
@pytest.mark.parametrize("shape", [(32, 16, 32, 32, 16), (32, 64, 8, 8, 64), (4, 256, 14, 14, 32)])
def test_the_error_in_float32(shape: tuple[int, int, int, int, int]) -> None:
    """Relative to the greatest value; the definition itself is at 3e-7 to 1e-6."""
    *x_shape, o = shape
    rng = np.random.default_rng(o)
    x = rng.standard_normal(x_shape).astype(np.float32)
    weight = rng.standard_normal((o, x.shape[1], 3, 3)).astype(np.float32)
    case = Case(x, weight, None, 1)
    exact = Case(x.astype(np.float64), weight.astype(np.float64), None, 1)
    bounds = (1e-5, 1e-5, 5e-5)
    for ours, other, bound in zip(
        passes(case, "winograd"), passes(exact, "direct"), bounds, strict=True
    ):
        assert np.abs(ours - other).max() <= bound * np.abs(other).max()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spreads_over_the_tiles_that_see_it_and_no_further(value: float) -> None:
    x = np.ones((2, 3, 13, 13))
    x[0, 1, 6, 5] = value
    with np.errstate(invalid="ignore"):
        y, _ = conv2d.forward(x, np.ones((4, 3, 3, 3)), padding=1, impl="winograd")
    expected = np.zeros(y.shape, bool)
    expected[0, :, 4:8, 4:8] = True  # the second tile sees the padded rows 4 to 9
    np.testing.assert_array_equal(~np.isfinite(y), expected)


# ------------------------------------------------------------------------------- where it is used


def test_another_geometry_is_rejected() -> None:
    x = np.ones((1, 2, 8, 8))
    cases: list[tuple[tuple[int, ...], dict[str, Any], str]] = [
        ((2, 2, 5, 5), {}, "5x5, stride (1, 1), dilation (1, 1) and groups=1"),
        ((2, 2, 3, 3), {"stride": 2}, "3x3, stride (2, 2), dilation (1, 1) and groups=1"),
        ((2, 2, 3, 3), {"dilation": (1, 2)}, "3x3, stride (1, 1), dilation (1, 2) and groups=1"),
        ((2, 1, 3, 3), {"groups": 2}, "3x3, stride (1, 1), dilation (1, 1) and groups=2"),
    ]
    for shape, options, got in cases:
        with pytest.raises(ShapeError) as error:
            conv2d.forward(x, np.ones(shape), **options, impl="winograd")
        assert str(error.value) == (
            "conv2d: impl='winograd' needs a 3x3 kernel, stride 1, dilation 1 and groups=1, got "
            f"kernel {got}. Use impl='fast', which takes winograd where it can."
        )


LARGE = ((32, 64, 16, 16), (64, 64, 3, 3))


def test_the_choice() -> None:
    all_winograd = ("winograd",) * 3
    all_direct = ("direct",) * 3
    assert conv2d.algorithm(*LARGE, padding=1) == all_winograd
    assert conv2d.algorithm(*LARGE, stride=2) == all_direct
    assert conv2d.algorithm((32, 3, 16, 16), (64, 3, 3, 3)) == all_direct  # few channels
    assert conv2d.algorithm((1, 512, 7, 7), (512, 512, 3, 3), padding=1) == all_direct  # few tiles


def test_winograd_can_be_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv2d, "WINOGRAD", False)
    assert conv2d.algorithm(*LARGE, padding=1) == ("direct",) * 3


@compiled
def test_fast_computes_what_it_says() -> None:
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in LARGE)
    case = Case(x, weight, None, 1)
    for ours, other in zip(passes(case, "fast"), passes(case, "winograd"), strict=True):
        np.testing.assert_array_equal(ours, other)

"""Vectors: as wide as the processor's registers, and lane by lane what NumPy's arrays do."""

from __future__ import annotations

import platform

import numba
import numpy as np
import pytest

from minicnn.kernels import simd
from tests.arrays import dtypes

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="these are names of x86"
)


@x86
@pytest.mark.parametrize(
    ("name", "features", "width"),
    [
        ("haswell", None, 32),
        ("skylake-avx512", None, 64),
        ("ivybridge", None, 16),
        ("generic", "", 16),
        ("skylake-avx512", "-avx512f", 32),
        ("generic", "+avx2,+fma", 32),
    ],
)
def test_the_width_is_that_of_the_processor_that_numba_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, features: str | None, width: int
) -> None:
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    assert simd._vector_bytes() == width


# ------------------------------------------------------------------------------- the instructions


@numba.njit
def _in_lanes(a, b, low, out):
    """Write what the operators give, a vector each, one behind the other."""
    lanes = simd.lanes_in(a, simd.ONE)
    x, y = simd.load(a, 0, simd.ONE), simd.load(b, 0, simd.ONE)
    results = (
        x + y, x - y, x * y, x * 3, simd.spread(low, a, simd.ONE),
        simd.select(x < y, x, y), simd.select(x <= low, x, y), simd.select(x > y, x, y),
        simd.select((x != x) | (y > low), x, y),
    )  # fmt: skip
    for i in range(len(results)):
        simd.store(results[i], out, i * lanes)


@dtypes
def test_vectors_do_what_arrays_do(dtype: type) -> None:
    lanes = simd.lanes_of(np.dtype(dtype))
    rng = np.random.default_rng(0)
    for special in (0.0, np.nan, np.inf, -np.inf):
        x, y = rng.standard_normal((2, lanes)).astype(dtype)
        x[lanes // 2] = special
        y[: lanes // 2 + 1 : 2] = x[: lanes // 2 + 1 : 2]
        low, got = dtype(0.25), np.zeros(9 * lanes, dtype)
        with np.errstate(invalid="ignore"):
            _in_lanes(x, y, low, got)
            expected = (
                x + y, x - y, x * y, x * 3, np.full(lanes, low),
                np.where(x < y, x, y), np.where(x <= low, x, y), np.where(x > y, x, y),
                np.where(np.isnan(x) | (y > low), x, y),
            )  # fmt: skip
        np.testing.assert_array_equal(got, np.concatenate(expected))


@numba.njit
def _some(a, left, out):
    one, other = simd.load_some(a, 1, left, simd.ONE), simd.load_some(a, 0, left, simd.ONE)
    simd.store_some(one + other, out, 2, left)


@dtypes
def test_of_the_last_vector_nothing_is_touched_but_what_is_there(dtype: type) -> None:
    lanes = simd.lanes_of(np.dtype(dtype))
    for left in range(2 * lanes):
        a = np.arange(1, left + 2, dtype=dtype)  # it ends where the numbers do
        out = np.full(2 * lanes + 4, -1, dtype)
        expected, count = out.copy(), min(left, lanes)
        expected[2 : 2 + count] = a[1 : 1 + count] + a[:count]
        _some(a, left, out)
        np.testing.assert_array_equal(out, expected)


@numba.njit
def _indexes(a, b, number, out):
    one = simd.spread_index(number, a, simd.ONE)
    other = simd.spread_index(7, a, simd.ONE)
    wins = simd.load(a, 0, simd.ONE) > simd.load(b, 0, simd.ONE)
    simd.store(simd.select(wins, one, other), out, 1)


@dtypes
@pytest.mark.parametrize("index", [np.uint8, np.int64])
def test_indexes_are_stored_in_the_integers_of_the_array(dtype: type, index: type) -> None:
    lanes = simd.lanes_of(np.dtype(dtype))
    a, b = np.random.default_rng(0).standard_normal((2, lanes)).astype(dtype)
    out = np.full(lanes + 2, 9, index)
    _indexes(a, b, 250, out)
    np.testing.assert_array_equal(out, [9, *np.where(a > b, 250, 7), 9])

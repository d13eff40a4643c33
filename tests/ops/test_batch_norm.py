"""Batch normalisation by itself: what runs, what is untouched, digits, errors."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError
from minicnn.backend import IMPLS
from minicnn.ops import batch_norm
from tests.arrays import assert_threads_change_no_bit

impls = pytest.mark.parametrize("impl", IMPLS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
shapes = st.builds(
    lambda n, c, rest: (n, c, *rest),
    st.integers(2, 5),
    st.integers(1, 7) | st.sampled_from([40, 700]),
    st.lists(st.integers(1, 5), max_size=3),
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(shape).astype(dtype)


def axes(x: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def beside(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return v.reshape(-1, *[1] * (x.ndim - 2))


# ------------------------------------------------------------------------------ what it computes


@impls
@given(shape=shapes, seed=seeds)
def test_each_channel_gets_mean_0_and_variance_1(impl: str, shape, seed: int) -> None:
    x = 3 * normal(*shape, seed=seed) - 2
    y, _ = batch_norm.forward(x, training=True, eps=1e-30, impl=impl)
    np.testing.assert_allclose(y.mean(axes(y)), 0, atol=1e-9)
    np.testing.assert_allclose(y.var(axes(y)), 1, rtol=1e-9)


@impls
@given(shape=shapes, seed=seeds)
def test_backward_is_the_transpose_of_the_derivative(impl: str, shape, seed: int) -> None:
    """By forward alone: <dy, J v> = <J^T dy, v>, with J v from a central difference."""
    r, c, step = rng(seed), shape[1], 1e-5
    x, v, dy = (r.standard_normal(shape) for _ in range(3))
    weight, bias = r.standard_normal(c), r.standard_normal(c)

    def y(t: float) -> np.ndarray:
        return batch_norm.forward(x + t * v, weight, bias, training=True, eps=0.1, impl=impl)[0]

    _, cache = batch_norm.forward(x, weight, bias, training=True, eps=0.1, impl=impl)
    dx, _, _ = batch_norm.backward(dy, cache, impl=impl)
    left, right = dy * (y(step) - y(-step)) / (2 * step), dx * v
    scale = np.abs(left).sum() + np.abs(right).sum() + 1
    assert abs(left.sum() - right.sum()) <= 1e-7 * scale


@dtypes
@given(shape=shapes, training=st.booleans(), seed=seeds)
def test_fast_equals_textbook_and_takes_its_cache(dtype, shape, training: bool, seed: int) -> None:
    r, c = rng(seed), shape[1]
    x, dy = (r.standard_normal(shape).astype(dtype) for _ in range(2))
    weight, bias, mean, var = (r.uniform(0.5, 2, c).astype(dtype) for _ in range(4))
    results = []
    for before, after in product(IMPLS, IMPLS):
        running = mean.copy(), var.copy()
        y, cache = batch_norm.forward(x, weight, bias, *running, training, impl=before)
        results.append([y, *batch_norm.backward(dy, cache, impl=after), *running])
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            assert a.dtype == b.dtype == dtype
            tolerance = 1e-11 if dtype == np.float64 else 2e-6
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()))


@impls
def test_inference_is_a_fixed_affine_map(impl: str) -> None:
    x, dy = normal(4, 3, 2, 5), normal(4, 3, 2, 5, seed=1)
    weight, bias, mean, var = rng(2).uniform(0.5, 2, (4, 3))
    y, cache = batch_norm.forward(x, weight, bias, mean, var, impl=impl)
    dx, dweight, dbias = batch_norm.backward(dy, cache, impl=impl)
    scale = weight / np.sqrt(var + 1e-5)
    xhat = (x - beside(x, mean)) / beside(x, np.sqrt(var + 1e-5))
    np.testing.assert_allclose(y, beside(x, weight) * xhat + beside(x, bias), rtol=1e-12)
    np.testing.assert_allclose(dx, beside(x, scale) * dy, rtol=1e-12)
    np.testing.assert_allclose(dweight, (dy * xhat).sum(axes(x)), rtol=1e-12)
    np.testing.assert_allclose(dbias, dy.sum(axes(x)), rtol=1e-12)


@impls
def test_a_variance_of_0_without_eps_divides_by_0_and_a_negative_one_has_no_root(impl: str) -> None:
    x, var = np.array([[1.0, 1.0], [3.0, 3.0]]), np.array([0.0, -1.0])
    y, _ = batch_norm.forward(x, None, None, np.full(2, 2.0), var, eps=0, impl=impl)
    np.testing.assert_array_equal(y, [[-np.inf, np.nan], [np.inf, np.nan]])


@impls
@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_not_asked_for_or_not_there_is_none(training: bool, impl: str) -> None:
    x, ones, running = normal(4, 3), np.ones(3), (np.zeros(3), np.ones(3))
    for weight, bias, input_grad, param_grad in product([ones, None], [ones, None], *[[1, 0]] * 2):
        _, cache = batch_norm.forward(x, weight, bias, *running, training, impl=impl)
        whole = batch_norm.backward(x, cache, impl=impl)
        some = batch_norm.backward(
            x, cache, input_grad=bool(input_grad), param_grad=bool(param_grad), impl=impl
        )
        there = [True, weight is not None, bias is not None]
        for g, w, is_there, asked in zip(
            some, whole, there, [input_grad, param_grad, param_grad], strict=True
        ):
            assert (w is not None) == is_there
            assert (g is not None) == (is_there and asked)
            if g is not None:
                np.testing.assert_array_equal(g, w)


# ----------------------------------------------------------------------------- running statistics


@impls
@dtypes
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.25, 1.0])
def test_the_running_arrays_follow_the_batch(momentum: float, dtype: type, impl: str) -> None:
    x = 2 * normal(5, 3, 4, dtype=dtype) + 1
    mean, var = np.array([1, 2, 3], dtype), np.array([4, 5, 6], dtype)
    new = x.mean(axes(x), dtype=np.float64), x.var(axes(x), dtype=np.float64, ddof=1)
    expected = [
        (1 - momentum) * old + momentum * b for old, b in zip((mean, var), new, strict=True)
    ]
    batch_norm.forward(x, None, None, mean, var, True, momentum, impl=impl)
    for running, e in zip((mean, var), expected, strict=True):
        assert running.dtype == dtype
        np.testing.assert_allclose(running, e, rtol=1e-12 if dtype == np.float64 else 3e-7)


@impls
def test_running_arrays_may_lie_anywhere(impl: str) -> None:
    x, base = normal(5, 3, 2), np.full((2, 7), 9.0)
    mean, var = base[0, 1::2], base[1, 5::-2]
    mean[:], var[:] = 0, 1
    straight = np.zeros(3), np.ones(3)
    batch_norm.forward(x, None, None, mean, var, True, impl=impl)
    batch_norm.forward(x, None, None, *straight, True, impl=impl)
    np.testing.assert_array_equal(mean, straight[0])
    np.testing.assert_array_equal(var, straight[1])
    assert (base[0, ::2] == 9).all()
    assert (base[1, ::2] == 9).all()


@impls
def test_inference_leaves_the_running_arrays_and_takes_them_read_only(impl: str) -> None:
    x, mean, var = normal(5, 3), np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    mean.setflags(write=False)
    var.setflags(write=False)
    batch_norm.forward(x, None, None, mean, var, impl=impl)
    np.testing.assert_array_equal(mean, [1, 2, 3])
    np.testing.assert_array_equal(var, [4, 5, 6])


@impls
def test_a_cache_is_not_moved_by_later_batches(impl: str) -> None:
    x, mean, var = normal(5, 3), np.zeros(3), np.ones(3)
    weight = np.array([1.0, 2, 3])
    _, cache = batch_norm.forward(x, weight, None, mean, var, impl=impl)
    before = batch_norm.backward(x, cache, impl=impl)
    batch_norm.forward(5 + x, weight, None, mean, var, True, impl=impl)
    assert (mean != 0).all()
    for a, b in zip(batch_norm.backward(x, cache, impl=impl), before, strict=True):
        np.testing.assert_array_equal(a, b)


@impls
def test_an_empty_batch_changes_nothing(impl: str) -> None:
    weight, mean, var = np.full(3, 2.0), np.zeros(3), np.ones(3)
    for shape in ((0, 3), (0, 3, 4, 4), (2, 3, 0)):
        x = np.zeros(shape)
        for training in (True, False):
            y, cache = batch_norm.forward(x, weight, weight, mean, var, training, impl=impl)
            dx, dweight, dbias = batch_norm.backward(x, cache, impl=impl)
            assert y.shape == dx.shape == shape
            assert not dweight.any()
            assert not dbias.any()
    assert not mean.any()
    assert (var == 1).all()


# ------------------------------------------------------------------------------ digits and effects


@impls
def test_a_large_mean_costs_no_digits(impl: str) -> None:
    x = (1e4 + normal(64, 3, 6, 5)).astype(np.float32)
    dy = normal(64, 3, 6, 5, dtype=np.float32, seed=1)
    mean, var = np.zeros(3, np.float32), np.zeros(3, np.float32)
    weight = np.ones(3, np.float32)
    y, cache = batch_norm.forward(x, weight, weight, mean, var, True, 1.0, impl=impl)
    dx, dweight, _ = batch_norm.backward(dy, cache, impl=impl)
    wide, dwide = x.astype(np.float64), dy.astype(np.float64)
    center, s = wide.mean(axes(x)), 1 / np.sqrt(wide.var(axes(x)) + 1e-5)
    xhat = (wide - beside(x, center)) * beside(x, s)
    g = dwide - dwide.mean(axes(x), keepdims=True)
    g -= xhat * (dwide * xhat).mean(axes(x), keepdims=True)
    np.testing.assert_allclose(y, xhat + 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(dx, beside(x, s) * g, rtol=0, atol=1e-6)
    np.testing.assert_allclose(dweight, (dwide * xhat).sum(axes(x)), rtol=0, atol=1e-5)
    np.testing.assert_allclose(mean, center, rtol=1e-7)
    np.testing.assert_allclose(var, wide.var(axes(x), ddof=1), rtol=1e-6)


@impls
def test_nor_does_a_mean_a_hundred_million_times_the_deviation(impl: str) -> None:
    x = np.round(normal(64, 3, 6) * 2**20) / 2**20  # so that no digit is lost in the sum
    near, _ = batch_norm.forward(x, training=True, impl=impl)
    far, _ = batch_norm.forward(1e8 + x, training=True, impl=impl)
    np.testing.assert_allclose(far, near, rtol=0, atol=2e-7)


@impls
def test_what_is_no_number_stays_in_its_channel(impl: str) -> None:
    x = normal(4, 3, 2)
    whole, _ = batch_norm.forward(x, training=True, impl=impl)
    x[2, 1, 0] = np.nan
    mean, var = np.zeros(3), np.ones(3)
    y, _ = batch_norm.forward(x, None, None, mean, var, training=True, impl=impl)
    np.testing.assert_allclose(y[:, [0, 2]], whole[:, [0, 2]], rtol=1e-12)
    assert np.isnan(y[:, 1]).all()
    np.testing.assert_array_equal(np.isnan(mean), [False, True, False])


@impls
def test_what_float32_cannot_hold_is_infinite(impl: str) -> None:
    x = (1e30 * normal(4, 3)).astype(np.float32)
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    y, _ = batch_norm.forward(x, None, None, mean, var, training=True, impl=impl)
    assert np.isfinite(y).all()
    assert np.isfinite(mean).all()
    assert np.isinf(var).all()


LAYOUTS = {
    "channels first": lambda x: x.copy(),
    "channels last": lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
    "sliced": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "transposed": lambda x: x.copy(order="F"),
}


@impls
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_argument_but_what_runs_is_written_to(layout: str, training: bool, impl: str) -> None:
    values = normal(3, 4, 5, 2), normal(3, 4, 5, 2, seed=1), *rng(2).uniform(0.5, 2, (2, 4))
    x, dy = (LAYOUTS[layout](v) for v in values[:2])
    given_arrays = x, dy, *(v.copy() for v in values[2:])
    for array in given_arrays:
        array.setflags(write=False)
    running = np.zeros(4), np.ones(4)
    y, cache = batch_norm.forward(x, *given_arrays[2:], *running, training, impl=impl)
    kept = y.copy()
    results = [y, *batch_norm.backward(dy, cache, impl=impl)]
    np.testing.assert_array_equal(y, kept)
    for array, value in zip(given_arrays, values, strict=True):
        np.testing.assert_array_equal(array, value)
    for result in results:
        assert not any(np.may_share_memory(result, a) for a in (*given_arrays, *running))
    again = np.zeros(4), np.ones(4)
    y, cache = batch_norm.forward(values[0], *values[2:], *again, training, impl=impl)
    expected = [y, *batch_norm.backward(values[1], cache, impl=impl)]
    for a, b in zip((*results, *running), (*expected, *again), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(16, 24, 17, 13), (300, 5), (9, 3, 1000), (40, 700)])
def test_results_do_not_depend_on_the_number_of_threads(shape: tuple[int, ...]) -> None:
    x, dy = (normal(*shape, dtype=np.float32, seed=seed) for seed in (0, 1))
    ones = np.ones(shape[1], np.float32)

    def results() -> list[np.ndarray]:
        running = ones.copy(), ones.copy()
        y, cache = batch_norm.forward(x, ones, ones, *running, training=True)
        return [y, *batch_norm.backward(dy, cache), *running]

    assert_threads_change_no_bit(results)


# ----------------------------------------------------------------------------------------- errors


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def read_only(*shape: int) -> np.ndarray:
    array = zeros(*shape)
    array.setflags(write=False)
    return array


X = normal(2, 3, dtype=np.float32)
BOTH = {"running_mean": zeros(3), "running_var": zeros(3)}

ERRORS: list[tuple[np.ndarray, dict[str, Any], type[Exception], str]] = [
    (zeros(3), {}, ShapeError, "x must have shape (n, c, ...), got (3,)."),
    (zeros(3, 0), {}, ShapeError, "x must have shape (n, c, ...), got (3, 0)."),
    (
        X, {"weight": zeros(2)}, ShapeError,
        "weight has 2 along c (axis 0) where 3 is needed; its shape is (2,).",
    ),
    (
        X, {"bias": zeros(3, 1)}, ShapeError,
        "bias must have 1 axes (c), got 2 with shape (3, 1).",
    ),
    (
        X, BOTH | {"running_var": zeros(4)}, ShapeError,
        "running_var has 4 along c (axis 0) where 3 is needed; its shape is (4,).",
    ),
    (
        X, BOTH | {"running_mean": zeros(3, dtype=np.float64)}, TypeError,
        "running_mean is float64 but x is float32. "
        "Use running_mean.astype(np.float32), or x.astype(np.float64).",
    ),
    (
        X, BOTH | {"running_var": zeros(3, dtype=np.float64)}, TypeError,
        "running_var is float64 but x is float32. "
        "Use running_var.astype(np.float32), or x.astype(np.float64).",
    ),
    (
        X, {"weight": [1, 1, 1]}, TypeError,
        "weight must be a NumPy array, got list. Use np.asarray(weight, dtype=np.float32).",
    ),
    (
        X, {"training": False}, ValueError,
        "inference needs running_mean and running_var. "
        "Give both, or use training=True to normalise by the batch itself.",
    ),
    *[
        (
            X, {"training": training, given_one: zeros(3)}, ValueError,
            f"{missing} is missing: running_mean and running_var come together. "
            "Give both or neither.",
        )
        for training in (True, False)
        for given_one, missing in [tuple(BOTH), tuple(BOTH)[::-1]]
    ],
    (
        zeros(1, 3, 1, 1), {}, ShapeError,
        "x of shape (1, 3, 1, 1) has 1 value per channel; training needs 2 or more, since one has "
        "no variance. Use a larger batch, or training=False.",
    ),
    (
        X, BOTH | {"running_var": read_only(3)}, ValueError,
        "running_var is read-only, and training updates it in place. "
        "Use running_var.copy(), or training=False.",
    ),
    (X, {"eps": 0.0}, ValueError, "eps must be greater than 0 in training, got 0.0."),
    (X, {"eps": float("nan")}, ValueError, "eps must be greater than 0 in training, got nan."),
    (
        X, BOTH | {"eps": -1e-5, "training": False}, ValueError,
        "eps must be at least 0, got -1e-05.",
    ),
    (X, {"momentum": None}, TypeError, "momentum must be a number, got None."),
]  # fmt: skip


@impls
@pytest.mark.parametrize(("x", "options", "kind", "message"), ERRORS)
def test_text_of_errors(x, options, kind, message: str, impl: str) -> None:
    before = [zeros(3).tobytes()] * 2
    with pytest.raises(kind) as error:
        batch_norm.forward(x, **{"training": True} | options, impl=impl)
    assert str(error.value) == f"batch_norm: {message}"
    assert [array.tobytes() for array in BOTH.values()] == before


@impls
def test_one_image_of_several_pixels_can_be_trained_on(impl: str) -> None:
    y, _ = batch_norm.forward(normal(1, 3, 2, 1), training=True, impl=impl)
    np.testing.assert_allclose(np.abs(y), 1, atol=0.1)


@impls
def test_a_gradient_that_does_not_belong_to_the_output(impl: str) -> None:
    _, cache = batch_norm.forward(X, training=True, impl=impl)
    with pytest.raises(ShapeError, match=r"^batch_norm: dy must have the shape of the output"):
        batch_norm.backward(X.T.copy(), cache, impl=impl)
    with pytest.raises(TypeError, match=r"^batch_norm: dy must be float32 like the output"):
        batch_norm.backward(X.astype(np.float64), cache, impl=impl)


def test_an_unknown_implementation_is_rejected() -> None:
    message = "^batch_norm: impl must be one of fast, textbook, got 'slow'.$"
    with pytest.raises(ValueError, match=message):
        batch_norm.forward(X, training=True, impl="slow")
    _, cache = batch_norm.forward(X, training=True)
    with pytest.raises(ValueError, match=message):
        batch_norm.backward(X, cache, impl="slow")

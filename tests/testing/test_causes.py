"""Which cause the checker names for a mistake, word by word, and where it must not name one.

The zoo asks whether a drawn example is enough; here each mistake is made at ordinary numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from examples.bug_zoo import axes, convolution, forgotten, losses, normalization, pooling
from minicnn.testing import causes, gradcheck
from minicnn.testing.causes import shapes, texts


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def named(forward: Callable, backward: Callable, *arrays: Any, **how: Any) -> list[str]:
    """Return the causes that are named, of the point at hand only."""
    how = {"points": (), "dtypes": (), "raises": False} | how
    report = gradcheck((forward, backward), *arrays, **how)
    assert not report.ok or report.manners
    return report.causes[:1]


def like(dy: np.ndarray, a: Any) -> np.ndarray:
    return np.asarray(a, dy.dtype)


def square(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x**2, x


X, PIXELS, COEFFICIENTS = numbers(3, 4), numbers(1, 1, 5, 6), numbers(5, 6, seed=2)


# ---------------------------------------------------------------------------------------- amounts


def spoiled(size: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the gradient of square with an error of this share of its greatest element."""

    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 2 * x * dy * like(dy, 1 + size * (x == x.max()))

    return backward


ONE_LARGE = np.where(np.arange(12).reshape(3, 4) == 6, 100, X)


@pytest.mark.parametrize(("size", "said"), [(3e-6, "3e-06"), (9e-5, "9e-05")])
def test_a_small_error_is_told_by_its_size(size: float, said: str) -> None:
    (cause,) = named(square, spoiled(size), ONE_LARGE)
    assert cause.startswith(f"a small error, of {said} of the greatest element: an eps")


def test_an_error_that_is_not_small_is_not_called_so() -> None:
    assert not named(square, spoiled(2e-4), ONE_LARGE)
    x = ONE_LARGE.astype(np.float32)
    (cause,) = named(square, spoiled(2e-2), x, dtype=np.float32)
    assert cause == "it is 1.02 times what it should be."
    (cause,) = named(square, spoiled(4.5e-3), x, dtype=np.float32)
    assert cause.startswith("a small error, of 4e-03 of")


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "an infinite gradient")])
def test_a_gradient_that_is_not_finite(value: float, said: str) -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        dx = 2 * x * dy
        dx[1, 2] = value
        return dx

    assert named(square, backward, X) == [causes.INFINITE.format(value=said)]


def test_factors() -> None:
    a, few = numbers(6), np.array([1.0, 2.0, 3.0])
    factor = causes.factor
    assert factor(-a, a, {}) == causes.SIGN
    assert factor(2.5 * a, a, {}) == "it is 2.5 times what it should be."
    assert factor(-2 * a, a, {}) == "it is -2 times what it should be."
    assert factor(a / 3, a, {"n": 3, "1 / n": 1 / 3}) == (
        "it is 0.333333 times what it should be, perhaps 1 / n."
    )
    assert factor(2 * a, a, {"k": 2, "n": 2.0, "m": 2}).endswith("perhaps k or n.")
    assert factor(a / 3, a, {}, exact=2e-2) == "it is 0.333 times what it should be."
    assert factor(2 * few, few, {}) is None  # of three numbers any pattern may be found
    assert factor(2 * few, few, {"n": 2}).endswith("perhaps n.")
    assert factor(np.append(2 * few, 8), np.append(few, 4), {}) is not None
    assert factor(a, a, {}) is None
    assert factor(2 * a + (a == a.max()), a, {}) is None
    assert factor(-a + 0.01 * (a == a.max()), a, {}) is None
    assert factor(0 * a, a, {}) is factor(a, 0 * a, {}) is None
    assert factor(a * np.inf, a, {}) is None
    assert factor(2 * np.append(a, 5), np.append(a, np.nan), {}).startswith("it is 2 times")


def test_what_a_factor_may_come_from() -> None:
    subject = SimpleNamespace(
        names=("x", "weight", "bias"), arrays=(np.ones((2, 3, 4, 5)), np.ones(7), None),
        options={"p": 0.25, "scale": 8.0, "training": True, "mode": "sum", "shift": 0, "big": 1.5},
    )  # fmt: skip
    found = causes.numbers_of(subject, (2, 9))  # type: ignore[arg-type]
    assert found["the size of axis 1 of x"] == 3
    assert found["the number of elements of x"] == 120
    assert found["the number of elements of x in each channel"] == 40
    assert found["1 / (the size of axis 3 of x)"] == 1 / 5
    assert found["1 / (the size of axis 0 of weight)^2"] == 1 / 49
    assert found["the size of axis 1 of y"] == 9
    assert found["the number of elements of y in each channel"] == 2
    assert found["p"] == 0.25
    assert found["1 - p"] == 0.75
    assert found["1 / (1 - p)"] == 1 / 0.75
    assert found["(scale - 1) / scale"] == 7 / 8
    assert not any("weight in each channel" in name for name in found)
    assert not any(name in text for text in found for name in ("bias", "training", "mode", "shift"))
    assert "1 - big" not in found
    assert 1 not in found.values()


# -------------------------------------------------------------------------------------- behaviour


def test_noise_of_any_kind() -> None:
    def jitter(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 2 * x * dy * like(dy, np.random.standard_normal(x.shape))  # noqa: NPY002

    def mask(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 2 * x * dy * (np.random.random(x.shape) < 0.5)  # noqa: NPY002

    assert named(square, jitter, X) == named(square, mask, X) == [causes.RANDOM_BACKWARD]


def test_backward_that_adds_up_from_call_to_call_is_not_called_noise() -> None:
    class Sums:
        def __init__(self) -> None:
            self.calls = 0

        def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return square(x)

        def backward(self, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
            self.calls += 1
            return (2 + self.calls) * x * dy

    report = gradcheck(Sums(), X, points=(), dtypes=(), raises=False)
    assert not report.ok
    assert causes.RANDOM_BACKWARD not in report.causes


def test_ties_are_told_by_what_each_of_the_equals_gets() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = x.max(axis=1)
        return y, x == y[:, None]

    def to_all(dy: np.ndarray, equal: np.ndarray) -> np.ndarray:
        return equal * dy[:, None]

    def shared(dy: np.ndarray, equal: np.ndarray) -> np.ndarray:
        return to_all(dy, equal) / like(dy, equal.sum(axis=1, keepdims=True))

    def to_none(dy: np.ndarray, equal: np.ndarray) -> np.ndarray:
        return to_all(dy, equal) * (equal.sum(axis=1, keepdims=True) == 1)

    tied = np.array([[3.0, 3, 1, 0], [2, 5, 5, 5], [1, 2, 3, 4], [0, 0, -1, -2], [7, 1, 2, 7]])
    assert named(forward, to_all, tied) == [causes.TIES_TO_ALL]
    assert named(forward, shared, tied, kinks="one side") == [causes.TIES_SHARED]
    assert named(forward, to_none, tied) == [causes.TIES_TO_NONE]

    def least(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = x.min(axis=1)
        return y, x == y[:, None]

    assert named(least, to_all, -tied) == [causes.TIES_TO_ALL]
    assert named(least, shared, -tied, kinks="one side") == [causes.TIES_SHARED]
    assert named(least, to_none, -tied) == [causes.TIES_TO_NONE]


class Kept(NamedTuple):
    branch: np.ndarray
    scale: float


@pytest.mark.parametrize(
    "keep",
    [lambda y: y, lambda y: [y, 3.0], lambda y: (3.0, [y]), lambda y: {"y": y, "s": 3.0},
     lambda y: Kept(y, 3.0)],
)  # fmt: skip
def test_y_in_the_cache_that_a_residual_block_changes(keep: Callable) -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = np.tanh(x)
        cache = keep(y)
        y += x
        return y, cache

    def found(cache: Any) -> np.ndarray:
        if isinstance(cache, dict):
            return cache["y"]
        if isinstance(cache, np.ndarray):
            return cache
        return next(found(part) for part in cache if not isinstance(part, float))

    def backward(dy: np.ndarray, cache: Any) -> np.ndarray:
        return dy * (1 - found(cache) ** 2) + dy

    assert named(forward, backward, X) == [causes.ALIAS]


def test_a_cause_must_hold_at_the_given_numbers_too() -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.where(abs(x) > 50, 3, -2).astype(dy.dtype) * x * dy

    assert named(square, backward, X) == [causes.SIGN]
    assert named(square, backward, 100 + np.abs(X)) == []  # there it is 1.5 times


# -------------------------------------------------------------------------------------- arguments

THREE = numbers(3, 4), numbers(3, 4, seed=2), numbers(3, 4, seed=3)


def test_arguments_that_are_confused() -> None:
    def forward(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple]:
        return x**2 * a + b, (x, a, b)

    def wrong(dx: Callable) -> Callable:
        return lambda dy, c: (dx(dy, *c), dy * c[0] ** 2, dy)

    swapped = causes.SWAPPED_ARGUMENTS
    assert named(forward, wrong(lambda dy, x, a, b: 2 * x * b * dy), *THREE) == [
        swapped.format(one="b", other="a")
    ]
    assert named(forward, wrong(lambda dy, x, a, b: 2 * x * x * dy), *THREE) == [
        swapped.format(one="x", other="a")
    ]
    assert named(forward, wrong(lambda dy, x, a, b: 2 * b * a * dy), *THREE) == [
        swapped.format(one="b", other="x")
    ]
    assert named(forward, wrong(lambda dy, x, a, b: 2 * x * dy), *THREE) == [
        causes.FORGOTTEN.format(other="a")
    ]


def test_the_derivative_at_y() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sin(x), np.sin(x)

    (cause,) = named(forward, lambda dy, y: dy * np.cos(y), X)
    assert cause == causes.OUTPUT_FOR_INPUT.format(name="x")


def test_matrices_and_kernels_that_are_turned() -> None:
    def product(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, tuple]:
        return x @ w, (x, w)

    def backward(dy: np.ndarray, c: tuple) -> tuple[np.ndarray, ...]:
        return dy @ c[1], c[0].T @ dy

    def weight_of_x(dy: np.ndarray, c: tuple) -> tuple[np.ndarray, ...]:
        return dy @ c[1].T, (c[0].T @ dy).T

    arrays = numbers(5, 4), numbers(4, 4, seed=2)
    turned = causes.TURNED_WEIGHT
    assert named(product, backward, *arrays) == [turned.format(other="w", turn=causes.TRANSPOSED)]
    assert named(product, weight_of_x, *arrays) == [causes.TRANSPOSED]

    def of_x(turn: Callable) -> Callable:
        def backward(dy: np.ndarray, cache: Any) -> tuple:
            dx, dweight, dbias = convolution.conv_backward(dy, cache)
            windows, weights, *rest = cache
            dx = convolution.conv_input_gradient(dy, (windows, turn(weights), *rest))
            return dx, dweight, dbias

        return backward

    arrays = numbers(1, 1, 4, 5), numbers(1, 1, 3, 3, seed=2)
    assert named(convolution.conv, of_x(lambda w: w[..., ::-1, ::-1]), *arrays) == [
        turned.format(other="weight", turn=causes.FLIPPED)
    ]
    assert named(convolution.conv, of_x(lambda w: w.swapaxes(-1, -2)), *arrays) == [
        turned.format(other="weight", turn=causes.SWAPPED)
    ]


# --------------------------------------------------------------------------------------- geometry

IMAGE, KERNEL = numbers(1, 1, 6, 7), numbers(1, 1, 2, 3, seed=2)


@pytest.mark.parametrize(
    ("backward", "options", "text", "option"),
    [
        (forgotten.stride_forgotten, {"stride": (2, 3)}, "STRIDE_FORGOTTEN", "stride"),
        (forgotten.stride_forgotten, {"stride": 2}, "STRIDE_FORGOTTEN", "stride"),
        (convolution.dilation_forgotten, {"dilation": (1, 2)}, "DILATION_FORGOTTEN", "dilation"),
        (convolution.dilation_forgotten, {"dilation": [2, 2]}, "DILATION_FORGOTTEN", "dilation"),
    ],
)
def test_an_option_that_backward_forgets(
    backward: Callable, options: dict, text: str, option: str
) -> None:
    assert named(convolution.conv, backward, IMAGE, KERNEL, options=options) == [
        getattr(causes, text).format(option=option)
    ]


def test_padding_that_backward_forgets() -> None:
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False}
    for padding in (1, (1, 1), (0, 1)):
        options["padding"] = padding
        assert named(
            pooling.max_pool, forgotten.padding_forgotten, IMAGE, options=options
        ) == [causes.PADDING_FORGOTTEN.format(option="padding")]  # fmt: skip


def moved(a: np.ndarray, down: int, right: int) -> np.ndarray:
    """Return the image moved by so many rows and columns, and zeros where nothing comes from."""
    h, w = a.shape[-2:]
    out = np.zeros_like(a)
    out[..., max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = a[
        ..., max(-down, 0) : h + min(-down, 0), max(-right, 0) : w + min(-right, 0)
    ]
    return out


@pytest.mark.parametrize("by", [(1, 0), (0, -1), (2, -1), (-1, 2)])
def test_numbers_that_are_shifted(by: tuple[int, int]) -> None:
    def forward(x: np.ndarray, *, padding: int = 2) -> tuple[np.ndarray, None]:
        return x * like(x, COEFFICIENTS), None

    def backward(dy: np.ndarray, _: None) -> np.ndarray:
        return moved(dy * like(dy, COEFFICIENTS), *by)

    assert named(forward, backward, PIXELS) == [causes.SHIFTED.format(shift=by)]
    down, right = by
    with_padding = named(forward, backward, PIXELS, options={"padding": (abs(down), abs(right))})
    assert with_padding == [causes.PADDING_FORGOTTEN.format(option="padding")]


def test_a_shift_of_channels_last() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        return x * like(x, COEFFICIENTS[..., None]), None

    def backward(dy: np.ndarray, _: None) -> np.ndarray:
        dx = (dy * like(dy, COEFFICIENTS[..., None])).transpose(0, 3, 1, 2)
        return moved(dx, 1, -2).transpose(0, 2, 3, 1)

    x = PIXELS.transpose(0, 2, 3, 1).copy()
    assert named(forward, backward, x) == [causes.SHIFTED.format(shift=(1, -2))]


# ------------------------------------------------------------------------------------- statistics


def layer_norm(x: np.ndarray) -> tuple[np.ndarray, tuple]:
    centred = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt((centred * centred).mean(axis=1, keepdims=True))
    return centred / length, (centred, length)


def unit(x: np.ndarray) -> tuple[np.ndarray, tuple]:
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return x / length, (x, length)


def shares(x: np.ndarray) -> tuple[np.ndarray, tuple]:
    total = x.sum(axis=1, keepdims=True)
    return x / total, (x, total)


def only_divided(dy: np.ndarray, cache: tuple) -> np.ndarray:
    """What all of these give if the divisor, and the mean, are taken for constants."""
    return dy / cache[1]


def centred_only(dy: np.ndarray, cache: tuple) -> np.ndarray:
    """Of layer_norm, with the mean differentiated through, and the length not."""
    return (dy - dy.mean(axis=1, keepdims=True)) / cache[1]


def not_centred(dy: np.ndarray, cache: tuple) -> np.ndarray:
    """Of layer_norm, with the length differentiated through, and the mean not."""
    y = cache[0] / cache[1]
    return (dy - y * (dy * y).mean(axis=1, keepdims=True)) / cache[1]


@pytest.mark.parametrize(
    ("forward", "backward", "text"),
    [
        (layer_norm, only_divided, texts.STATISTICS),
        (layer_norm, centred_only, texts.VARIANCE),
        (layer_norm, not_centred, texts.MEAN),
        (unit, only_divided, texts.VARIANCE),
        (shares, only_divided, texts.VARIANCE),
        (losses.softmax, losses.normaliser_as_a_constant, texts.MEAN),
        (losses.softmax, axes.wrong_axis, texts.SOFTMAX_AXIS.format(axis=1, wrong=0)),
    ],
)
def test_statistics_that_move_with_x(forward: Callable, backward: Callable, text: str) -> None:
    x = 1 + np.abs(numbers(4, 5)) if forward is shares else numbers(4, 5)
    assert named(forward, backward, x) == [text.format(name="x")]


def test_statistics_over_the_images_of_a_batch() -> None:
    arrays = numbers(3, 2, 2, 3), numbers(2, seed=2)
    for backward, text in (
        (normalization.mean_as_a_constant, texts.MEAN),
        (normalization.variance_as_a_constant, texts.VARIANCE),
        (forgotten.mean_over_images, texts.COUNT.format(wrong="3 (N)", right=18)),
    ):
        assert named(normalization.batch_norm, backward, *arrays) == [text.format(name="x")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (4, "5 - 1"),
        (6, "6 (the size of axis 0)"),
        (30, "30 (the size of axis 0*the size of axis 1)"),
    ],
)
def test_a_mean_over_a_wrong_count(wrong: int, said: str) -> None:
    def backward(dy: np.ndarray, cache: tuple) -> np.ndarray:
        y = cache[0] / cache[1]
        total, along = dy.sum(axis=1, keepdims=True), (dy * y).sum(axis=1, keepdims=True)
        return (dy - total / wrong - y * along / wrong) / cache[1]

    for scale in (1.0, 1e-3, 1e3):
        assert named(layer_norm, backward, scale * numbers(6, 5)) == [
            texts.COUNT.format(wrong=said, right=5)
        ]


def log_softmax(axis: int) -> tuple[Callable, Callable]:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = x - x.max(axis=axis, keepdims=True)
        y = z - np.log(np.exp(z).sum(axis=axis, keepdims=True))
        return y, np.exp(y)

    def backward(dy: np.ndarray, p: np.ndarray) -> np.ndarray:
        return dy - p * dy.sum(axis=1 - axis, keepdims=True)

    return forward, backward


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_along_another_axis(axis: int) -> None:
    said = [texts.SOFTMAX_AXIS.format(axis=axis, wrong=1 - axis)]
    assert named(*log_softmax(axis), numbers(4, 5)) == said

    def loss(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, _ = log_softmax(axis)[0](x)
        p, _ = log_softmax(1 - axis)[0](x)
        return -y.take(0, axis=axis).mean(), np.exp(p)

    def backward(dy: np.ndarray, p: np.ndarray) -> np.ndarray:
        dx = p.copy()
        dx[(0,) if axis == 0 else (slice(None), 0)] -= 1
        return dy * dx / like(dy, p.shape[1 - axis])

    assert named(loss, backward, numbers(4, 5)) == said


def test_keepdims_left_out() -> None:
    assert named(losses.softmax, axes.without_keepdims, numbers(4, 4)) == [
        texts.KEEPDIMS.format(axis=1)
    ]

    def centre(x: np.ndarray) -> tuple[np.ndarray, None]:
        return x - x.mean(axis=1, keepdims=True), None

    assert named(centre, lambda dy, _: dy - dy.mean(axis=1), numbers(4, 4)) == [
        texts.KEEPDIMS.format(axis=1)
    ]


# ------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize(
    ("part", "entry", "axis"),
    [(lambda dy: dy[-1].sum(axis=(1, 2)), "last", 0),
     (lambda dy: dy[0].sum(axis=(1, 2)), "first", 0),
     (lambda dy: dy[:, :, -1].sum(axis=(0, 2)), "last", 2)],
)  # fmt: skip
def test_one_entry_for_a_sum(part: Callable, entry: str, axis: int) -> None:
    def forward(x: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, None]:
        return x + b[:, None, None], None

    arrays = numbers(3, 2, 2, 3), numbers(2, seed=2)
    assert named(forward, lambda dy, _: (dy, part(dy)), *arrays) == [
        causes.LAST_ENTRY.format(entry=entry, axis=axis)
    ]


def test_a_sum_of_one_slice() -> None:
    def forward(x: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, None]:
        return x + b[:, None, None], None

    arrays = numbers(3, 2, 2, 3), numbers(2, seed=2)
    assert named(forward, lambda dy, _: (dy, dy[1].sum(axis=(1, 2))), *arrays) == [causes.PARTIAL]
    # Twice the one slice is none of the slices.
    assert not named(forward, lambda dy, _: (dy, 2 * dy[1].sum(axis=(1, 2))), *arrays)


def test_one_contribution_for_several() -> None:
    at = np.array([0, 0, 1, 2, 2, 2])

    def forward(x: np.ndarray) -> tuple[np.ndarray, int]:
        return x[at], len(x)

    def assigned(dy: np.ndarray, n: int) -> np.ndarray:
        dx = np.zeros(n, dy.dtype)
        dx[at] = dy
        return dx

    assert named(forward, assigned, numbers(4)) == [causes.ACCUMULATION]
    assert named(axes.moving_sum, axes.assigned, numbers(6)) == [causes.ACCUMULATION]
    assert named(axes.moving_sum, axes.multiplied, numbers(6)) == [causes.PRODUCT]
    options = {"kernel_size": 3, "stride": 1, "padding": 0, "dilation": 1, "ceil_mode": False}
    x = numbers(1, 1, 6, 6)
    assert named(pooling.max_pool, pooling.assigned, x, options=options) == [causes.ACCUMULATION]


# ----------------------------------------------------------------------------------------- places


def bent(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(x > 0, 2 * x, x / 4), x


def test_what_backward_does_not_reach() -> None:
    def upper(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, 2 * dy, 0 * dy)

    def lower(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, 0 * dy, dy / 4)

    def first(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        dx = np.where(x > 0, 2 * dy, dy / 4)
        dx[-1] = 0
        return dx

    assert named(bent, upper, X) == [causes.BRANCH.format(name="x", sign="negative")]
    assert named(bent, lower, X) == [causes.BRANCH.format(name="x", sign="positive")]
    assert named(bent, first, X) == [causes.UNREACHED]


def test_what_y_does_not_depend_on() -> None:
    def clipped(x: np.ndarray) -> tuple[np.ndarray, None]:
        return np.clip(x, -1, 1), None

    def first(x: np.ndarray) -> tuple[np.ndarray, int]:
        return x[:2] * 1, len(x)

    def all_of_them(dy: np.ndarray, n: int) -> np.ndarray:
        return np.concatenate([dy, dy[: n - len(dy)]])

    assert named(clipped, lambda dy, _: dy, 2 * X) == [causes.FLAT]
    assert named(first, all_of_them, X) == [causes.UNREACHABLE]


def test_the_same_numbers_in_another_order() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        return x * like(x, np.arange(1, 13).reshape(3, 4)), None

    def backward(dy: np.ndarray, _: None) -> np.ndarray:
        dx = (dy * like(dy, np.arange(1, 13).reshape(3, 4))).reshape(-1)
        return dx[[7, 2, 11, 4, 0, 9, 5, 1, 3, 10, 6, 8]].reshape(3, 4)

    assert named(forward, backward, X) == [causes.MISPLACED]
    assert not named(forward, lambda dy, _: backward(dy, None) + dy, X)


# ----------------------------------------------------------------------------------------- shapes

CUBE = numbers(2, 3, 4)

SHAPES: dict[str, tuple[tuple[int, ...], Callable, str | None]] = {
    "transposed": ((3, 4), lambda g: g.T, texts.TRANSPOSED),
    "reversed": ((2, 3, 4), lambda g: g.T, shapes.REVERSED),
    "last two": ((2, 3, 4), lambda g: g.swapaxes(-1, -2), texts.SWAPPED),
    "first two": ((2, 3, 4), lambda g: g.swapaxes(0, 1), texts.TRANSPOSED),
    "axis kept": ((3,), lambda g: g[None], shapes.AXIS_KEPT),
    "axis lost": ((3, 1), lambda g: g[:, 0], shapes.AXIS_LOST),
    "not reshaped": ((3, 4), lambda g: g.reshape(2, 6), shapes.NOT_RESHAPED),
    "a sum missing in front": ((3,), lambda g: np.stack([g / 4, 3 * g / 4]), shapes.SUM_MISSING),
    "two sums missing": (
        (3,), lambda g: np.stack([[g / 4, g / 2], [g / 8, g / 8]]), shapes.SUM_MISSING,
    ),
    "a sum missing behind": (
        (3,), lambda g: np.stack([g / 4, 3 * g / 4], axis=-1), shapes.SUM_MISSING,
    ),
    "a sum missing, its axis kept": (
        (3, 1), lambda g: np.concatenate([g / 4, 3 * g / 4], axis=1), shapes.SUM_MISSING,
    ),
    "padding kept": ((3, 4), lambda g: np.pad(g, ((1, 1), (2, 2))), shapes.PADDING_KEPT),
    "padding kept along one": ((3, 4), lambda g: np.pad(g, ((0, 0), (2, 2))), shapes.PADDING_KEPT),
    "padded at one side": ((3, 4), lambda g: np.pad(g, ((0, 1), (0, 2))), None),
    "empty": ((3, 4), lambda g: g[1:-2], shapes.EMPTY),
    "transposed, and wrong": ((3, 4), lambda g: 2 * g.T + 1, None),
    "another sum": ((3,), lambda g: np.stack([g / 4, g / 4]), None),
    "another sum behind": ((3,), lambda g: np.stack([g / 4, g / 4], axis=-1), None),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_gradient_of_another_shape(name: str) -> None:
    shape, change, text = SHAPES[name]
    found = named(square, lambda dy, x: change(2 * x * dy), numbers(*shape))
    assert found == ([] if text is None else [text.format(name="x")])


def test_a_gradient_that_ends_early() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x[:2, :3] ** 2, x[:2, :3]

    assert named(forward, lambda dy, x: 2 * x * dy, X) == [shapes.LEFT_OVER]
    assert not named(square, lambda dy, x: (2 * x * dy)[:2, :3], X)  # elements that do count


def test_large_arrays_are_judged_by_their_shape() -> None:
    large = numbers(40, 60)
    assert named(square, lambda dy, x: (2 * x * dy).T, large) == [causes.TRANSPOSED]
    assert named(square, lambda dy, x: 2 * x[:-1] * dy[:-1], large) == [shapes.LEFT_OVER]


def test_the_cause_of_a_wrong_shape_of_y() -> None:
    assert shapes.of_shapes((2, 3, 4), (3, 4)) == shapes.SUM_MISSING
    assert shapes.of_shapes((4, 3), (3, 4)) == texts.TRANSPOSED
    assert shapes.of_shapes((2, 4, 3), (2, 3, 4)) == texts.SWAPPED
    assert shapes.of_shapes((2, 3), (3, 3)) == shapes.LEFT_OVER
    assert shapes.of_shapes((2, 5), (3, 4)) is shapes.of_shapes((3,), (3, 4)) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [(SystemExit(1), "it ends the process; take exit()"),
     (ValueError("assignment destination is read-only"), texts.INPUT_WRITTEN)],
)  # fmt: skip
def test_errors_that_tell_their_cause(error: BaseException, said: str) -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        raise error

    (cause,) = named(square, backward, X)
    assert cause.startswith(said)


# ----------------------------------------------------------------------------------------- values


def of_y(wrong: Callable, right: Callable, *arrays: np.ndarray, **options: Any) -> list[str]:
    """Return the causes where ``wrong`` computes what ``right`` should."""

    def backward(dy: np.ndarray, cache: Any) -> tuple:
        return tuple(None for _ in arrays)

    def forward(x: np.ndarray, *weight: np.ndarray, **options: Any) -> tuple[np.ndarray, None]:
        return wrong(x, *weight, **options), None

    return named(forward, backward, *arrays, equivalent=right, options=options)


def pooled(x: np.ndarray, kernel_size: Any, stride: Any = 1, ceil_mode: bool = False) -> np.ndarray:
    g = pooling.pool_windows("pool", x.shape[2:], kernel_size, stride, 0, ceil_mode=ceil_mode)
    return pooling.view(x, g).sum(axis=(-1, -2))


def convolved(x: np.ndarray, weight: np.ndarray, **options: Any) -> np.ndarray:
    return convolution.conv(x, weight, **options)[0]


def test_y_of_other_options() -> None:
    x, weight = numbers(1, 2, 7, 7), numbers(2, 2, 3, 3, seed=2)
    assert of_y(lambda x, kernel_size: pooled(x, kernel_size[::-1]), pooled, x,
                kernel_size=(2, 3)) == ["height and width are swapped in kernel_size."]  # fmt: skip
    assert of_y(
        lambda x, kernel_size, stride, ceil_mode: pooled(x, kernel_size, stride, not ceil_mode),
        pooled, x, kernel_size=2, stride=2, ceil_mode=True,
    ) == ["ceil_mode is taken for False."]  # fmt: skip
    for name, value in (("stride", 2), ("dilation", 2)):
        assert of_y(
            lambda x, weight, **_: convolved(x, weight), convolved, x, weight, **{name: value}
        ) == [f"{name} is ignored."]
    for turn, text in (
        (lambda w: w[..., ::-1, ::-1], causes.FLIPPED),
        (lambda w: w.swapaxes(-1, -2), causes.SWAPPED),
        (lambda w: w.swapaxes(0, 1), causes.TRANSPOSED),
    ):
        assert of_y(lambda x, w, turn=turn: convolved(x, turn(w)), convolved, x, weight) == [text]


def test_y_in_other_ways() -> None:
    def plain(x: np.ndarray) -> np.ndarray:
        return x**3

    x = numbers(3, 4)
    assert of_y(lambda x: (x**3)[::-1], plain, x) == [causes.MISPLACED]
    assert of_y(lambda x: -(x**3), plain, x) == [causes.SIGN]
    of_axes = "the size of axis 1 of x or the size of axis 1 of y."
    assert of_y(lambda x: 4 * x**3, plain, x) == [
        f"it is 4 times what it should be, perhaps {of_axes}"
    ]
    assert of_y(lambda x: (x**3).T, plain, x) == [texts.TRANSPOSED]
    assert not of_y(lambda x: x**3 + (x == x.max()), plain, x)
    overflows = of_y(lambda x: np.exp(x) / np.exp(x) * x, lambda x: x, np.array([1000.0, 1.0]))
    assert overflows == [causes.OVERFLOW]


def test_y_at_the_border() -> None:
    def sums(x: np.ndarray, padding: int, fill: float = 0.0) -> np.ndarray:
        widths = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        longer = np.pad(x, widths, constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(longer, (3, 3), (2, 3)).max(axis=(-1, -2))

    x = -1 - np.abs(numbers(1, 1, 6, 6))
    right = lambda x, padding: sums(x, padding, -np.inf)  # noqa: E731
    assert of_y(sums, right, x, padding=1) == [causes.BORDER]
    inner = lambda x, padding: right(x, padding) + (np.arange(6) == 3)  # noqa: E731
    assert not of_y(inner, right, x, padding=1)

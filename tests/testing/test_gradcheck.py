"""The checker itself: what it accepts, what it rejects, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn import models, nn, ops
from minicnn.testing import GradientError, Report, causes, gradcheck, strategies
from minicnn.testing.conventions.subject import first_dtype
from tests.pytorch import torch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return rng(1).standard_normal(shape)


def square(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x**2, x


def square_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 2 * x * dy


def outcome(*thing: Any, x: np.ndarray | None = None, **how: Any) -> Report:
    return gradcheck(thing, numbers(3, 4) if x is None else x, raises=False, **how)


# ----------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("impl", ["fast", "textbook"])
def test_an_operation(impl: str) -> None:
    arrays = numbers(2, 3, 6, 5), numbers(4, 3, 3, 2), numbers(4)
    options = {"stride": 2, "padding": 1, "impl": impl}
    report = gradcheck(ops.conv2d, *arrays, options=options, torch=torch.nn.functional.conv2d)
    assert report.ok
    assert [a.name for a in report.arguments] == ["x", "weight", "bias"]
    assert [a.checked for a in report.arguments] == [100, 72, 4]
    assert all(a.error < 1e-9 and a.adjoint < 1e-9 for a in report.arguments)


def test_a_pair_of_functions_with_the_complex_step() -> None:
    (x,) = outcome(square, square_backward).arguments
    assert x.complex_step < 1e-14


@pytest.mark.slow
def test_a_layer_and_its_torch_equivalent() -> None:
    layer = nn.BatchNorm2d(3)
    before = layer.state_dict()
    report = gradcheck(layer, numbers(4, 3, 2, 2), torch=torch.nn.BatchNorm2d(3))
    assert [a.name for a in report.arguments] == ["x", "weight", "bias"]
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])  # the layer itself is left alone
    assert not layer.weight.grad.any()


@pytest.mark.slow
def test_a_whole_network() -> None:
    report = gradcheck(models.lenet5(rng=rng()), numbers(2, 1, 28, 28), elements=5)
    assert len(report.arguments) == 11


def test_a_loss() -> None:
    (logits,) = gradcheck(nn.CrossEntropyLoss(), numbers(4, 3), np.array([0, 2, 1, 1])).arguments
    assert logits.name == "logits"


def test_a_layer_that_draws_numbers_draws_the_same_each_time() -> None:
    assert gradcheck(nn.Dropout(0.5, rng=rng()), numbers(5, 6)).ok


def test_an_operation_that_draws_numbers() -> None:
    generator = rng(3)
    options = {"p": 0.5, "rng": generator}
    assert gradcheck(ops.dropout, numbers(5, 6), options=options).ok
    assert generator.random() == rng(3).random()


def test_arguments_that_forward_is_meant_to_write_to() -> None:
    running = np.zeros(3), np.ones(3)
    arrays = numbers(4, 3), None, None, *running
    updates = ("running_mean", "running_var")
    assert gradcheck(ops.batch_norm, *arrays, options={"training": True}, updates=updates).ok
    assert not running[0].any()
    report = gradcheck(ops.batch_norm, *arrays, options={"training": True}, raises=False)
    assert "running_mean was written to" in str(report)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_arrays_of_any_shape(shape: tuple[int, ...]) -> None:
    assert gradcheck(ops.relu, numbers(*shape)).ok


def test_float32_is_checked_in_float64() -> None:
    (x,) = gradcheck(ops.tanh, numbers(3, 4).astype(np.float32)).arguments
    assert x.error < 1e-9


def test_what_is_not_finite_is_compared_with_no_differences() -> None:
    x = numbers(1, 1, 4, 4)
    x[0, 0, 1, 1] = np.nan
    report = gradcheck(
        ops.max_pool2d, x, options={"kernel_size": 2}, torch=torch.nn.functional.max_pool2d
    )
    assert not report.arguments
    assert "not all finite" in str(report)


@pytest.mark.parametrize("layout", strategies.LAYOUTS)
@pytest.mark.parametrize("shape", [(1,), (3, 4), (2, 3, 4, 5)])
def test_arrays_that_lie_in_any_way(layout: str, shape: tuple[int, ...]) -> None:
    x = strategies.arranged(numbers(*shape), layout)
    assert gradcheck(ops.tanh, x, torch=torch.tanh).ok


# ------------------------------------------------------------------------------ kinks, not errors


def absolute(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(x), x


AT_ZERO = np.array([-1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    ("slope", "right"), [(-1, 1), (0, 1), (0.5, 1), (1, 1), (1.01, 0), (-2, 0)]
)
def test_between_the_slopes_anything_is_right(slope: float, right: bool) -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return dy * np.where(x == 0, x.dtype.type(slope), np.sign(x))

    report = outcome(absolute, backward, x=AT_ZERO)
    assert report.ok == right
    assert report.arguments[0].kinks == (slope != 0)  # 0 is what central differences give


@pytest.mark.parametrize(("slope", "right"), [(-1, 1), (0, 0), (0.5, 0), (1, 1)])
def test_one_side_only(slope: float, right: bool) -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return dy * np.where(x == 0, x.dtype.type(slope), np.sign(x))

    assert outcome(absolute, backward, x=AT_ZERO, kinks="one side").ok == right


def test_an_error_beside_a_kink_is_still_an_error() -> None:
    report = outcome(absolute, lambda dy, x: -dy * np.sign(x), x=AT_ZERO)
    assert report.arguments[0].wrong == 2


def test_close_to_a_kink_smaller_steps_are_taken() -> None:
    x = np.array([1e-5, -1e-5, 1e-4, -1e-3, 3e-6])
    (measured,) = outcome(absolute, lambda dy, x: dy * np.sign(x), x=x).arguments
    assert measured.kinks == measured.wrong == 0


def test_a_jump_is_no_kink() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        return (x >= 0).astype(x.dtype), None

    assert not outcome(forward, lambda dy, _: dy, x=AT_ZERO).ok


@pytest.mark.slow
def test_maximum_with_ties_takes_the_first_or_the_last_but_shares_only_if_allowed() -> None:
    x = np.ones((1, 1, 3, 3))
    options = {"kernel_size": 2, "stride": 1}
    for kinks in ("between", "one side"):
        assert gradcheck(ops.max_pool2d, x, options=options, kinks=kinks).ok


# ---------------------------------------------------------------------------- what it cannot miss

WRONG_GRADIENTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "a millionth too large": lambda dy, x: 2 * x * dy * (1 + np.float64(1e-6)).astype(x.dtype),
    "one element": lambda dy, x: 2 * x * dy + (np.arange(x.size).reshape(x.shape) == 5) * dy,
    "sign": lambda dy, x: -2 * x * dy,
    "halved": lambda dy, x: x * dy,
    "zero": lambda dy, x: 0 * dy,
    "of another place": lambda dy, x: np.roll(2 * x * dy, 1),
}


@pytest.mark.parametrize("wrong", WRONG_GRADIENTS)
def test_a_wrong_gradient(wrong: str) -> None:
    with pytest.raises(GradientError, match="x: "):
        gradcheck((square, WRONG_GRADIENTS[wrong]), numbers(3, 4))


def test_a_wrong_element_that_the_sample_misses_is_found_along_a_direction() -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        dx = 2 * x * dy
        dx[-1, -1] += dy[-1, -1]
        return dx

    report = outcome(square, backward, x=numbers(40, 50), elements=1)
    assert "adjoint identity does not hold" in str(report)


def test_an_error_of_the_last_digits_is_found_by_the_complex_step() -> None:
    def backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 2 * x * dy * (1 + np.float64(3e-8)).astype(x.dtype)

    assert "complex step" in str(outcome(square, backward).faults[0])


MANNERS: dict[str, tuple[Any, str, str | None]] = {
    "forward writes": (
        (lambda x: (np.multiply(x, 2, out=x), None), lambda dy, _: 2 * dy),
        "x was written to", causes.INPUT_WRITTEN,
    ),
    "backward writes to dy": (
        (square, lambda dy, x: np.multiply(dy, 2 * x, out=dy)),
        "dy was written to", causes.UPSTREAM_WRITTEN,
    ),
    "backward writes to x": (
        (square, lambda dy, x: np.multiply(x, 2 * dy, out=x)), "x was written to",
        causes.INPUT_WRITTEN,
    ),
    "float64 from forward": (
        (lambda x: (x * np.float64(2), None), lambda dy, _: 2 * dy),
        "y is float64 where the arguments are float32", causes.DTYPE,
    ),
    "float64 from backward": (
        (lambda x: (2 * x, None), lambda dy, _: dy * np.float64(2)),
        "the gradient is float64 where the arguments are float32", causes.DTYPE,
    ),
    "float32 throughout": (
        (lambda x: (2 * x, None), lambda dy, _: (2 * dy).astype(np.float32)),
        "the gradient is float32 where y is float64", causes.DTYPE,
    ),
    "another shape": (
        (lambda x: (x + 0, None), lambda dy, _: dy.sum(axis=0)),
        "the gradient has shape (4,) where x has (3, 4)", None,
    ),
    "raises": (
        (square, lambda dy, x: dy[:, 7]), "backward: it raised IndexError", None,
    ),
    "no array": ((lambda x: "y", lambda dy, c: dy), "a pair (y, cache), is needed", None),
    "too many gradients": (
        (square, lambda dy, x: (2 * x * dy, dy)), "returned 2 gradients", None,
    ),
    "y of integers": (
        (lambda x: (x.astype(int), None), lambda dy, _: dy), "no array of floats", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANNERS)
def test_bad_manners(name: str) -> None:
    pair, text, cause = MANNERS[name]
    report = outcome(*pair, strict=True)
    assert not report.ok
    assert text in str(report)
    if cause:
        assert cause in report.causes


def test_another_result_each_time() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = (np.random.default_rng().random(x.shape) < 0.5).astype(x.dtype)
        return x * mask, mask

    report = outcome(forward, lambda dy, mask: dy * mask)
    assert report.causes == [causes.RANDOM]
    assert "could not be checked" in str(report)


class UsesUp:
    def forward(self, x: np.ndarray) -> tuple[np.ndarray, list]:
        return x**2, [x]

    def backward(self, dy: np.ndarray, cache: list) -> np.ndarray:
        cache[0] = cache[0] * 2
        return cache[0] * dy


class Remembers:
    def forward(self, x: np.ndarray) -> tuple[np.ndarray, None]:
        self.x = x
        return x**2, None

    def backward(self, dy: np.ndarray, cache: None) -> np.ndarray:
        return 2 * self.x * dy


@pytest.mark.parametrize(
    ("thing", "cause"), [(UsesUp(), causes.CACHE_USED_UP), (Remembers(), causes.STALE)]
)
def test_a_cache_that_serves_once_or_another(thing: Any, cause: str) -> None:
    report = gradcheck(thing, numbers(3, 4), raises=False)
    assert cause in report.causes


class Overwrites(nn.Linear):
    def backward(self, dy: Any, cache: Any, *, input_grad: bool = True) -> Any:
        self.weight.grad[...] = 0
        return super().backward(dy, cache, input_grad=input_grad)


def test_a_gradient_that_is_overwritten() -> None:
    report = gradcheck(Overwrites(4, 2, rng=rng()), numbers(3, 4), raises=False)
    assert report.ok
    assert [(f.what, f.cause) for f in report.manners] == [("weight", causes.OVERWRITES)]


class WrongParameter(nn.Linear):
    def backward(self, dy: Any, cache: Any, *, input_grad: bool = True) -> Any:
        dx = super().backward(dy, cache, input_grad=input_grad)
        self.bias.add_grad(dy.sum(axis=0, dtype=dy.dtype))
        return dx


def test_which_argument_and_element_is_wrong() -> None:
    report = gradcheck(WrongParameter(4, 2, rng=rng()), numbers(5, 4), raises=False)
    assert [a.wrong for a in report.arguments] == [0, 0, 2]
    assert "bias: 2 of 2 elements are wrong; the worst is [" in str(report)


def test_forward_that_is_infinite() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        e = np.exp(x)
        return e / e.sum(), e

    report = outcome(forward, lambda dy, e: dy, x=np.array([1000.0, 1.0]))
    assert report.causes == [causes.OVERFLOW]


def test_another_equivalent() -> None:
    def cube(x: np.ndarray) -> np.ndarray:
        return x**3

    report = outcome(square, square_backward, equivalent=cube)
    assert "y differs from that of cube" in str(report)
    assert outcome(square, square_backward, equivalent=lambda x: x**2).ok
    assert outcome(square, square_backward, equivalent=(square, square_backward)).ok
    wrong = (square, lambda dy, x: 3 * x * dy)
    assert "the gradient differs" in str(outcome(square, square_backward, equivalent=wrong))
    assert not outcome(square, square_backward, torch=torch.sin).ok


# --------------------------------------------------------------------------------------- misuse


class Nothing:
    pass


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: gradcheck(nn.ReLU, numbers(2)), r"ReLU is a class; give an instance"),
        (lambda: gradcheck(Nothing(), numbers(2)), r"Nothing cannot be checked: it has neither"),
        (lambda: gradcheck(ops.relu, numbers(2), torch=np.sin, equivalent=abs), r"not both"),
        (lambda: gradcheck(ops.relu, numbers(2), torch=torch.nn.ReLU()), r"equivalent of a layer"),
        (
            lambda: gradcheck(
                nn.Linear(2, 2, rng=rng()), numbers(2, 2), torch=torch.nn.Linear(2, 2, bias=False)
            ),
            r"bias",
        ),
    ],
)
def test_misuse_is_told(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, RuntimeError), match=text):
        call()


# ------------------------------------------------------- what a first version of it let pass


def relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(x, 0), x > 0


def masked(constant: float) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """ReLU whose first column is replaced by a constant."""

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keep = np.arange(x.shape[1]) > 0
        y = np.where(keep, np.maximum(x, 0), x.dtype.type(constant))
        return y, (x > 0) & keep

    return forward


def memoised(dy: np.ndarray, cache: dict) -> np.ndarray:
    return cache.setdefault("dx", 2 * cache["x"] * dy)


BUFFER = np.zeros((3, 4))

SLY: dict[str, tuple[Callable, Callable, np.ndarray]] = {
    "a millionth, among many outputs": (
        relu, lambda dy, m: dy * m * np.asarray(1 + 1e-6, dy.dtype), numbers(40, 50),
    ),
    "beside a huge constant": (masked(-1e30), lambda dy, m: 0 * dy, numbers(3, 4)),
    "beside a large constant, a little": (
        masked(-1e9), lambda dy, m: dy * m * np.asarray(1.02, dy.dtype), numbers(3, 4),
    ),
    "small elements beside a large one": (
        lambda x: (x * np.array([1e8, 1, 1], x.dtype), None),
        lambda dy, _: dy * np.array([1e8, 5, 0], dy.dtype), numbers(3, 3),
    ),
    "dy clipped": (square, lambda dy, x: 2 * x * np.clip(dy, -5, 5), numbers(3, 4)),
    "dy divided by": (square, lambda dy, x: 2 * x * dy * (dy / dy), numbers(3, 4)),
    "dy in the order of memory": (
        square, lambda dy, x: 2 * x * dy.ravel(order="K").reshape(dy.shape), numbers(3, 4),
    ),
    "a gradient kept in the cache": (lambda x: (x**2, {"x": x}), memoised, numbers(3, 4)),
    "right in float64 only": (
        square, lambda dy, x: 2 * x * dy * (1 if x.dtype == np.float64 else 0), numbers(3, 4),
    ),
    "infinite in float32 only": (
        lambda x: (np.log(1 + np.exp(x)), x), lambda dy, x: dy / (1 + np.exp(-x)),
        np.array([100.0, 1.0]),
    ),
    "y in a buffer that is used again": (
        lambda x: (np.multiply(x, 2, out=BUFFER), None) if x.dtype == np.float64 else (2 * x, None),
        lambda dy, _: 2 * dy, numbers(3, 4),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SLY)
def test_a_sly_mistake(name: str) -> None:
    forward, backward, x = SLY[name]
    assert not gradcheck((forward, backward), x, raises=False, elements=2000, strict=True).ok


BENT: dict[str, tuple[Callable, Callable, np.ndarray]] = {
    "ReLU squared at 0": (
        lambda x: (np.maximum(x, 0) ** 2, x), lambda dy, x: 2 * np.maximum(x, 0) * dy,
        np.array([0.0, 1.0, 0.0]),
    ),
    "Huber at 1": (
        lambda x: (np.where(abs(x) < 1, x * x / 2, abs(x) - np.asarray(0.5, x.dtype)), x),
        lambda dy, x: dy * np.clip(x, -1, 1), np.array([1.0, -1.0, 0.5]),
    ),
    "softsign at 0": (
        lambda x: (x / (1 + abs(x)), x), lambda dy, x: dy / (1 + abs(x)) ** 2, np.zeros(2),
    ),
    "log close to 0": (lambda x: (np.log(x), x), lambda dy, x: dy / x, np.array([1e-6, 1.0, 1e-3])),
    "1/x close to 0": (
        lambda x: (1 / x, x), lambda dy, x: -dy / x**2, np.array([1e-6, -2e-5]),
    ),
    "ReLU at 0 beside a huge constant": (
        masked(-1e8), lambda dy, m: dy * m, np.array([[1.0, 0.0, 2.0]]),
    ),
    "a Python float": (lambda x: (float((x**2).sum()), x), lambda dy, x: 2 * x * dy, numbers(3)),
    "a list of gradients": (square, lambda dy, x: [2 * x * dy], numbers(3)),
}  # fmt: skip


@pytest.mark.parametrize("name", BENT)
def test_no_alarm_where_it_is_right_though_difficult(name: str) -> None:
    forward, backward, x = BENT[name]
    gradcheck((forward, backward), x, kinks="between")


def test_frozen_parameters_are_checked_all_the_same() -> None:
    layer = nn.Linear(4, 2, rng=rng()).freeze()
    assert gradcheck(layer, numbers(3, 4)).ok
    assert not layer.learns


class Plain:
    """No Module; its forward takes no training."""

    def __init__(self, factor: float) -> None:
        self.weight, self.factor = nn.Param(np.ones(4)), factor

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x * self.weight.data, x

    def backward(self, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        self.weight.add_grad(((dy * x).sum(axis=0) * self.factor).astype(dy.dtype))
        return dy * self.weight.data


def test_parameters_of_a_plain_class() -> None:
    report = gradcheck(Plain(1.0), numbers(3, 4), dtypes=(np.float64,))
    assert [a.name for a in report.arguments] == ["x", "weight"]
    assert not gradcheck(Plain(7.0), numbers(3, 4), dtypes=(np.float64,), raises=False).ok


class Hidden(Plain):
    def __init__(self) -> None:
        super().__init__(1.0)
        self.others, self.w, self.dw = [nn.ReLU()], np.ones(3), np.ones(3)


def test_what_hides_from_the_check_is_named() -> None:
    text = str(gradcheck(Hidden(), numbers(3, 4), dtypes=(np.float64,)))
    assert "Not checked: others, w." in text


class ForgetsParameters(nn.Linear):
    def backward(self, dy: Any, cache: Any, *, input_grad: bool = True) -> Any:
        return super().backward(dy, cache) if input_grad else None


def test_parameters_forgotten_where_dx_is_not_asked_for() -> None:
    report = gradcheck(ForgetsParameters(4, 2, rng=rng()), numbers(3, 4), raises=False)
    assert "with input_grad=False" in str(report.faults[0])


class WrongReLU(nn.ReLU):
    def backward(self, dy: Any, cache: Any, *, input_grad: bool = True) -> Any:
        dx = super().backward(dy, cache)
        return None if dx is None else 7 * dx


@pytest.mark.slow
def test_a_network_at_zeros_is_moved_off_its_kinks() -> None:
    layers = nn.Conv2d(1, 2, 3, bias=False, rng=rng()), WrongReLU(), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(8, 2, rng=rng()))
    assert not gradcheck(model, np.zeros((2, 1, 4, 4)), raises=False).ok


def test_running_statistics_are_compared_with_torchs() -> None:
    report = gradcheck(
        nn.BatchNorm2d(3), numbers(4, 3, 2, 2), torch=torch.nn.BatchNorm2d(3, momentum=0.9),
        raises=False,
    )  # fmt: skip
    assert [fault.what for fault in report.faults] == ["running_mean", "running_var"]


def test_where_an_error_was_raised_is_told() -> None:
    report = outcome(square, lambda dy, x: dy[:, 7])
    assert "(test_gradcheck.py, line" in str(report)
    with pytest.raises(GradientError) as caught:
        gradcheck((square, lambda dy, x: dy[:, 7]), numbers(3, 4))
    assert isinstance(caught.value.__cause__, IndexError)


def test_an_array_that_forward_spoils_is_given_back() -> None:
    x = numbers(3, 4)
    kept = x.copy()
    report = gradcheck((lambda x: (np.multiply(x, 2, out=x), None), lambda dy, _: 2 * dy), x,
                       raises=False)  # fmt: skip
    assert report.causes == [causes.INPUT_WRITTEN]
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"kinks": "one-side"}, "kinks must be one of"),
        ({"elements": 0}, "elements must be an integer from 1"),
        ({"elements": "all"}, "elements must be an integer from 1"),
        ({"dtypes": "float32"}, "dtypes must be a sequence"),
        ({"updates": ["nothing"]}, "the arguments are x"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        gradcheck(ops.relu, numbers(3), **settings)


CAUSES: dict[str, tuple[Callable, Callable, np.ndarray, str]] = {
    "nothing": (square, lambda dy, x: 0 * dy, numbers(3, 4), causes.ZERO),
    "sign": (square, lambda dy, x: -2 * x * dy, numbers(3, 4), causes.SIGN),
    "factor": (square, lambda dy, x: x * dy, numbers(3, 4), "it is 0.5 times"),
    "factor, with zeros": (
        relu, lambda dy, m: 2 * dy * m, np.round(numbers(4, 5)), "it is 2 times",
    ),
    "mask": (relu, lambda dy, m: dy, numbers(3, 4), causes.FLAT),
    "skip": (
        lambda x: (x + np.tanh(x), x), lambda dy, x: dy * (1 - np.tanh(x) ** 2), numbers(3, 4),
        causes.SKIP,
    ),
    "swapped": (
        lambda x: (x * np.arange(9.0, dtype=x.dtype).reshape(3, 3), None),
        lambda dy, _: (dy * np.arange(9.0, dtype=dy.dtype).reshape(3, 3)).swapaxes(-1, -2),
        numbers(2, 2, 3, 3), causes.SWAPPED,
    ),
    "transposed": (
        lambda x: (x * np.arange(9.0, dtype=x.dtype).reshape(3, 3), None),
        lambda dy, _: (dy * np.arange(9.0, dtype=dy.dtype).reshape(3, 3)).T, numbers(3, 3),
        causes.TRANSPOSED,
    ),
    "in another order": (
        lambda x: (2 * x, None), lambda dy, _: 2 * dy[::-1], numbers(5, 4), causes.MISPLACED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_named(name: str) -> None:
    forward, backward, x, cause = CAUSES[name]
    (said,) = gradcheck((forward, backward), x, raises=False).causes
    assert said.startswith(cause)


def test_a_layer_that_returns_the_gradients_of_its_parameters_is_told_where_they_belong() -> None:
    class Both(nn.Linear):
        def backward(self, dy, cache, *, input_grad=True):
            dx = super().backward(dy, cache)
            return dx, self.weight.grad

    with pytest.raises(GradientError, match="2 gradients where dx is needed"):
        gradcheck(Both(3, 2, rng=np.random.default_rng(0)), np.ones((2, 3)))


class TooMany(nn.ReLU):
    def backward(self, dy: Any, cache: Any, *, input_grad: bool = True) -> Any:
        dx = super().backward(dy, cache)
        return dx, dx, dx


def test_a_layer_that_returns_its_parameters_gradients_is_told_where_they_belong() -> None:
    report = gradcheck(TooMany(), numbers(3, 4), raises=False)
    assert "backward returned 3 gradients where dx is needed. A layer adds those" in str(report)


class Strided:
    """A layer of a course, whose options are on self; its backward forgets the stride."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x[:, : 3 * self.stride : self.stride] ** 2

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.zeros_like(self.x)
        dx[:, :3] = 2 * self.x[:, :3] * dy
        return dx


def test_an_option_on_self_that_backward_forgets_is_named() -> None:
    def named(stride: int) -> list[str]:
        return gradcheck(Strided(stride), numbers(2, 9), points=(), raises=False).causes[:1]

    assert named(1) == []
    assert named(2) == named(3) == [causes.STRIDE_FORGOTTEN.format(option="stride")]


class Surplus:
    """Returns what it keeps from forward beside dx."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x**2

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, ...]:
        return 2 * self.x * dy, np.zeros(5, dy.dtype), np.zeros(7, dy.dtype)


def test_gradients_that_belong_to_nothing_are_told() -> None:
    report = gradcheck(Surplus(), numbers(3, 4), points=(), raises=False)
    assert report.ok
    assert "2 gradients that backward returned beside dx" in str(report)


def test_the_dtype_of_arguments_is_that_of_the_first_floats() -> None:
    labels, narrow, wide = np.arange(3), np.ones(2, np.float32), np.ones(2)
    assert first_dtype((None, labels, narrow, wide)) == np.float32
    assert first_dtype((wide, narrow)) == np.float64
    assert first_dtype((None, labels)) == np.float64

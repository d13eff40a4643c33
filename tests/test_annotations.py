"""The annotations are enforced: a wrong shape going in or out does not pass unseen."""

from __future__ import annotations

import inspect
import typing

import numpy as np
import pytest
from jaxtyping import Float
from numba.core.dispatcher import Dispatcher

from minicnn import ShapeError, ops, pool
from minicnn.ops import conv2d, relu
from tests import annotations
from tests.annotations import AnnotationViolated, checked

FUNCTIONS = [
    pytest.param(function, id=f"{name}.{function.__name__}")
    for name in ops.__all__
    for function in (getattr(ops, name).forward, getattr(ops, name).backward)
]


def transpose(x: Float[np.ndarray, "h w"], *, right: bool) -> Float[np.ndarray, "w h"]:
    return x.T if right else x


def both(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h"] | None) -> tuple[int, int]:
    return x.shape


def test_a_right_result_passes() -> None:
    assert checked(transpose)(np.zeros((2, 3)), right=True).shape == (3, 2)


def test_a_wrongly_shaped_result_is_caught() -> None:
    with pytest.raises(AnnotationViolated, match=r"transpose: return is ndarray float64 \(2, 3\)"):
        checked(transpose)(np.zeros((2, 3)), right=False)


@pytest.mark.parametrize("y", [np.zeros(3), np.zeros((2, 1)), np.zeros(2, int), [0.0, 0.0]])
def test_arguments_that_do_not_fit_each_other_are_caught(y: object) -> None:
    checked(both)(np.zeros((2, 3)), None)
    checked(both)(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(AnnotationViolated, match="both: y is"):
        checked(both)(np.zeros((2, 3)), y)


def test_a_wrong_result_of_an_operation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_wide(x, weight, bias, g, groups):
        return np.zeros((x.shape[0], weight.shape[0] + 1, g.oh, g.ow), x.dtype)

    monkeypatch.setattr(conv2d.direct, "forward", too_wide)
    with pytest.raises(AnnotationViolated, match=r"conv2d.forward: return is \(ndarray float32"):
        conv2d.forward(np.zeros((1, 1, 4, 4), np.float32), np.zeros((2, 1, 3, 3), np.float32))


def test_our_own_errors_come_first() -> None:
    with pytest.raises(ShapeError, match="x must have 4 axes"):
        conv2d.forward(np.zeros((4, 4), np.float32), np.zeros((2, 1, 3, 3), np.float32))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_operation_is_annotated_throughout_and_checked(function) -> None:
    assert function.__wrapped__ is not None
    hints = typing.get_type_hints(function)
    assert hints.keys() == inspect.signature(function).parameters.keys() | {"return"}


def test_kernels_are_not_wrapped() -> None:
    if not hasattr(relu._forward, "py_func"):
        pytest.skip("nothing is compiled in this run")
    assert isinstance(relu._forward.__wrapped__, Dispatcher)
    assert relu._forward.__code__.co_filename == pool.__file__  # and by nothing of the tests
    assert relu.forward.__code__.co_filename == annotations.__file__

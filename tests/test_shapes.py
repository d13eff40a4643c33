"""The checks: what passes, and the whole text of each error."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError
from minicnn.shapes import (
    axis_index,
    check_choice,
    check_float,
    check_gradient,
    check_shape,
    integer,
    pair,
)

ONE = np.ones((2, 3), np.float32)


def test_check_float_returns_the_dtype_of_what_is_given() -> None:
    assert check_float("op", x=ONE, bias=None) == np.float32
    assert check_float("op", x=ONE.astype(np.float64)) == np.float64


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": [1.0]},
            "op: x must be a NumPy array, got list. Use np.asarray(x, dtype=np.float32).",
        ),
        (
            {"x": ONE, "weight": ONE.astype(np.float16)},
            "op: weight has dtype float16; float32 and float64 are supported. "
            "Use weight.astype(np.float32).",
        ),
        (
            {"x": ONE.astype(int)},
            "op: x has dtype int64; float32 and float64 are supported. Use x.astype(np.float32).",
        ),
        (
            {"x": ONE, "skipped": None, "bias": ONE.astype(np.float64)},
            "op: bias is float64 but x is float32. Use bias.astype(np.float32), "
            "or x.astype(np.float64).",
        ),
        (
            {"x": ONE.astype(np.float64), "bias": ONE},
            "op: bias is float32 but x is float64. Use bias.astype(np.float64), "
            "or x.astype(np.float32).",
        ),
    ],
)
def test_check_float_names_the_array_and_the_remedy(arrays: dict, message: str) -> None:
    with pytest.raises(TypeError) as error:
        check_float("op", **arrays)
    assert str(error.value) == message


def test_check_shape_takes_none_for_any_size() -> None:
    check_shape("op", "x", ONE, "n c")
    check_shape("op", "x", ONE, "n c", None, 3)


def test_check_shape_counts_the_axes() -> None:
    with pytest.raises(ShapeError) as error:
        check_shape("op", "x", ONE, "n c h w")
    assert str(error.value) == "op: x must have 4 axes (n, c, h, w), got 2 with shape (2, 3)."


def test_check_shape_names_the_axis() -> None:
    with pytest.raises(ShapeError) as error:
        check_shape("op", "x", ONE, "n c", 2, 5)
    assert (
        str(error.value) == "op: x has 3 along c (axis 1) where 5 is needed; its shape is (2, 3)."
    )


@pytest.mark.parametrize(
    ("dy", "kind", "message"),
    [
        (ONE[:1], ShapeError, "op: dy must have the shape of the output, (2, 3), got (1, 3)."),
        (
            ONE.astype(np.float64),
            TypeError,
            "op: dy must be float32 like the output, got float64.",
        ),
        ([[0.0]], TypeError, "op: dy must be float32 like the output, got list."),
    ],
)
def test_check_gradient_says_what_is_expected(
    dy: object, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        check_gradient("op", dy, (2, 3), np.dtype(np.float32))
    assert str(error.value) == message
    check_gradient("op", ONE, (2, 3), np.dtype(np.float32))


def test_check_choice_lists_the_choices() -> None:
    check_choice("op", "mode", "b", ("a", "b"))
    with pytest.raises(ValueError, match=r"^op: mode must be one of a, b, got 'c'\.$"):
        check_choice("op", "mode", "c", ("a", "b"))


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_integer_takes_numpys_integers_too(value: int) -> None:
    result = integer("op", "stride", value, 1)
    assert result == 2
    assert type(result) is int


@pytest.mark.parametrize("value", [True, 1.0, "1", None, (1,)])
def test_integer_takes_nothing_else(value: object) -> None:
    with pytest.raises(TypeError) as error:
        integer("op", "stride", value, 1)
    assert str(error.value) == f"op: stride must be an integer, got {value!r}."


def test_integer_says_the_least() -> None:
    assert integer("op", "padding", 0, 0) == 0
    with pytest.raises(ShapeError, match=r"^op: stride must be at least 1, got 0\.$"):
        integer("op", "stride", 0, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3, 3)),
        ((1, 2), (1, 2)),
        ([2, 1], (2, 1)),
        (np.int32(4), (4, 4)),
        ((5,), (5, 5)),
        ([5], (5, 5)),
        ([np.int64(5)], (5, 5)),
    ],
)
def test_pair_is_height_then_width(value: object, expected: tuple[int, int]) -> None:
    assert pair("op", "stride", value, 1) == expected


@pytest.mark.parametrize("value", [(), [], (1, 2, 3)])
def test_pair_takes_one_or_two(value: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as error:
        pair("op", "stride", value, 1)
    assert str(error.value) == (
        f"op: stride must be an integer or two (height, width), got {value!r}."
    )


def test_pair_checks_both() -> None:
    with pytest.raises(ShapeError, match=r"^op: stride must be at least 1, got 0\.$"):
        pair("op", "stride", (1, 0), 1)
    with pytest.raises(TypeError, match=r"^op: stride must be an integer, got 'a'\.$"):
        pair("op", "stride", ("a", 1), 1)


@pytest.mark.parametrize(("dim", "expected"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_axis_index_counts_from_the_front(dim: int, expected: int) -> None:
    assert axis_index("op", dim, 3) == expected


@pytest.mark.parametrize("dim", [3, -4])
def test_axis_index_has_a_range(dim: int) -> None:
    with pytest.raises(ShapeError, match=rf"^op: dim {dim} is out of range for 3 axes\.$"):
        axis_index("op", dim, 3)

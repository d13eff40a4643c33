"""The whole text of the errors that belong to one operation; the shared ones are in test_shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import ShapeError, ops
from tests.arrays import impls


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (
        "conv2d", (zeros(1, 4, 5, 5), zeros(6, 2, 3, 3)), {"groups": 3}, ShapeError,
        "conv2d: groups=3 must divide the channels of x (4) and of weight (6).",
    ),
    (
        "conv2d", (zeros(1, 4, 5, 5), zeros(6, 3, 3, 3)), {"groups": 2}, ShapeError,
        "conv2d: x has 4 channels, but weight of shape (6, 3, 3, 3) with groups=2 takes 6.",
    ),
    (
        "conv2d", (zeros(1, 4, 5, 5), zeros(6, 4, 3, 3), zeros(5)), {}, ShapeError,
        "conv2d: bias has 5 along o (axis 0) where 6 is needed; its shape is (5,).",
    ),
    (
        "conv2d", (zeros(1, 4, 5, 5), zeros(6, 4, 3)), {}, ShapeError,
        "conv2d: weight must have 4 axes (o, c/groups, kh, kw), got 3 with shape (6, 4, 3).",
    ),
    (
        "fold", (zeros(1, 10, 4), 4, (2, 3)), {}, ShapeError,
        "fold: x has 10 rows where a multiple of kh*kw = 2*3 = 6 is needed, one for each channel "
        "and tap.",
    ),
    (
        "fold", (zeros(1, 12, 5), (3, 4), 2), {}, ShapeError,
        "fold: x has 5 columns, but 2 x 3 = 6 windows lie on an image of output_size (3, 4).",
    ),
    (
        "fold", (zeros(1, 4, 1), 0, 2), {}, ShapeError,
        "fold: output_size must be at least 1, got 0.",
    ),
    (
        "max_pool2d", (zeros(1, 1, 3, 3), 5), {}, ShapeError,
        "max_pool2d: the kernel does not fit along height: input 3 + 2*padding 0 = 3 < kernel 5. "
        "Use a kernel of at most 3, or pad the input.",
    ),
    (
        "avg_pool2d", (zeros(1, 1, 3, 3), 2), {"divisor_override": 0}, ShapeError,
        "avg_pool2d: divisor_override must be at least 1, got 0.",
    ),
    (
        "adaptive_avg_pool2d", (zeros(1, 1, 0, 3), 2), {}, ShapeError,
        "adaptive_avg_pool2d: x of shape (1, 1, 0, 3) is empty along h (axis 2); only the batch "
        "may be empty.",
    ),
    (
        "adaptive_avg_pool2d", (zeros(1, 1, 2, 3), (None, 0)), {}, ShapeError,
        "adaptive_avg_pool2d: output_size must be at least 1, got 0.",
    ),
    (
        "linear", (zeros(2, 7, 3), zeros(4, 5)), {}, ShapeError,
        "linear: x of shape (2, 7, 3) has 3 features on its last axis where weight of shape (4, 5) "
        "takes 5. Is the image of the size that the network was made for?",
    ),
    (
        "linear", (zeros(2, 5), zeros(4, 5, 1)), {}, ShapeError,
        "linear: weight must have 2 axes (out_features, in_features), got 3 with shape (4, 5, 1).",
    ),
    (
        "linear", (zeros(), zeros(4, 5)), {}, ShapeError,
        "linear: x of shape () has no features on its last axis where weight of shape (4, 5) "
        "takes 5. Is the image of the size that the network was made for?",
    ),
    (
        "dropout", (zeros(2), 1.5), {"rng": np.random.default_rng(0)}, ValueError,
        "dropout: p must be from 0 to 1, got 1.5.",
    ),
    (
        "dropout", (zeros(2), float("nan")), {"rng": np.random.default_rng(0)}, ValueError,
        "dropout: p must be from 0 to 1, got nan.",
    ),
    (
        "dropout", (zeros(2),), {}, TypeError,
        "dropout: training needs rng, a numpy.random.Generator, got NoneType. "
        "Use rng=np.random.default_rng(seed).",
    ),
    (
        "nll_loss", (zeros(3), np.zeros(3, int)), {}, ShapeError,
        "nll_loss: x must have shape (n, classes, ...), got (3,).",
    ),
    (
        "cross_entropy", (zeros(3), np.zeros(3, int)), {}, ShapeError,
        "cross_entropy: logits must have shape (n, classes, ...), got (3,).",
    ),
    (
        "cross_entropy", (zeros(3, 2), np.zeros(3, int)), {"label_smoothing": -0.1}, ValueError,
        "cross_entropy: label_smoothing must be from 0 to 1, got -0.1.",
    ),
    (
        "cross_entropy", (zeros(3, 2), zeros(3, 4)), {}, ShapeError,
        "cross_entropy: target probabilities have shape (3, 4) where that of the logits, (3, 2), "
        "is needed.",
    ),
    (
        "cross_entropy", (zeros(3, 2), zeros(3, 2)), {"ignore_index": 0}, ValueError,
        "cross_entropy: ignore_index=0 needs targets of classes, but these are probabilities.",
    ),
    (
        "cross_entropy", (zeros(3, 2), zeros(3, 2).astype(np.float64)), {}, TypeError,
        "cross_entropy: target is float64 but logits is float32. Use target.astype(np.float32), "
        "or logits.astype(np.float64).",
    ),
    (
        "softmax", (zeros(2, 3), 2), {}, ShapeError,
        "softmax: dim 2 is out of range for 2 axes.",
    ),
    (
        "gelu", (zeros(2), "erf"), {}, ValueError,
        "gelu: approximate must be one of none, tanh, got 'erf'.",
    ),
    (
        "log_softmax", (zeros(2, 3), -3), {}, ShapeError,
        "log_softmax: dim -3 is out of range for 2 axes.",
    ),
    *[
        (
            name, (zeros(2).astype(np.int32),), {}, TypeError,
            f"{name}: x has dtype int32; float32 and float64 are supported. "
            "Use x.astype(np.float32).",
        )
        for name in (
            "relu", "leaky_relu", "gelu", "sigmoid", "tanh", "softmax", "log_softmax", "dropout",
        )
    ],
    *[
        (
            name, (zeros(4, 5), *rest), {}, ShapeError,
            f"{name}: x must have 4 axes (n, c, h, w), got 2 with shape (4, 5).",
        )
        for name, *rest in (
            ("conv2d", zeros(6, 4, 3, 3)), ("unfold", 2), ("max_pool2d", 2), ("avg_pool2d", 2),
            ("adaptive_avg_pool2d", 2),
        )
    ],
]  # fmt: skip


@impls
@pytest.mark.parametrize(("name", "args", "options", "kind", "message"), CASES)
def test_text(name, args, options, kind, message: str, impl: str) -> None:
    with pytest.raises(kind) as error:
        getattr(ops, name).forward(*args, **options, impl=impl)
    assert str(error.value) == message


def test_text_of_a_gradient_that_does_not_belong_to_the_output() -> None:
    _, cache = ops.conv2d.forward(zeros(1, 4, 5, 5), zeros(6, 4, 3, 3))
    with pytest.raises(ShapeError) as error:
        ops.conv2d.backward(zeros(1, 6, 5, 5), cache)
    assert str(error.value) == (
        "conv2d: dy must have the shape of the output, (1, 6, 3, 3), got (1, 6, 5, 5)."
    )

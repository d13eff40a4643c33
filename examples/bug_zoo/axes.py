"""Axes and shapes: summed along the wrong one, lost, kept, assigned to where they are added to."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from examples.bug_zoo.animal import Animal
from examples.bug_zoo.losses import softmax, softmax_backward
from minicnn.testing import strategies as mst


def wrong_axis(dy, p):
    return p * (dy - (dy * p).sum(axis=0, keepdims=True))


def without_keepdims(dy, p):
    return p * (dy - (dy * p).sum(axis=1))


def bias(x, b):
    return x + b, None


def bias_backward(dy, cache):
    return dy, dy.sum(axis=0)


def bias_with_keepdims(dy, cache):
    return dy, dy.sum(axis=0, keepdims=True)


def padded(x, p):
    return np.pad(x, p) * 2, p


def padded_backward(dy, p):
    return 2 * dy[p : len(dy) - p, p : dy.shape[1] - p]


def cut_by_minus_p(dy, p):
    return 2 * dy[p:-p, p:-p]


def flatten(x):
    return 2 * x.reshape(len(x), -1), x.shape


def flatten_backward(dy, shape):
    return 2 * dy.reshape(shape)


def not_reshaped(dy, shape):
    return 2 * dy


def moving_sum(x):
    """The sum of each two neighbours, of a signal without a batch axis, times 1 and 2."""
    return x[:-1] + 2 * x[1:], len(x)


def moving_sum_backward(dy, n):
    dx = np.zeros(n, dy.dtype)
    for i in range(n - 1):
        dx[i : i + 2] += dy[i] * np.array([1, 2], dy.dtype)
    return dx


def assigned(dy, n):
    dx = np.zeros(n, dy.dtype)
    for i in range(n - 1):
        dx[i : i + 2] = dy[i] * np.array([1, 2], dy.dtype)
    return dx


def multiplied(dy, n):
    dx = np.ones(n, dy.dtype)
    for i in range(n - 1):
        dx[i : i + 2] *= dy[i] * np.array([1, 2], dy.dtype)
    return dx


@st.composite
def squares(draw: st.DrawFn, least: int = 2) -> np.ndarray:
    n = draw(st.integers(least, least + 1))
    return draw(mst.digits())(n, n)


@st.composite
def biases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    fill, n, c = draw(mst.digits()), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return fill(n, c), fill(c)


paddings = squares().flatmap(lambda x: st.integers(0, 2).map(lambda p: (x, {"p": p})))
signals = st.builds(lambda fill, n: fill(n), mst.digits(), st.integers(3, 6))
images = mst.images(values=mst.digits(), channels=2, least=2)

ANIMALS = [
    Animal(
        "softmax along the wrong axis",
        "Forward sums over the classes, axis 1. Backward sums over axis 0, the images. The "
        "shapes allow both, and for a single image only the numbers show the mistake.",
        (softmax, softmax_backward), (softmax, wrong_axis), squares(3), "wrong axis",
    ),
    Animal(
        "keepdims forgotten in a sum",
        "A sum without keepdims loses its axis, and NumPy aligns the result with the last "
        "axis. If there are as many images as classes, nothing complains.",
        (softmax, softmax_backward), (softmax, without_keepdims), squares(3), "keepdims",
    ),
    Animal(
        "keepdims where none is needed",
        "NumPy subtracts a bias gradient of shape (1, C) from a bias of shape (C,) without a "
        "warning, and after the first step the bias is a matrix.",
        (bias, bias_backward), (bias, bias_with_keepdims), biases(), "keepdims",
    ),
    Animal(
        "the slice [p:-p] with p = 0",
        "Cutting off padding by [p:-p] looks good and works for every padding except none: -0 "
        "is 0, and the slice from 0 to 0 is empty.",
        (padded, padded_backward), (padded, cut_by_minus_p), paddings, "empty",
    ),
    Animal(
        "not reshaped back",
        "Flatten before a linear layer is one line of forward, and it is easy to forget in "
        "backward. The numbers are right, but the layer below cannot use their shape.",
        (flatten, flatten_backward), (flatten, not_reshaped), images, "not reshaped back",
    ),
    Animal(
        "= for += without a batch axis",
        "The same slip as in a pool, for one signal: where windows overlap, the last window "
        "overwrites what the earlier windows gave.",
        (moving_sum, moving_sum_backward), (moving_sum, assigned), signals, "accumulation",
    ),
    Animal(
        "*= for +=",
        "The wrong key, beside the right one. Where one window reaches an element, the result "
        "is right, because it begins at 1. Where two windows do, their contributions are "
        "multiplied.",
        (moving_sum, moving_sum_backward), (moving_sum, multiplied), signals, "*= where +=",
    ),
]  # fmt: skip

"""Solutions of lesson 2: backprop of one layer."""

from __future__ import annotations

import course
import numpy as np

from minicnn import ops
from minicnn.testing import gradcheck


def exercise_1() -> None:
    """With s = sigmoid(x), the derivative of x s is s + x s (1 - s). Write s by logaddexp, so that
    it does not overflow.
    """

    def sigmoid(x):
        return np.exp(-np.logaddexp(0, -x))

    def forward(x):
        return x * sigmoid(x), x

    def backward(dy, x):
        s = sigmoid(x)
        return dy * (s + x * s * (1 - s))

    rng = np.random.default_rng(0)
    for scale in (1, 1000):
        report = gradcheck((forward, backward), scale * rng.standard_normal((3, 4)), raises=False)
        course.claim(f"swish is right at numbers around {scale}", report.ok, report)


def exercise_2() -> None:
    """The checker finds dx = dy wrong. The input x[n, i] acts on the outputs y[m, i] of all samples
    m, because it is in their mean: by 1 - 1/N on its own and by -1/N on the others. Add over these
    outputs: dx = dy - mean of dy over the samples.
    """

    def forward(x):
        return x - x.mean(axis=0), None

    x = np.random.default_rng(0).standard_normal((5, 3))
    report = gradcheck((forward, lambda dy, cache: dy), x, raises=False)
    course.claim("the checker rejects dx = dy", not report.ok)
    report = gradcheck((forward, lambda dy, cache: dy - dy.mean(axis=0)), x, raises=False)
    course.claim("dx = dy - mean is right", report.ok, report)


def exercise_3() -> None:
    """Only ``_windows`` changes: with a stride it takes every second pixel. Forward and backward
    walk over the same windows, so both are right at once.
    """
    from examples.solutions import changed

    lesson = changed(
        2,
        {
            "oh, ow = x.shape[2] - kh + 1, x.shape[3] - kw + 1":
            "oh, ow = (x.shape[2] - kh) // 2 + 1, (x.shape[3] - kw) // 2 + 1",
            "yield r, s, x[:, :, r : r + oh, s : s + ow]":
            "yield r, s, x[:, :, r : r + 2 * oh - 1 : 2, s : s + 2 * ow - 1 : 2]",
        },
        without=("## How small", "## The checker", "## But is it important", "# On the digits"),
    )  # fmt: skip

    def strided(x, weight):
        return ops.conv2d.forward(x, weight[:, None], stride=2, groups=x.shape[1])[0]

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 7, 6))
    layer = lesson["Depthwise"](3, 3, rng=rng)
    report = gradcheck(layer, x, equivalent=strided, raises=False)
    course.claim("the strided layer is right", report.ok, report)

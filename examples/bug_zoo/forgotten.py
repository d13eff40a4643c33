"""What backward forgets or takes for something else: a parameter, an option, a branch, a count."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from examples.bug_zoo.animal import Animal
from examples.bug_zoo.convolution import conv, conv_backward, conv_input_gradient
from examples.bug_zoo.normalization import AXES, batch_norm, batch_norm_backward
from examples.bug_zoo.pooling import max_pool, max_pool_backward
from minicnn.testing import causes
from minicnn.testing import strategies as mst

# -------------------------------------------------------------------------------- y = x * weight


def scale(x, weight):
    return x * weight, (x, weight)


def scale_backward(dy, cache):
    x, weight = cache
    return dy * weight, dy * x


def weight_forgotten(dy, cache):
    return dy, dy * cache[0]


def x_for_weight(dy, cache):
    x, _ = cache
    return dy * x, dy * x


# ------------------------------------------------------------------- convolution and pooling


def stride_forgotten(dy, cache):
    windows, weights, shape, bias, g = cache
    dx = conv_input_gradient(dy, (windows, weights, shape, bias, g._replace(sh=1, sw=1)))
    _, dweight, dbias = conv_backward(dy, cache)
    return dx, dweight, dbias


def padding_forgotten(dy, cache):
    winner, g = cache
    longer = g._replace(h=g.h + g.top + g.bottom, w=g.w + g.left + g.right, top=0, bottom=0,
                        left=0, right=0)  # fmt: skip
    return max_pool_backward(dy, (winner, longer))[:, :, : g.h, : g.w]


# --------------------------------------------------------------------- batch norm, leaky ReLU


def mean_over_images(dy, cache):
    x_hat, inverse_std, weight = cache
    dx_hat, n = weight[:, None, None] * dy, len(dy)
    total = dx_hat.sum(axis=AXES, keepdims=True), (dx_hat * x_hat).sum(axis=AXES, keepdims=True)
    dx = inverse_std * (dx_hat - total[0] / n - x_hat * total[1] / n)  # n * h * w are meant
    return dx, (dy * x_hat).sum(axis=AXES)


def leaky(x):
    return np.where(x > 0, x, x / 8), x > 0


def leaky_backward(dy, positive):
    return np.where(positive, dy, dy / 8)


def leak_forgotten(dy, positive):
    return dy * positive


# ------------------------------------------------------------------------------ norm, dropout


def norm(x):
    length = np.sqrt((x * x).sum(axis=1))
    return length, (x, length)


def norm_backward(dy, cache):
    x, length = cache
    return x * (dy / np.where(length == 0, 1, length))[:, None]


def divided_by_nothing(dy, cache):
    x, length = cache
    return x * (dy / length)[:, None]


class Dropout:
    """Draws a mask in forward; ``again``: and one more in backward."""

    again = False

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, x):
        self.mask = self.rng.random(x.shape) < 0.5
        return x * self.mask

    def backward(self, dy):
        mask = self.rng.random(dy.shape) < 0.5 if self.again else self.mask
        return dy * mask


class DropoutAgain(Dropout):
    again = True


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    fill, shape = draw(mst.digits()), (draw(st.integers(1, 3)), draw(st.integers(2, 3)))
    return fill(*shape), fill(*shape)


@st.composite
def rows(draw: st.DrawFn) -> np.ndarray:
    return draw(mst.digits())(draw(st.integers(1, 3)), draw(st.integers(2, 3)))


@st.composite
def several_pixels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, c, h, w = draw(st.integers(2, 3)), draw(st.integers(1, 2)), 2, draw(st.integers(2, 3))
    fill = draw(mst.digits())
    return fill(n, c, h, w), fill(c)


strided = mst.conv2d(values=mst.digits(), dilation=1, groups=1, padding=0)


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, dict]:
    x = draw(mst.digits())(1, 1, draw(st.integers(4, 5)), draw(st.integers(4, 5)))
    sizes = {"kernel_size": 3, "stride": draw(st.integers(1, 2)), "padding": 1}
    return x, {**sizes, "dilation": 1, "ceil_mode": False}


ANIMALS = [
    Animal(
        "a parameter forgotten in dx",
        "Parameters of a normalisation begin at 1. While they are 1, a backward without them "
        "gives the right numbers. So every test that never trains passes.",
        (scale, scale_backward), (scale, weight_forgotten), pairs(), "forgotten",
    ),
    Animal(
        "x where the weight belongs",
        "The gradient of a product is the other factor. The line is copied for the other "
        "argument, and one of the two names is not changed.",
        (scale, scale_backward), (scale, x_for_weight), pairs(), "stands where",
    ),
    Animal(
        "a transposed convolution without its dilation",
        "dx is a convolution of dy with the kernel turned around. With a stride, dy has to be "
        "spread out by it first. With stride 1, which everybody tests, there is nothing to "
        "spread.",
        (conv, conv_backward), (conv, stride_forgotten), strided, causes.STRIDE_FORGOTTEN[8:60],
    ),
    Animal(
        "padding forgotten in a pool's backward",
        "Forward pads, takes maxima and stores their positions. Backward puts the gradients "
        "at these positions of an image without padding, so each is one row and one column "
        "too far.",
        (max_pool, max_pool_backward), (max_pool, padding_forgotten), pools(), "padding",
    ),
    Animal(
        "a mean over the wrong count",
        "Batch norm of images averages over the N*H*W numbers of a channel. If you begin with "
        "the formula for vectors, you divide by N, the length of dy, and that is right for "
        "vectors only.",
        (batch_norm, batch_norm_backward), (batch_norm, mean_over_images), several_pixels(),
        "wrong count",
    ),
    Animal(
        "a branch that gives nothing",
        "A leaky ReLU differs from ReLU by one number, so someone reuses the backward of "
        "ReLU. Forward has the slope of the negative side; backward still gives it nothing.",
        (leaky, leaky_backward), (leaky, leak_forgotten),
        rows().map(lambda x: np.tile(x, (2, 3))), "backward gives 0 where",
    ),
    Animal(
        "an infinite gradient at a kink",
        "The length of a vector has no derivative at 0, and x / length is 0 / 0 there. Random "
        "vectors are never 0. Dead units are, and one NaN ends the training.",
        (norm, norm_backward), (norm, divided_by_nothing), rows(), "divides by 0",
    ),
    Animal(
        "dropout with two masks",
        "Drawing the mask where it is needed looks tidy. But forward and backward draw two "
        "different masks. Each is right by itself, and together they are wrong.",
        Dropout, DropoutAgain, rows().map(lambda x: np.tile(x, (4, 4))), "noise",
    ),
]  # fmt: skip

"""Convolutions: kernels turned around, indices that forget, axes that are mixed."""

from __future__ import annotations

import numpy as np

from examples.bug_zoo.animal import Animal
from minicnn.testing import causes
from minicnn.testing import strategies as mst
from minicnn.windows import conv_windows, scatter, view


def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    g = conv_windows("conv", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    n, o = x.shape[0], weight.shape[0]
    windows = view(x, g).reshape(n, groups, -1, g.oh, g.ow, g.kh, g.kw)
    weights = weight.reshape(groups, o // groups, -1, g.kh, g.kw)
    y = np.einsum("ngcijrs,gocrs->ngoij", windows, weights).reshape(n, o, g.oh, g.ow)
    if bias is not None:
        y += bias[:, None, None]
    return y, (windows, weights, weight.shape, bias, g)


def conv_backward(dy, cache):
    return conv_input_gradient(dy, cache), conv_weight_gradient(dy, cache), bias_gradient(dy, cache)


def conv_input_gradient(dy, cache):
    _, weights, _, _, g = cache
    n = dy.shape[0]
    dwindows = np.einsum("ngoij,gocrs->ngcijrs", _grouped(dy, weights), weights)
    return scatter(dwindows.reshape(n, -1, g.oh, g.ow, g.kh, g.kw), g)


def conv_weight_gradient(dy, cache):
    windows, weights, shape, _, _ = cache
    return np.einsum("ngoij,ngcijrs->gocrs", _grouped(dy, weights), windows).reshape(shape)


def bias_gradient(dy, cache):
    bias = cache[3]
    return None if bias is None else dy.sum(axis=(0, 2, 3))


def _grouped(dy, weights):
    return dy.reshape(dy.shape[0], len(weights), -1, *dy.shape[2:])


def flipped(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return conv(x, weight[..., ::-1, ::-1], bias, stride, padding, dilation, groups)


def flipped_backward(dy, cache):
    dx, dweight, dbias = conv_backward(dy, cache)
    return dx, dweight[..., ::-1, ::-1], dbias


def width_first(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    o, c, kw, kh = weight.shape  # (out, in, width, height)?
    return conv(x, weight.reshape(o, c, kh, kw), bias, stride, padding, dilation, groups)


def width_first_backward(dy, cache):
    dx, dweight, dbias = conv_backward(dy, cache)
    o, c, kh, kw = dweight.shape
    return dx, dweight.reshape(o, c, kw, kh), dbias


def dilation_forgotten(dy, cache):
    windows, weights, shape, bias, g = cache
    near = (windows, weights, shape, bias, g._replace(dh=1, dw=1))
    dx = conv_input_gradient(dy, near)
    return dx, conv_weight_gradient(dy, cache), bias_gradient(dy, cache)


def groups_mixed(dy, cache):
    _, weights, _, _, g = cache
    n = dy.shape[0]
    dwindows = np.einsum("ngoij,gocrs->ncgijrs", _grouped(dy, weights), weights)  # c before g
    dx = scatter(dwindows.reshape(n, -1, g.oh, g.ow, g.kh, g.kw), g)
    return dx, conv_weight_gradient(dy, cache), bias_gradient(dy, cache)


def bias_without_the_batch(dy, cache):
    dx, dweight, _ = conv_backward(dy, cache)
    return dx, dweight, None if cache[3] is None else dy.sum(axis=(2, 3))


cases = mst.conv2d(values=mst.digits())
SOUND = (conv, conv_backward)

ANIMALS = [
    Animal(
        "kernel flipped",
        "Mathematics means something else by convolution: it turns the kernel by 180 degrees, "
        "and so does scipy.signal.convolve2d. Networks correlate. If you train from scratch, "
        "you see no difference. With weights from elsewhere, everything is wrong.",
        SOUND, (flipped, flipped_backward), cases, causes.FLIPPED, compare=True,
    ),
    Animal(
        "height and width swapped",
        "`o, c, kw, kh = weight.shape` looks as good as the right order. With square kernels, "
        "which everybody tests, it makes no difference.",
        SOUND, (width_first, width_first_backward), cases, causes.SWAPPED, compare=True,
    ),
    Animal(
        "dilation forgotten in col2im",
        "Someone added dilation to im2col and not to its transpose. With dilation 1 the two "
        "fit, and the weights' gradient is right for any dilation.",
        SOUND, (conv, dilation_forgotten), cases,
        "dilation",
    ),
    Animal(
        "groups mixed",
        "A reshape merges two axes in their order. If the order is (channel, group) in place "
        "of (group, channel), every shape still fits, and with one group everything is right.",
        SOUND, (conv, groups_mixed), cases, causes.MISPLACED,
    ),
    Animal(
        "bias gradient missing an axis",
        "The bias was added to every pixel, so backward sums over pixels. But it was added to "
        "every image of the batch too. With one image the optimiser broadcasts the mistake "
        "away.",
        SOUND, (conv, bias_without_the_batch), cases, "a sum is missing over an axis",
    ),
]  # fmt: skip

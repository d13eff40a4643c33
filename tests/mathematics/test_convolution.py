"""Convolution as it is taught: what it commutes with, what it is made of, what else it is.

Arrays hold small whole numbers. No sum of them is rounded, in whatever order, so that what is equal
on paper is equal here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d, correlate2d

from minicnn.ops import conv2d, fold, linear, unfold
from minicnn.testing.strategies import (
    Axis,
    Convolution,
    Fill,
    Geometry,
    conv_geometries,
    convolutions,
    fills,
)
from tests.arrays import impls

whole = fills(("ties",), (np.float64,))
few = st.integers(1, 3)
sides = st.tuples(st.integers(1, 4), st.integers(1, 4))
margins = st.tuples(*[st.integers(0, 3)] * 2)  # pixels before and after

equal = np.testing.assert_array_equal


def conv(impl: str, x: np.ndarray, weight: np.ndarray, *bias: np.ndarray, **options: Any):
    return conv2d.forward(x, weight, *bias, **options, impl=impl)[0]


def gradients(impl: str, dy: np.ndarray, x: np.ndarray, weight: np.ndarray, **options: Any):
    """Return dx and dweight."""
    _, cache = conv2d.forward(x, weight, **options, impl=impl)
    return conv2d.backward(dy, cache, impl=impl)[:2]


def options_of(c: Convolution) -> dict[str, Any]:
    return c.geometry.options("stride", "padding", "dilation") | {"groups": c.groups}


# ------------------------------------------------------------------------- linear, and equivariant


@impls
@given(c=convolutions(), fill=whole, a=st.integers(-9, 9), b=st.integers(-9, 9))
def test_is_linear_in_the_image_and_in_the_weight(impl, c: Convolution, fill: Fill, a, b) -> None:
    x, z = fill(*c.x_shape), fill(*c.x_shape)
    weight, other = fill(*c.weight_shape), fill(*c.weight_shape)
    o = options_of(c)
    y = conv(impl, x, weight, **o)
    equal(conv(impl, a * x + b * z, weight, **o), a * y + b * conv(impl, z, weight, **o))
    equal(conv(impl, x, a * weight + b * other, **o), a * y + b * conv(impl, x, other, **o))


@impls
@given(c=convolutions(), fill=whole)
def test_the_bias_is_added_to_every_pixel_of_its_channel(impl, c: Convolution, fill: Fill) -> None:
    x, weight, bias = fill(*c.x_shape), fill(*c.weight_shape), fill(c.weight_shape[0])
    y = conv(impl, x, weight, **options_of(c))
    equal(conv(impl, x, weight, bias, **options_of(c)), y + bias[:, None, None])


@impls
@given(c=convolutions(named=False), outputs=sides, turn=sides, fill=whole)
def test_an_image_turned_round_turns_the_output(impl, c: Convolution, outputs, turn, fill) -> None:
    """What leaves on one side comes in on the other; ``stride`` pixels in are one pixel out."""
    o = options_of(c) | {"padding": 0}
    high, wide = c.geometry[:2]
    x = fill(c.n, c.x_shape[1], outputs[0] * high.stride, outputs[1] * wide.stride)
    weight = fill(*c.weight_shape)

    def around(x: np.ndarray) -> np.ndarray:
        ends = ((0, high.extent - 1), (0, wide.extent - 1))
        return conv(impl, np.pad(x, ((0, 0), (0, 0), *ends), mode="wrap"), weight, **o)

    turned = np.roll(x, (turn[0] * high.stride, turn[1] * wide.stride), axis=(2, 3))
    equal(around(turned), np.roll(around(x), turn, axis=(2, 3)))


@impls
@given(c=convolutions(named=False), above=margins, aside=margins, fill=whole)
def test_an_image_moved_on_black_moves_the_output(impl, c: Convolution, above, aside, fill) -> None:
    high, wide = c.geometry[:2]
    o = options_of(c) | {"stride": 1, "padding": (high.extent - 1, wide.extent - 1)}
    x, weight = fill(*c.x_shape), fill(*c.weight_shape)
    place = ((0, 0), (0, 0), above, aside)
    equal(conv(impl, np.pad(x, place), weight, **o), np.pad(conv(impl, x, weight, **o), place))


# ------------------------------------------------------------------------------ as other operations


@impls
@given(n=few, c=few, o=few, image=sides, fill=whole)
def test_of_one_tap_is_a_linear_layer_on_every_pixel(impl, n, c, o, image, fill: Fill) -> None:
    x, weight, bias, dy = fill(n, c, *image), fill(o, c), fill(o), fill(n, o, *image)
    y, cache = conv2d.forward(x, weight[:, :, None, None], bias, impl=impl)
    dx, dweight, dbias = conv2d.backward(dy, cache, impl=impl)
    pixels, cache = linear.forward(np.moveaxis(x, 1, -1), weight, bias, impl=impl)
    dpixels, *expected = linear.backward(np.moveaxis(dy, 1, -1), cache, impl=impl)
    equal(y, np.moveaxis(pixels, -1, 1))
    equal(dx, np.moveaxis(dpixels, -1, 1))
    equal(dweight[:, :, 0, 0], expected[0])
    equal(dbias, expected[1])


@impls
@given(n=few, c=few, o=few, image=sides, fill=whole)
def test_of_a_kernel_as_large_as_the_image_is_a_linear_layer(impl, n, c, o, image, fill) -> None:
    x, weight, dy = fill(n, c, *image), fill(o, c, *image), fill(n, o)
    y, cache = conv2d.forward(x, weight, impl=impl)
    dx, dweight, _ = conv2d.backward(dy[:, :, None, None], cache, impl=impl)
    flat, cache = linear.forward(x.reshape(n, -1), weight.reshape(o, -1), impl=impl)
    dflat, drows, _ = linear.backward(dy, cache, impl=impl)
    equal(y[:, :, 0, 0], flat)
    equal(dx, dflat.reshape(x.shape))
    equal(dweight, drows.reshape(weight.shape))


@impls
@given(g=conv_geometries(named=False), n=few, channels=few, fill=whole, data=st.data())
def test_a_delta_kernel_picks_one_pixel_of_each_window(impl, g: Geometry, n, channels, fill, data):
    high, wide = g[:2]
    r, s = (data.draw(st.integers(0, axis.kernel - 1)) for axis in (high, wide))
    order = data.draw(st.permutations(range(channels)))
    x, weight = fill(n, channels, *g.image), np.zeros((channels, channels, *g.kernel))
    weight[range(channels), order, r, s] = 1
    pads = ((0, 0), (0, 0), (high.before, high.after), (wide.before, wide.after))
    shifted = np.pad(x, pads)[:, order, r * high.dilation :, s * wide.dilation :]
    picked = shifted[:, :, :: high.stride, :: wide.stride][:, :, : g.windows[0], : g.windows[1]]
    equal(conv(impl, x, weight, **g.options("stride", "padding", "dilation")), picked)


@impls
@given(image=sides, half=margins, dilation=few, n=few, c=few, fill=whole)
def test_a_delta_in_the_middle_is_the_identity(impl, image, half, dilation, n, c, fill) -> None:
    x, dy = fill(n, c, *image), fill(n, c, *image)
    weight = np.zeros((c, c, 2 * half[0] + 1, 2 * half[1] + 1))
    weight[range(c), range(c), half[0], half[1]] = 1
    o = {"padding": "same", "dilation": dilation}
    equal(conv(impl, x, weight, **o), x)
    equal(gradients(impl, dy, x, weight, **o)[0], dy)


# ------------------------------------------------------------- groups, stride, dilation: all undone


@impls
@given(c=convolutions(), fill=whole)
def test_grouped_is_one_convolution_for_each_group(impl, c: Convolution, fill: Fill) -> None:
    x, weight, o = fill(*c.x_shape), fill(*c.weight_shape), options_of(c)
    y = conv(impl, x, weight, **o)
    dy = fill(*y.shape)
    dx, dweight = gradients(impl, dy, x, weight, **o)
    parts = [np.split(a, c.groups, axis) for a, axis in ((dy, 1), (x, 1), (weight, 0))]
    o |= {"groups": 1}
    alone = [gradients(impl, *slices, **o) for slices in zip(*parts, strict=True)]
    equal(y, np.concatenate([conv(impl, *a, **o) for a in zip(*parts[1:], strict=True)], axis=1))
    equal(dx, np.concatenate([one[0] for one in alone], axis=1))
    equal(dweight, np.concatenate([one[1] for one in alone]))


@impls
@given(c=few, outputs=few, kernel=sides, more=margins, fill=whole)
def test_depthwise_takes_every_channel_by_itself(
    impl: str, c: int, outputs: int, kernel, more, fill: Fill
) -> None:
    x = fill(2, c, kernel[0] + more[0], kernel[1] + more[1])
    weight = fill(c * outputs, 1, *kernel)  # so many of each channel
    y = conv(impl, x, weight, groups=c)
    for n, o in np.ndindex(y.shape[:2]):
        equal(y[n, o], correlate2d(x[n, o // outputs], weight[o, 0], "valid"))


@impls
@given(c=convolutions(named=False), fill=whole)
def test_stride_leaves_out_what_lies_between(impl, c: Convolution, fill: Fill) -> None:
    """Backward, the outputs left out have a gradient of 0."""
    x, weight, o = fill(*c.x_shape), fill(*c.weight_shape), options_of(c)
    high, wide = c.geometry[:2]
    taken = (..., slice(None, None, high.stride), slice(None, None, wide.stride))
    y, dense = conv(impl, x, weight, **o), conv(impl, x, weight, **o | {"stride": 1})
    equal(y, dense[taken])
    dy, ddense = fill(*y.shape), np.zeros_like(dense)
    ddense[taken] = dy
    for ours, expected in zip(
        gradients(impl, dy, x, weight, **o),
        gradients(impl, ddense, x, weight, **o | {"stride": 1}),
        strict=True,
    ):
        equal(ours, expected)


@impls
@given(c=convolutions(named=False), fill=whole)
def test_dilation_is_a_kernel_with_zeros_between(impl, c: Convolution, fill: Fill) -> None:
    """Backward, the weights that are not there have a gradient nobody asks for."""
    high, wide = c.geometry[:2]
    x, weight, o = fill(*c.x_shape), fill(*c.weight_shape), options_of(c)
    taps = (..., slice(None, None, high.dilation), slice(None, None, wide.dilation))
    spread = np.zeros((*weight.shape[:2], high.extent, wide.extent))
    spread[taps] = weight
    y = conv(impl, x, weight, **o)
    equal(y, conv(impl, x, spread, **o | {"dilation": 1}))
    dy = fill(*y.shape)
    dx, dweight = gradients(impl, dy, x, weight, **o)
    expected, dspread = gradients(impl, dy, x, spread, **o | {"dilation": 1})
    equal(dx, expected)
    equal(dweight, dspread[taps])


# ------------------------------------------------------------------------------- as signals have it


def over_channels(function: Callable, x: np.ndarray, weight: np.ndarray, mode: str) -> np.ndarray:
    """Return (n, o, ...): for each image and each filter the sum over the channels."""

    def total(image: np.ndarray, filters: np.ndarray) -> np.ndarray:
        return sum(function(a, b, mode) for a, b in zip(image, filters, strict=True))

    return np.array([[total(image, filters) for filters in weight] for image in x])


@impls
@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@given(n=few, c=few, o=few, half=sides, more=margins, fill=whole)
def test_is_cross_correlation_and_convolution_with_the_flipped_kernel(
    mode: str, impl: str, n: int, c: int, o: int, half, more, fill: Fill
) -> None:
    # Where "same" lies, there is agreement for odd kernels only.
    kh, kw = (2 * k - 1 for k in half) if mode == "same" else half
    x, weight = fill(n, c, kh + more[0], kw + more[1]), fill(o, c, kh, kw)
    y = conv(impl, x, weight, padding=(kh - 1, kw - 1) if mode == "full" else mode)
    equal(y, over_channels(correlate2d, x, weight, mode))
    equal(y, over_channels(convolve2d, x, weight[..., ::-1, ::-1], mode))


@impls
@given(n=few, c=few, o=few, kernel=sides, more=margins, fill=whole)
def test_gradients_are_a_full_convolution_and_a_correlation(
    impl: str, n: int, c: int, o: int, kernel, more, fill: Fill
) -> None:
    x, weight = fill(n, c, kernel[0] + more[0], kernel[1] + more[1]), fill(o, c, *kernel)
    dy = fill(n, o, more[0] + 1, more[1] + 1)
    dx, dweight = gradients(impl, dy, x, weight)
    equal(dx, over_channels(convolve2d, dy, weight.swapaxes(0, 1), "full"))
    # The images take the part of the channels: each weight is used on all of them.
    correlated = over_channels(correlate2d, x.swapaxes(0, 1), dy.swapaxes(0, 1), "valid")
    equal(dweight, correlated.swapaxes(0, 1))


@impls
@given(channels=st.tuples(few, few, few), first=sides, second=sides, more=margins, fill=whole)
def test_of_a_convolution_is_the_one_with_the_convolved_kernels(
    impl: str, channels, first, second, more, fill: Fill
) -> None:
    c, between, o = channels
    image = [a + b - 1 + m for a, b, m in zip(first, second, more, strict=True)]
    x, a, b = fill(2, c, *image), fill(between, c, *first), fill(o, between, *second)
    both = over_channels(convolve2d, b, a.swapaxes(0, 1), "full")
    equal(conv(impl, conv(impl, x, a), b), conv(impl, x, both))


# ------------------------------------------------------------------------------------- output sizes


def by_formula(axis: Axis) -> int:
    n, k, s, d, p = axis.size, axis.kernel, axis.stride, axis.dilation, axis.before
    return int(np.floor((n + 2 * p - d * (k - 1) - 1) / s)) + 1


@impls
@given(g=conv_geometries(named=False))
def test_the_output_has_a_pixel_for_each_place_of_the_window(impl: str, g: Geometry) -> None:
    options = g.options("stride", "padding", "dilation")
    y = conv(impl, np.ones((1, 1, *g.image)), np.ones((1, 1, *g.kernel)), **options)
    assert y.shape[2:] == (by_formula(g.high), by_formula(g.wide)) == g.windows


@impls
@given(image=sides, half=margins, fill=whole)
def test_padding_by_half_an_odd_kernel_keeps_the_size(impl, image, half, fill: Fill) -> None:
    kernel = (2 * half[0] + 1, 2 * half[1] + 1)
    x, weight = fill(1, 1, *image), fill(1, 1, *kernel)
    y = conv(impl, x, weight, padding=(kernel[0] // 2, kernel[1] // 2))
    assert y.shape == x.shape
    equal(y, conv(impl, x, weight, padding="same"))


# ---------------------------------------------------------------------------------- unfold and fold

WINDOWS = ("kernel_size", "dilation", "padding", "stride")


def visits(axis: Axis) -> np.ndarray:
    """Return how many taps of all windows along an axis fall on each pixel."""
    taps = [start + k * axis.dilation for start in axis.starts for k in range(axis.kernel)]
    return np.array([taps.count(p) for p in range(axis.size)])


@impls
@given(g=conv_geometries(named=False), n=few, c=few, fill=whole)
def test_fold_of_unfold_counts_how_often_a_pixel_is_seen(impl, g: Geometry, n, c, fill) -> None:
    x, options = fill(n, c, *g.image), g.options(*WINDOWS)
    columns, _ = unfold.forward(x, **options, impl=impl)
    back, _ = fold.forward(columns, g.image, **options, impl=impl)
    equal(back, x * np.outer(visits(g.high), visits(g.wide)))


@impls
@given(g=conv_geometries(named=False), n=few, c=few, fill=whole)
def test_fold_and_unfold_are_each_others_transpose(impl, g: Geometry, n, c, fill: Fill) -> None:
    x, options = fill(n, c, *g.image), g.options(*WINDOWS)
    columns, seen = unfold.forward(x, **options, impl=impl)
    others = fill(*columns.shape)
    image, put = fold.forward(others, g.image, **options, impl=impl)
    assert (columns * others).sum() == (x * image).sum()
    equal(unfold.backward(others, seen, impl=impl), image)
    equal(fold.backward(x, put, impl=impl), columns)


@impls
@given(c=convolutions(named=False), fill=whole)
def test_is_one_matrix_product_with_the_columns(impl: str, c: Convolution, fill: Fill) -> None:
    """Forward y = W columns; backward dcolumns = W^T dy, folded, and dW = dy columns^T."""
    g, per_group = c.geometry, c.in_per_group
    x, weight = fill(c.n, per_group, *g.image), fill(c.out_per_group, per_group, *g.kernel)
    columns, _ = unfold.forward(x, **g.options(*WINDOWS), impl=impl)
    rows, options = weight.reshape(c.out_per_group, -1), g.options("stride", "padding", "dilation")
    y = conv(impl, x, weight, **options)
    equal(y.reshape(c.n, c.out_per_group, -1), rows @ columns)
    dy = fill(*y.shape)
    dx, dweight = gradients(impl, dy, x, weight, **options)
    flat = dy.reshape(c.n, c.out_per_group, -1)
    equal(dx, fold.forward(rows.T @ flat, g.image, **g.options(*WINDOWS), impl=impl)[0])
    equal(dweight.reshape(rows.shape), (flat @ columns.swapaxes(1, 2)).sum(axis=0))

"""Pooling as it is taught: what it does not see, what it commutes with, what it is made of.

Arrays hold small whole numbers. No sum of them is rounded, and of equal windows the means are
equal; only where means are added again is there rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.ops import adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d
from minicnn.testing.strategies import Axis, Fill, Geometry, fills, pool_geometries
from tests.arrays import assert_close, impls

whole = fills(("ties",), (np.float64,))
few = st.integers(1, 3)
sides = st.tuples(few, few)
any_sides = st.tuples(*[st.integers(1, 9)] * 2)

equal = np.testing.assert_array_equal


def max_pool(impl: str, x: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
    return max_pool2d.forward(x, *args, **options, impl=impl)[0]


def avg_pool(impl: str, x: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
    return avg_pool2d.forward(x, *args, **options, impl=impl)[0]


def options_of(g: Geometry, *more: str) -> dict[str, Any]:
    return g.pool_options("kernel_size", "stride", "padding", *more)


# ------------------------------------------------------------------------------ inside the windows


@impls
@given(n=few, c=few, outputs=sides, kernel=sides, fill=whole)
def test_where_in_its_window_a_pixel_lies_does_not_matter(
    impl: str, n: int, c: int, outputs, kernel, fill: Fill
) -> None:
    """Pixels trade places inside windows that do not overlap, and take their gradients along."""
    places = (n, c, *outputs, kernel[0] * kernel[1])

    def image(windows: np.ndarray) -> np.ndarray:
        parted = windows.reshape(n, c, *outputs, *kernel).swapaxes(3, 4)
        return parted.reshape(n, c, outputs[0] * kernel[0], outputs[1] * kernel[1])

    order = fill.rng.permuted(np.broadcast_to(np.arange(places[-1]), places), axis=-1)
    windows = fill.rng.permutation(np.prod(places)).reshape(places) - 20.0  # all apart
    traded = np.take_along_axis(windows, order, axis=-1)
    dy = fill(n, c, *outputs)
    for pool in (max_pool2d, avg_pool2d):
        y, cache = pool.forward(image(windows), kernel, impl=impl)
        other, other_cache = pool.forward(image(traded), kernel, impl=impl)
        equal(other, y)
        dx = pool.backward(dy, cache, impl=impl)
        dwindows = dx.reshape(n, c, outputs[0], kernel[0], outputs[1], kernel[1]).swapaxes(3, 4)
        moved = np.take_along_axis(dwindows.reshape(places), order, axis=-1)
        equal(pool.backward(dy, other_cache, impl=impl), image(moved))


def pixels(axis: Axis, ceil_mode: bool) -> Iterator[list[int]]:
    """Yield, for each window along an axis, the pixels of the image that it holds."""
    for start in axis.starts_ceil if ceil_mode else axis.starts:
        taps = range(start, start + axis.extent, axis.dilation)
        yield [p for p in taps if 0 <= p < axis.size]


def by_window(function: Callable, x: np.ndarray, g: Geometry, ceil_mode: bool) -> np.ndarray:
    """Return (n, c, oh, ow): ``function`` of the pixels of each window, without the padding."""
    rows, columns = (list(pixels(axis, ceil_mode)) for axis in g[:2])
    y = [[function(x[:, :, p][..., q], axis=(2, 3)) for q in columns] for p in rows]
    return np.array(y).transpose(2, 3, 0, 1)


@impls
@given(g=pool_geometries(dilated=True), n=few, c=few, ceil_mode=st.booleans(), fill=whole)
def test_the_greatest_of_the_negated_is_the_negated_least(
    impl: str, g: Geometry, n: int, c: int, ceil_mode: bool, fill: Fill
) -> None:
    x, options = fill(n, c, *g.image), options_of(g, "dilation") | {"ceil_mode": ceil_mode}
    equal(max_pool(impl, x, **options), by_window(np.max, x, g, ceil_mode))
    equal(-max_pool(impl, -x, **options), by_window(np.min, x, g, ceil_mode))


@impls
@given(g=pool_geometries(), n=few, c=few, ceil_mode=st.booleans(), fill=whole)
def test_the_mean_lies_between_the_least_and_the_greatest(
    impl: str, g: Geometry, n: int, c: int, ceil_mode: bool, fill: Fill
) -> None:
    x, options = fill(n, c, *g.image), options_of(g) | {"ceil_mode": ceil_mode}
    mean = avg_pool(impl, x, **options, count_include_pad=False)
    assert (mean <= max_pool(impl, x, **options)).all()
    assert (mean >= -max_pool(impl, -x, **options)).all()
    equal(mean, by_window(np.mean, x, g, ceil_mode))


@impls
@given(g=pool_geometries(), ceil_mode=st.booleans(), colour=st.integers(-9, 9))
def test_an_image_of_one_colour_keeps_it(impl: str, g: Geometry, ceil_mode, colour: int) -> None:
    x, options = np.full((2, 3, *g.image), float(colour)), options_of(g) | {"ceil_mode": ceil_mode}
    assert (max_pool(impl, x, **options) == colour).all()
    assert (avg_pool(impl, x, **options, count_include_pad=False) == colour).all()


# -------------------------------------------------------------------------------- what commutes


MONOTONE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "affine": lambda x: 3 * x - 7,
    "cube": lambda x: x * x * x,
    "relu": lambda x: np.maximum(x, 0),
    "half, rounded down": lambda x: np.floor(x / 2),
}


@impls
@pytest.mark.parametrize("name", MONOTONE)
@given(g=pool_geometries(dilated=True), ceil_mode=st.booleans(), fill=whole)
def test_the_maximum_commutes_with_what_increases(
    name: str, impl: str, g: Geometry, ceil_mode: bool, fill: Fill
) -> None:
    f, x = MONOTONE[name], fill(2, 2, *g.image)
    options = options_of(g, "dilation") | {"ceil_mode": ceil_mode}
    equal(max_pool(impl, f(x), **options), f(max_pool(impl, x, **options)))


@impls
@given(
    g=pool_geometries(),
    ceil_mode=st.booleans(),
    include=st.booleans(),
    fill=whole,
    a=st.integers(-9, 9),
    b=st.integers(-9, 9),
)
def test_the_mean_is_linear(impl, g: Geometry, ceil_mode, include, fill: Fill, a, b) -> None:
    x, z = fill(2, 2, *g.image), fill(2, 2, *g.image)
    options = options_of(g) | {"ceil_mode": ceil_mode, "count_include_pad": include}
    expected = a * avg_pool(impl, x, **options) + b * avg_pool(impl, z, **options)
    assert_close(avg_pool(impl, a * x + b * z, **options), expected, "y")


# ---------------------------------------------------------------------------- as other operations


@impls
@given(g=pool_geometries(), n=few, c=few, fill=whole)
def test_the_mean_is_a_depthwise_convolution_with_a_constant_kernel(
    impl: str, g: Geometry, n: int, c: int, fill: Fill
) -> None:
    x, weight = fill(n, c, *g.image), np.full((c, 1, *g.kernel), 1 / np.prod(g.kernel))
    y, pooled = avg_pool2d.forward(x, **options_of(g), impl=impl)
    windows = g.options("stride", "padding")
    z, convolved = conv2d.forward(x, weight, None, **windows, groups=c, impl=impl)
    assert_close(y, z, "y")
    dy = fill(*y.shape)
    dx, _, _ = conv2d.backward(dy, convolved, impl=impl)
    assert_close(avg_pool2d.backward(dy, pooled, impl=impl), dx, "dx")


@impls
@given(outputs=sides, kernel=sides, n=few, c=few, fill=whole)
def test_adaptive_pooling_to_a_size_that_divides_is_the_mean_of_windows(
    impl: str, outputs, kernel, n: int, c: int, fill: Fill
) -> None:
    x = fill(n, c, outputs[0] * kernel[0], outputs[1] * kernel[1])
    y, adaptive = adaptive_avg_pool2d.forward(x, outputs, impl=impl)
    z, pooled = avg_pool2d.forward(x, kernel, impl=impl)
    assert_close(y, z, "y")
    dy = fill(*y.shape)
    dx = avg_pool2d.backward(dy, pooled, impl=impl)
    assert_close(adaptive_avg_pool2d.backward(dy, adaptive, impl=impl), dx, "dx")


@impls
@given(image=any_sides, size=any_sides, fill=whole)
def test_adaptive_pooling_of_the_mirror_image_gives_the_mirror_image(impl, image, size, fill):
    """Of sizes that do not divide, regions overlap; they lie alike seen from either end."""
    x, mirrored = fill(2, 3, *image), (..., slice(None, None, -1), slice(None, None, -1))
    y, cache = adaptive_avg_pool2d.forward(x, size, impl=impl)
    other, other_cache = adaptive_avg_pool2d.forward(x[mirrored], size, impl=impl)
    assert_close(other[mirrored], y, "y")
    dy = fill(*y.shape)
    dx = adaptive_avg_pool2d.backward(dy, cache, impl=impl)
    back = adaptive_avg_pool2d.backward(dy[mirrored], other_cache, impl=impl)
    assert_close(back[mirrored], dx, "dx")


@impls
@given(image=sides, times=sides, fill=whole)
def test_adaptive_pooling_to_a_multiple_of_the_size_repeats_pixels(impl, image, times, fill):
    x, size = fill(2, 3, *image), (image[0] * times[0], image[1] * times[1])
    y, _ = adaptive_avg_pool2d.forward(x, size, impl=impl)
    equal(y, x.repeat(times[0], axis=2).repeat(times[1], axis=3))


@impls
@given(first=sides, second=sides, more=sides, fill=whole)
def test_one_after_the_other_is_one_of_larger_windows(impl, first, second, more, fill) -> None:
    """At stride 1 kernels a and b see as far as a + b - 1; side by side they tile a * b."""
    both = tuple(a + b - 1 for a, b in zip(first, second, strict=True))
    x = fill(2, 2, both[0] + more[0], both[1] + more[1])
    equal(max_pool(impl, max_pool(impl, x, first, 1), second, 1), max_pool(impl, x, both, 1))
    tiles = tuple(a * b for a, b in zip(first, second, strict=True))
    x = fill(2, 2, tiles[0] * more[0], tiles[1] * more[1])
    equal(max_pool(impl, max_pool(impl, x, first), second), max_pool(impl, x, tiles))
    assert_close(avg_pool(impl, avg_pool(impl, x, first), second), avg_pool(impl, x, tiles), "y")


# ---------------------------------------------------------------------------------- the way back


@impls
@given(g=pool_geometries(), ceil_mode=st.booleans(), n=few, c=few, fill=whole)
def test_where_no_padding_counts_the_gradient_is_handed_on_undiminished(
    impl: str, g: Geometry, ceil_mode: bool, n: int, c: int, fill: Fill
) -> None:
    x, options = fill(n, c, *g.image), options_of(g) | {"ceil_mode": ceil_mode}
    _, most = max_pool2d.forward(x, **options, impl=impl)
    y, mean = avg_pool2d.forward(x, **options, count_include_pad=False, impl=impl)
    dy = fill(*y.shape)
    total = dy.sum(axis=(2, 3))
    equal(max_pool2d.backward(dy, most, impl=impl).sum(axis=(2, 3)), total)
    assert_close(avg_pool2d.backward(dy, mean, impl=impl).sum(axis=(2, 3)), total, "mean")


@impls
@given(image=any_sides, size=any_sides, fill=whole)
def test_adaptive_pooling_hands_the_gradient_on_undiminished(impl, image, size, fill) -> None:
    y, cache = adaptive_avg_pool2d.forward(fill(2, 3, *image), size, impl=impl)
    dy = fill(*y.shape)
    dx = adaptive_avg_pool2d.backward(dy, cache, impl=impl)
    assert_close(dx.sum(axis=(2, 3)), dy.sum(axis=(2, 3)), "sum")


# ------------------------------------------------------------------------------------- output sizes


def by_formula(axis: Axis, ceil_mode: bool) -> int:
    n, k, s, d, p = axis.size, axis.kernel, axis.stride, axis.dilation, axis.before
    steps = (n + 2 * p - d * (k - 1) - 1) / s
    if not ceil_mode:
        return int(np.floor(steps)) + 1
    count = int(np.ceil(steps)) + 1
    return count - ((count - 1) * s >= n + p)  # a window has to start in the image, or before it


@impls
@given(g=pool_geometries(dilated=True), ceil_mode=st.booleans())
def test_the_output_has_a_pixel_for_each_window(impl: str, g: Geometry, ceil_mode: bool) -> None:
    x, counted = np.ones((1, 1, *g.image)), tuple(len(list(pixels(a, ceil_mode))) for a in g[:2])
    y = max_pool(impl, x, **options_of(g, "dilation"), ceil_mode=ceil_mode)
    assert y.shape[2:] == tuple(by_formula(axis, ceil_mode) for axis in g[:2]) == counted
    g = Geometry(*[axis._replace(dilation=1) for axis in g[:2]])
    counted = tuple(len(list(pixels(a, ceil_mode))) for a in g[:2])
    y = avg_pool(impl, x, **options_of(g), ceil_mode=ceil_mode)
    assert y.shape[2:] == tuple(by_formula(axis, ceil_mode) for axis in g[:2]) == counted

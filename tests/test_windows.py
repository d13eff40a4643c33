"""Windows against counting, the view against indices, scatter as the transpose of the view."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError
from minicnn.testing.strategies import WIDE, seeds
from minicnn.testing.strategies import geometry as geo
from minicnn.windows import Windows, conv_windows, padded, pool_windows, scatter, view

CONV = ("kernel_size", "stride", "padding", "dilation")


def conv_of(g: geo.Geometry) -> Windows:
    return conv_windows("op", g.image, **g.options(*CONV))


def pool_of(g: geo.Geometry, ceil_mode: bool) -> Windows:
    return pool_windows("op", g.image, **g.pool_options(*CONV), ceil_mode=ceil_mode)


any_windows = st.one_of(
    geo.conv_geometries(WIDE).map(conv_of),
    st.builds(pool_of, geo.pool_geometries(WIDE, dilated=True), st.booleans()),
)


@given(g=geo.conv_geometries(WIDE))
def test_fields_are_the_options(g: geo.Geometry) -> None:
    high, wide = g[:2]
    assert conv_of(g) == Windows(
        h=high.size, w=wide.size, kh=high.kernel, kw=wide.kernel,
        sh=high.stride, sw=wide.stride, dh=high.dilation, dw=wide.dilation,
        top=high.before, bottom=high.after, left=wide.before, right=wide.after,
        oh=len(high.starts), ow=len(wide.starts),
    )  # fmt: skip


@given(g=geo.pool_geometries(WIDE, dilated=True))
def test_ceil_mode_counts_a_last_window_that_starts_inside(g: geo.Geometry) -> None:
    floor, ceil = pool_of(g, False), pool_of(g, True)
    assert (floor.oh, floor.ow) == g.windows
    assert (ceil.oh, ceil.ow) == tuple(len(axis.starts_ceil) for axis in g[:2])
    assert ceil._replace(oh=floor.oh, ow=floor.ow) == floor


@given(g=any_windows, seed=seeds)
def test_view_takes_the_pixels_by_their_indices(g: Windows, seed: int) -> None:
    x = np.random.default_rng(seed).integers(1, 99, (2, 2, g.h, g.w)).astype(float)
    windows = view(x, g, fill=-7)
    assert windows.shape == (2, 2, g.oh, g.ow, g.kh, g.kw)
    for i, j, r, s in np.ndindex(windows.shape[2:]):
        p, q = i * g.sh + r * g.dh - g.top, j * g.sw + s * g.dw - g.left
        inside = 0 <= p < g.h and 0 <= q < g.w
        expected = x[:, :, p, q] if inside else np.full((2, 2), -7)
        np.testing.assert_array_equal(windows[:, :, i, j, r, s], expected)


def test_view_cannot_be_written_to() -> None:
    windows = view(np.ones((1, 1, 3, 3)), conv_windows("op", (3, 3), 2))
    with pytest.raises(ValueError, match="read-only"):
        windows[...] = 0


@given(g=any_windows, seed=seeds)
def test_scatter_is_the_transpose_of_view(g: Windows, seed: int) -> None:
    """<w, view(x)> = <scatter(w), x>, exactly: the numbers are small integers."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, (2, 2, g.h, g.w)).astype(float)
    w = rng.integers(-9, 9, (2, 2, g.oh, g.ow, g.kh, g.kw)).astype(float)
    before = w.copy()
    dx = scatter(w, g)
    assert dx.shape == x.shape
    assert (w * view(x, g)).sum() == (dx * x).sum()
    np.testing.assert_array_equal(w, before)


@given(g=any_windows)
def test_padded_holds_the_image_and_every_window(g: Windows) -> None:
    p = padded(np.ones((1, 1, g.h, g.w)), g, fill=5)[0, 0]
    assert (p[g.top : g.top + g.h, g.left : g.left + g.w] == 1).all()
    assert (p == 5).sum() == p.size - g.h * g.w
    assert p.shape[0] >= (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1
    assert p.shape[1] >= (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            (3, 9),
            {"kernel_size": 5},
            "op: the kernel does not fit along height: input 3 + 2*padding 0 = 3 < kernel 5. "
            "Use a kernel of at most 3, or pad the input.",
        ),
        (
            (9, 3),
            {"kernel_size": (2, 7), "padding": (0, 1)},
            "op: the kernel does not fit along width: input 3 + 2*padding 1 = 5 < kernel 7. "
            "Use a kernel of at most 5, or pad the input.",
        ),
        (
            (6, 6),
            {"kernel_size": 4, "dilation": 2},
            "op: the kernel does not fit along height: input 6 + 2*padding 0 = 6 < "
            "dilated kernel 2*(4 - 1) + 1 = 7. Use a kernel of at most 3, or pad the input.",
        ),
    ],
)
def test_a_kernel_that_does_not_fit(image: tuple[int, int], options: dict, message: str) -> None:
    with pytest.raises(ShapeError) as error:
        conv_windows("op", image, **options)
    assert str(error.value) == message


@given(
    size=st.integers(1, 8),
    kernel=st.integers(1, 8),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 3),
)
def test_the_kernel_that_an_error_recommends_fits_and_is_the_largest(
    size: int, kernel: int, padding: int, dilation: int
) -> None:
    def fits(k: int) -> bool:
        return dilation * (k - 1) + 1 <= size + 2 * padding

    try:
        conv_windows("op", (size, size), kernel, 1, padding, dilation)
    except ShapeError as error:
        best = int(str(error).rpartition("at most ")[2].partition(",")[0])
        assert fits(best)
        assert not fits(best + 1)
        assert not fits(kernel)
    else:
        assert fits(kernel)


def test_padding_same_needs_stride_1() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        conv_windows("op", (9, 9), 3, (1, 2), "same")
    assert str(error.value) == (
        "op: padding='same' needs stride 1, got stride (1, 2). Give the padding as integers."
    )


def test_padding_by_another_name() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        conv_windows("op", (9, 9), 3, 1, "full")
    assert str(error.value) == "op: padding must be integers, 'valid' or 'same', got 'full'."


def test_padding_of_more_than_half_the_kernel() -> None:
    with pytest.raises(ShapeError) as error:
        pool_windows("op", (9, 9), (4, 3), padding=2)
    assert str(error.value) == (
        "op: padding 2 along width is more than half the kernel 3, so that a window could hold "
        "nothing but padding. Use a padding of at most 1."
    )

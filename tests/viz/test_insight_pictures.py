"""The pictures that look into networks: what they draw, what they write, what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb

from minicnn import viz
from minicnn.viz.paper import BLUE, LINES, VERMILION
from tests.viz.test_pictures import nothing_is_cut_off, texts

rng = np.random.default_rng(0)


# ------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize(
    ("shape", "columns"),
    [((1, 8, 8), None), ((20, 28, 28, 1), None), ((5, 20, 30, 3), 2), ((7, 40, 10), None)],
)
def test_images_are_drawn_as_they_are(shape, columns):
    images = rng.integers(0, 256, shape).astype(np.uint8)
    names = [f"number {i}\nbelow" for i in range(shape[0])]
    figure = viz.images(images, names, columns=columns, title="All of $them$")
    assert {*names, "All of $them$"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    drawn = figure.axes[0].images
    assert len(drawn) == shape[0]
    for image, picture in zip(drawn, images, strict=True):
        assert np.allclose(image.get_array(), np.squeeze(picture / 255))
        left, right, bottom, top = image.get_extent()
        assert (right - left) / (bottom - top) == pytest.approx(shape[2] / shape[1])
    places = {image.get_extent()[0] for image in drawn}
    assert columns is None or len(places) == columns


def test_images_overlap_nowhere():
    names = [f"a rather long title {i}" for i in range(9)]
    figure = viz.images(rng.random((9, 8, 8)), names)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    boxes += [image.get_window_extent() for image in figure.axes[0].images]
    for i, one in enumerate(boxes):
        assert not any(
            one.x0 < other.x1 - 1 and other.x0 < one.x1 - 1
            and one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1
            for other in boxes[i + 1 :]
        )  # fmt: skip


def framed(axes):
    """Return whether each image has a frame around it, as the line of the same number."""
    frames = [line.get_xydata() for line in axes.lines]
    return all(
        np.allclose(
            frame, [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        )
        for frame, (left, right, bottom, top) in zip(
            frames, [image.get_extent() for image in axes.images], strict=True
        )
    )


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((5, 20, 30), 2),
        ((3, 40, 10), None),
        ((40, 8, 8), None),
        ((2, 9, 9), 7),
        ((7, 30, 300), None),
    ],
)
def test_a_sheet_has_rows_of_framed_images_with_a_title_in_the_middle_above(shape, columns):
    n = shape[0]
    figure = viz.images(rng.random(shape), [f"{i}" for i in range(n)], columns=columns)
    assert figure.get_figwidth() <= 9.4
    axes = figure.axes[0]
    assert framed(axes)
    boxes = [image.get_extent() for image in axes.images]
    rows = sorted({top for *_, top in boxes})
    across = sorted({left for left, *_ in boxes})
    assert len(rows) == -(-n // len(across))
    assert [(left, top) for left, _, _, top in boxes] == [
        (left, top) for top in rows for left in across
    ][:n]  # fmt: skip
    for text, (left, right, _, top) in zip(axes.texts, boxes, strict=True):
        assert text.get_position()[0] == pytest.approx((left + right) / 2)
        assert top - 0.2 < text.get_position()[1] < top
    sides = {round(max(right - left, bottom - top), 9) for left, right, bottom, top in boxes}
    assert len(sides) == 1
    assert max(sides) <= 2.2
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    assert all(x0 < a < b < x1 and y0 < d < c < y1 for a, b, c, d in boxes)


def test_a_sheet_is_wider_than_high_and_keeps_long_titles_apart():
    many = viz.images(rng.random((60, 8, 8)))
    assert many.get_figwidth() > many.get_figheight()
    long = viz.images(rng.random((6, 8, 8)), ["a title of some forty letters, or a few more"] * 6)
    across = {image.get_extent()[0] for image in long.axes[0].images}
    assert len(across) == 2
    small = viz.images(rng.random((1, 8, 8)), side=1.0).axes[0].images[0].get_extent()
    assert small[1] - small[0] == pytest.approx(1.0)


def test_a_sheet_gives_its_heading_and_its_scale_room():
    heading = "a heading that is longer than the picture of one image alone would be wide, by far"
    figure = viz.images(rng.random((1, 8, 8)), title=heading)
    assert heading in texts(figure)
    assert nothing_is_cut_off(figure)
    tall = viz.feature_maps(rng.random((48, 30, 6)), columns=2)
    tall.draw_without_rendering()
    assert nothing_is_cut_off(tall)
    bar = tall.axes[1].get_window_extent()
    assert bar.height <= 3.1 * tall.dpi
    assert 0.1 * tall.dpi < bar.width < 0.2 * tall.dpi


def test_grey_is_from_black_to_white_and_pixels_stay_pixels():
    images = np.array([[[0.25, 0.5]]])
    (image,) = viz.images(images).axes[0].images
    assert np.allclose(image.to_rgba(images[0])[0, :, 0], [0.25, 0.5], atol=0.01)
    assert image.get_interpolation() == "nearest"


def test_floats_outside_of_0_to_1_are_cut_off():
    (image,) = viz.images(np.array([[[-1.0, 0.5, 3.0]]])).axes[0].images
    assert image.get_array().tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        (np.zeros((2, 3, 8, 8)), ValueError, "Channels go last: images.transpose(0, 2, 3, 1)."),
        (np.zeros((8, 8)), ValueError, "A single image is a batch of one: image[None]."),
        (np.zeros((0, 8, 8)), ValueError, "none of them empty, got shape (0, 8, 8)"),
        (np.zeros((1, 8, 8), int), TypeError, "must be uint8, or floats from 0 to 1, got int64"),
        (np.full((1, 8, 8), np.nan), ValueError, "images holds NaN or infinity"),
    ],
)
def test_images_refuse(images, error, text):
    with pytest.raises(error, match=re.escape(text)):
        viz.images(images)


def test_titles_and_columns_have_to_fit():
    with pytest.raises(ValueError, match="images: 1 titles for 2 pictures"):
        viz.images(np.zeros((2, 8, 8)), ["one"])
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        viz.images(np.zeros((2, 8, 8)), columns=0)


# ------------------------------------------------------------------------------------ feature maps


def test_feature_maps_share_a_scale_on_which_0_is_white():
    y = rng.standard_normal((6, 5, 7))
    figure = viz.feature_maps(y, title="conv1")
    assert {"0", "5", "conv1", "activation"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    for image, channel in zip(figure.axes[0].images, y, strict=True):
        assert np.array_equal(image.get_array(), channel)
        assert -image.norm.vmin == image.norm.vmax == np.abs(y).max()
        assert np.allclose(image.to_rgba(0.0), 1, atol=0.01)
        assert np.allclose(image.to_rgba(np.abs(y).max())[:3], to_rgb(VERMILION))
        assert np.allclose(image.to_rgba(-np.abs(y).max())[:3], to_rgb(BLUE))
    after = viz.feature_maps(np.maximum(y, 0), list("abcdef"))
    assert after.axes[0].images[0].norm.vmin == 0
    assert {"a", "f"} <= set(texts(after))
    viz.feature_maps(np.zeros((2, 3, 3)))
    with pytest.raises(
        ValueError, match=re.escape("Of a batch (n, c, h, w) take one image: y[0].")
    ):
        viz.feature_maps(y[None])


# ---------------------------------------------------------------------------------------- mistakes


def wrong() -> tuple[np.ndarray, ...]:
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.0, 0.9], [0.45, 0.35, 0.2]])
    return rng.random((4, 8, 8)), np.array([1, 1, 0, 1]), p


def test_the_most_certain_mistakes_come_first():
    images, labels, p = wrong()
    figure = viz.mistakes(images, labels, p, ["ant", "bee", "a very long name of a cat"])
    titles = [t.get_text() for t in figure.axes[0].texts]
    assert titles == [
        "a very long n…  90%\ntrue: ant  10%",
        "ant  60%\ntrue: bee  30%",
        "ant  45%\ntrue: bee  35%",
    ]
    assert "3 of 4 wrong, the most certain first" in texts(figure)
    drawn = [image.get_array() for image in figure.axes[0].images]
    assert np.allclose(drawn, images[[2, 0, 3]])
    assert nothing_is_cut_off(figure)
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.5]
    length = [np.ptp(bar.get_xdata()) for bar in bars]
    wide = np.ptp(figure.axes[0].images[0].get_extent()[:2])
    assert np.allclose(length, wide * np.array([0.9, 0.1, 0.6, 0.3, 0.45, 0.35]))
    assert "; 1 shown" in " ".join(texts(viz.mistakes(images, labels, p, "abc", most=1)))


def test_where_nothing_is_wrong_the_least_certain_are_shown():
    images, _, p = wrong()
    figure = viz.mistakes(images, p.argmax(axis=1), p, "abc", most=2)
    assert "all 4 right; the least certain of them" in texts(figure)
    titles = [t.get_text() for t in figure.axes[0].texts]
    assert titles == ["a  45%\ntrue: a  45%", "a  60%\ntrue: a  60%"]


def test_mistakes_refuse():
    images, labels, p = wrong()
    for change, text in (
        ((images, labels[:3], p, "abc"), "4 images and 3 classes need labels (4,) and prob"),
        ((images, labels + 2, p, "abc"), "labels must be integers from 0 to 2"),
        ((images, labels, np.log(p + 1), "abc"), "Logits become probabilities by ops.softmax"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            viz.mistakes(*change)


# ---------------------------------------------------------------------------------------- heatmaps


def test_heatmaps_lie_over_their_images():
    images = rng.random((2, 10, 12))
    cam, signed = rng.random((2, 3, 4)), rng.standard_normal((2, 10, 12))
    figure = viz.heatmaps(images, {"Grad-CAM": cam, "occlusion": signed}, ["a 3", "a 5"])
    assert {"a 3", "a 5", "Grad-CAM", "occlusion"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    drawn = figure.axes[0].images
    assert len(drawn) == 2 * (1 + 2 * 2)  # each map above a pale copy of its image
    assert np.allclose(drawn[0].get_array(), images[0])
    over = np.asarray(drawn[4].get_array())  # of the first image, occlusion
    strongest = np.unravel_index(np.abs(signed[0]).argmax(), (10, 12))
    assert np.allclose(over[..., 3], 0.9 * np.abs(signed[0]) / np.abs(signed[0]).max())
    expected = VERMILION if signed[0][strongest] > 0 else BLUE
    assert np.allclose(over[strongest][:3], to_rgb(expected))
    assert drawn[2].get_extent() == drawn[1].get_extent()
    for maps, text in (
        ({}, "there is no map to draw"),
        ({"cam": cam[:1]}, "cam must be (n, h, w), one map for each of 2 images, got shape (1, 3"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            viz.heatmaps(images, maps)
    with pytest.raises(ValueError, match="1 titles for 2 images"):
        viz.heatmaps(images, {"cam": cam}, ["one"])


def test_what_lies_below_a_map_is_pale_and_dark_on_light():
    from minicnn.viz.places import _faint

    dark = np.zeros((4, 4))
    dark[0, 0] = 1
    assert _faint(dark).min() == _faint(dark)[0, 0] == pytest.approx(0.55)
    assert _faint(dark)[1, 1] == 1
    assert np.array_equal(_faint(1 - dark), _faint(dark))
    colour = np.ones((2, 2, 3))
    colour[0, 0] = 1, 0, 0
    assert _faint(colour)[0, 0] == pytest.approx(0.55 + 0.45 * 0.299)


def test_heatmaps_have_a_key_and_name_each_map_once():
    images, up = rng.random((2, 8, 8)), rng.random((2, 4, 4))

    def key(figure):
        (legend,) = figure.legends
        return [text.get_text() for text in legend.get_texts()]

    assert key(viz.heatmaps(images, {"cam": up})) == ["raises the score"]
    signed = viz.heatmaps(images, {"cam": up, "saliency": up - 0.5})
    assert key(signed) == ["raises the score", "lowers it"]
    words = [text.get_text() for text in signed.axes[0].texts]
    assert words == ["image", "cam", "saliency", "", "", ""]
    named = viz.heatmaps(images, {"cam": up}, ["one", "two"]).axes[0]
    assert [text.get_text() for text in named.texts] == ["one", "cam", "two", ""]
    for smooth, way in ((False, "nearest"), (True, "bilinear")):
        drawn = viz.heatmaps(images, {"cam": up}, smooth=smooth).axes[0].images
        assert drawn[2].get_interpolation() == way
    second = viz.heatmaps(images, {"a": up, "b": 2 * up}).axes[0].images[9]  # of the second image
    assert np.allclose(second.get_array()[..., 3], 0.9 * up[1] / up[1].max())


def test_one_heatmap_lies_over_its_image_on_the_scale_of_its_signs():
    for values, low in ((np.array([[1.0, 4.0]]), 0), (np.array([[-2.0, 1.0]]), -2)):
        figure = viz.heatmap(rng.random((6, 9)), values)
        below, above = figure.axes[0].images
        assert below.get_extent() == above.get_extent()
        high = np.abs(values).max()
        assert figure.axes[1].get_ylim() == (low, high)
        (scale,) = (c for c in figure.axes[1].collections if isinstance(c, QuadMesh))
        colours = scale.cmap(np.linspace(0, 1, 257))
        zero = 0 if low == 0 else 128
        assert np.allclose(colours[-1, :3], to_rgb(VERMILION))
        assert np.allclose(colours[zero, :3], 1, atol=0.02)
    with pytest.raises(ValueError, match="heatmap: values holds NaN or infinity"):
        viz.heatmap(np.zeros((4, 4)), np.array([[np.inf]]))


def test_one_heatmap_has_a_scale():
    figure = viz.heatmap(
        rng.random((8, 9, 3)), rng.standard_normal((4, 4)), title="t", label="fall"
    )
    assert {"t", "fall"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    viz.heatmap(rng.random((8, 9)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match=re.escape("values must be (h, w), not empty")):
        viz.heatmap(rng.random((8, 9)), np.zeros((1, 4, 4)))


# --------------------------------------------------------------------------------- receptive field


def test_receptive_fields_are_where_they_are_said_to_be():
    image = rng.random((20, 30, 3))
    boxes = {"conv1": (9, 14, 11, 16), "layer4": (-5, 4, 24, 26)}
    figure = viz.receptive_field(image, boxes, rng.random((20, 30)), title="the middle unit")
    written = texts(figure)
    assert {"conv1: 3 x 3", "layer4: 30 x 23", "the middle unit"} <= set(written)
    assert nothing_is_cut_off(figure)
    axes = figure.axes[0]
    coloured = [line for line in axes.lines if line.get_color() in LINES]
    assert coloured[1].get_xdata().tolist() == [3.5, 26.5, 26.5, 3.5, 3.5]
    assert coloured[1].get_ydata().tolist() == [-5.5, -5.5, 24.5, 24.5, -5.5]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < -0.5
    assert right > 29.5
    assert bottom > 24.5
    assert top < -5.5
    for arguments, text in (
        ((image, {"a": (3, 0, 2, 5)}), "a is (3, 0, 2, 5), but a box is (top, left, bottom, right"),
        ((image, {}, np.zeros((3, 3))), "effective must be (20, 30) as the image, got (3, 3)"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            viz.receptive_field(*arguments)


def test_receptive_fields_are_told_apart_by_colour_and_stroke():
    boxes = {f"$layer{i}": (4 - i, 4 - i, 4 + i, 5 + i) for i in range(9)}
    axes = viz.receptive_field(rng.random((9, 9)), boxes).axes[0]
    seen = [line for line in axes.lines if line.get_color() != "white"]
    assert len({(line.get_color(), line.get_linestyle()) for line in seen}) == 9
    assert len({line.get_color() for line in seen[:7]}) == 7
    assert len({line.get_linestyle() for line in seen[:4]}) == 4
    labels = axes.get_legend().get_texts()
    assert [text.get_text() for text in labels][1] == "$layer1: 3 x 4"
    assert not any(text.get_parse_math() for text in labels)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("column of pixels", "row of pixels")
    assert viz.receptive_field(rng.random((9, 9)), {}).axes[0].get_legend() is None


def test_an_effective_field_is_a_shade_over_a_pale_image():
    image, effective = rng.random((6, 8)), rng.random((6, 8))
    (plain,) = viz.receptive_field(image, {}).axes[0].images
    assert np.array_equal(plain.get_array(), image)
    below, above = viz.receptive_field(image, {}, effective).axes[0].images
    assert below.get_array().min() > 0.5
    assert np.allclose(above.get_array()[..., 3], 0.9 * effective / effective.max())
    assert below.get_extent() == above.get_extent()
    axes = viz.receptive_field(rng.random((10, 40)), {"a": (-3, -2, 12, 45)}).axes[0]
    assert axes.get_xlim() == pytest.approx((-2.5 - 0.8, 45.5 + 0.8))
    assert axes.get_ylim() == pytest.approx((12.5 + 0.8, -3.5 - 0.8))


@pytest.mark.parametrize("box", [(3, 0, 2, 5), (0, 5, 3, 4)])
def test_a_box_ends_after_it_begins(box):
    with pytest.raises(ValueError, match="ends after it begins"):
        viz.receptive_field(np.zeros((8, 8)), {"a": box})
    one_pixel = viz.receptive_field(np.zeros((8, 8)), {"a": (2, 3, 2, 3)})
    assert "a: 1 x 1" in texts(one_pixel)


# ------------------------------------------------------------------------------------------- plots


def test_lines_are_told_apart_by_colour_and_stroke():
    y = {f"line {i}": rng.random(5 + i % 2) for i in range(9)}
    figure = viz.lines(y, [1, 2, 4, 8, 16, 32], xlabel="x", ylabel="y", title="t", xscale="log")
    (axes,) = figure.axes
    assert {"x", "y", "t", *y} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 4, 8, 16]
    assert np.array_equal(axes.lines[1].get_ydata(), y["line 1"])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    for arguments, text in (
        (({},), "there is no line to draw"),
        (({"a": [[1]]},), "a must be a row of numbers, got shape (1, 1)"),
        (({"a": [1, 2]}, [1]), "a has 2 points, x has 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            viz.lines(*arguments)
    with pytest.raises(ValueError, match="yscale must be linear or log, got 'cubic'"):
        viz.lines({"a": [1]}, yscale="cubic")


def test_gradient_flow_compares_networks_of_different_depth():
    figure = viz.gradient_flow({"deep": {"a": 1e-6, "b": 1e-3, "c": 1.0}, "flat": [2.0, 0.0]})
    (axes,) = figure.axes
    assert {"deep (3 layers)", "flat (2 layers, 1 of them 0)"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_xdata().tolist() == [0, 0.5, 1]
    assert axes.lines[0].get_ydata().tolist() == [1e-6, 1e-3, 1]
    assert np.isnan(axes.lines[1].get_ydata()[1])
    with pytest.raises(ValueError, match="there is no network to draw"):
        viz.gradient_flow({})
    with pytest.raises(ValueError, match="a must list one norm, not negative, for each layer"):
        viz.gradient_flow({"a": [-1.0]})


def test_a_matrix_with_its_numbers():
    values = np.array([[1.5, -2.0, 0.0], [0.25, 4.0, -4.0]])
    figure = viz.matrix(
        values, rows=["up", "down"], columns=["first of all", "b", "c"], xlabel="x", title="t"
    )
    assert {"1.5", "-2", "0", "0.25", "up", "first of all", "x", "t"} <= set(texts(figure))
    assert nothing_is_cut_off(figure)
    axes = figure.axes[0]
    assert {t.get_text(): t.get_position() for t in axes.texts}["-4"] == (2, 1)
    (shown,) = axes.images
    assert np.allclose(shown.to_rgba(4.0)[:3], to_rgb(VERMILION))
    assert np.allclose(shown.to_rgba(-4.0)[:3], to_rgb(BLUE))
    large = viz.matrix(rng.random((90, 40)) > 0.5)
    assert not large.axes[0].texts  # too small to read
    assert nothing_is_cut_off(large)
    with pytest.raises(ValueError, match="3 names of rows for 2 of them"):
        viz.matrix(values, rows=list("abc"))
    with pytest.raises(ValueError, match="2 axes, none of them empty, are needed"):
        viz.matrix(np.zeros(3))


def test_a_matrix_writes_numbers_in_the_form_asked_for_and_fits_a_page():
    figure = viz.matrix(np.array([[0.5, -2.0]]), form="{:+.2f}")
    assert {"+0.50", "-2.00"} <= set(texts(figure))
    colours = {t.get_text(): t.get_color() for t in figure.axes[0].texts}
    assert colours["-2.00"] == "white"
    for shape in ((1, 1), (3, 60), (60, 3), (200, 200)):
        width, height = viz.matrix(rng.random(shape)).get_size_inches()
        assert 1 < width < 12
        assert 1 < height < 12
    for names, turn in ((["a", "b"], 0), (["a long name", "b"], 90)):
        axes = viz.matrix(np.eye(2), columns=names).axes[0]
        assert {label.get_rotation() for label in axes.get_xticklabels()} == {turn}
    with pytest.raises(ValueError, match="1 names of columns for 2 of them"):
        viz.matrix(np.eye(2), columns=["a"])
    with pytest.raises(ValueError, match="matrix: values holds NaN"):
        viz.matrix(np.array([[np.nan]]))
    zero = viz.matrix(np.zeros((2, 2))).axes[0].images[0]
    assert np.allclose(zero.to_rgba(0.0), 1, atol=0.01)


def test_the_legend_of_many_lines_stands_beside_them():
    for count, beside in ((4, False), (5, True)):
        figure = viz.lines({f"${i}": rng.random(3) for i in range(count)})
        axes = figure.axes[0]
        figure.draw_without_rendering()
        legend = axes.get_legend()
        assert (legend.get_window_extent().x0 > axes.get_window_extent().x1) == beside
        assert [text.get_text() for text in legend.get_texts()] == [f"${i}" for i in range(count)]
        assert axes.lines[0].get_xdata().tolist() == [0, 1, 2]
    points = {n: viz.lines({"a": np.zeros(n)}).axes[0].lines[0].get_marker() for n in (40, 41)}
    assert points == {40: ".", 41: ""}
    with pytest.raises(ValueError, match="xscale must be linear or log, got 'sqrt'"):
        viz.lines({"a": [1]}, xscale="sqrt")
    with pytest.raises(ValueError, match=r"a must be a row of numbers, got shape \(0,\)"):
        viz.lines({"a": []})


def test_one_layer_alone_stands_in_the_middle():
    (line,) = viz.gradient_flow({"one": [0.5]}).axes[0].lines
    assert line.get_xydata().tolist() == [[0.5, 0.5]]
    assert line.get_label() == "one (1 layer)"
    with pytest.raises(ValueError, match="b must list one norm"):
        viz.gradient_flow({"a": [1.0], "b": []})

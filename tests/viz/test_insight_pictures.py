"""The pictures that look into networks: what they draw, what they write, what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest
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

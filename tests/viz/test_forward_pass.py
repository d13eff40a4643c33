"""The picture of one image in a network: its stages, its maps and its bars."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minicnn import ShapeError, models, nn, viz
from tests.viz.test_pictures import nothing_is_cut_off, texts

rng = np.random.default_rng(0)


def test_lenet_from_the_image_to_the_bars():
    model = models.lenet5(rng=np.random.default_rng(0))
    x = rng.standard_normal((1, 28, 28), dtype=np.float32)
    figure = viz.forward_pass(model, x, [f"digit {i}" for i in range(10)], title="a five")
    written = texts(figure)
    stages = [text for text in written if "\n" in text]
    assert stages == [
        "image\n28 x 28",
        "conv1, ReLU\n6 maps, 24 x 24",
        "pool1\n6 maps, 12 x 12",
        "conv2, ReLU\n16 maps, 8 x 8",
        "pool2\n16 maps, 4 x 4",
        "fc1, ReLU\n120 numbers",
        "fc2, ReLU\n84 numbers",
        "fc3\n10 numbers",
    ]
    assert {"digit 0", "digit 9", "a five"} <= set(written)
    assert nothing_is_cut_off(figure)
    images = figure.axes[0].images
    assert len(images) == 1 + 6 + 6 + 16 + 16 + 1 + 1
    first = np.maximum(model.conv1(x[None])[0], 0)
    for drawn, channel in zip(images[1:7], first, strict=True):
        assert np.array_equal(drawn.get_array(), channel)
        assert drawn.norm.vmax == first.max()  # one scale for all maps of a stage
    pooled = first.reshape(6, 12, 2, 12, 2).max(axis=(2, 4))
    assert np.array_equal(images[7].get_array(), pooled[0])
    logits = model(x[None])[0].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum()
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(np.divide(widths, sum(widths)), p, rtol=1e-5)


def test_layers_run_in_another_order_than_they_are_written():
    class Own(nn.Module):
        def __init__(self):
            self.last = nn.Linear(18, 3, rng=np.random.default_rng(0))
            self.first = nn.Conv2d(3, 2, 3, rng=np.random.default_rng(0))

        def forward(self, x, *, training):
            y, _ = self.first.forward(x, training=training)
            return self.last.forward(y.reshape(len(y), -1), training=training)[0], None

    figure = viz.forward_pass(Own(), rng.standard_normal((3, 5, 5)).astype(np.float32))
    stages = [text.split("\n") for text in texts(figure) if "\n" in text]
    assert stages == [["image", "5 x 5"], ["first", "2 maps, 3 x 3"], ["last", "3 numbers"]]


def test_many_maps_and_many_classes_are_cut_and_said():
    model = nn.Sequential(
        conv=nn.Conv2d(1, 40, 3, rng=np.random.default_rng(0)), mean=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(), fc=nn.Linear(40, 12, rng=np.random.default_rng(0)),
        softmax=nn.Softmax(),
    )  # fmt: skip
    x = rng.standard_normal((1, 1, 6, 6), dtype=np.float32)
    figure = viz.forward_pass(model, x, image=np.zeros((6, 6), np.uint8))
    written = texts(figure)
    assert "conv\n16 of 40 maps, 4 x 4" in written
    bars = figure.axes[0].patches
    assert len(bars) == 10
    p = np.sort(model(x)[0])[-10:]  # probabilities already: no second softmax
    widths = np.sort([bar.get_width() for bar in bars])
    np.testing.assert_allclose(widths / widths[-1], p / p[-1], rtol=1e-5)
    assert nothing_is_cut_off(figure)


def test_the_picture_fits_into_a_readme(tmp_path):
    x = rng.standard_normal((1, 28, 28), dtype=np.float32)
    path = viz.save(viz.forward_pass(models.lenet5(rng=rng), x), tmp_path / "lenet5.png")
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("x", "classes", "error", "text"),
    [
        (np.zeros((2, 1, 28, 28), np.float32), None, ValueError, "x must be one image, (c, h, w)"),
        (np.zeros((28, 28), np.float32), None, ValueError, "x must be one image, (c, h, w)"),
        (np.zeros((1, 28, 28), np.float32), ["a"], ValueError, "1 names of classes for 10 scores"),
        (np.full((1, 28, 28), np.nan, np.float32), None, ValueError, "x holds NaN or infinity"),
        (np.zeros((3, 28, 28), np.float32), None, ShapeError, "conv2d"),
    ],
)
def test_it_refuses(x, classes, error, text):
    with pytest.raises(error, match=re.escape(text)):
        viz.forward_pass(models.lenet5(rng=rng), x, classes)


def test_a_network_without_classes_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=rng))
    with pytest.raises(ValueError, match="one number for each class, got shape \\(2, 3, 3\\)"):
        viz.forward_pass(model, np.ones((1, 5, 5), np.float32))

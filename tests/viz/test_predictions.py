"""The picture of ``minicnn predict``: each image, what the network saw, and its bars."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex

from minicnn.viz import predictions
from minicnn.viz.paper import BLUE, GREY
from tests.viz.test_pictures import nothing_is_cut_off, texts

rng = np.random.default_rng(0)
PHOTO = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
DIGIT = rng.integers(100, 120, (28, 28, 1)).astype(np.uint8)
SMALL = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)


def test_a_row_shows_the_picture_what_was_seen_and_the_bars():
    p = np.array([[0.125, 0.75, 0.125], [0.5, 0.25, 0.25]])
    figure = predictions(
        [PHOTO, DIGIT], [SMALL, DIGIT], p, ["cat", "dog", "$x"], ["a.jpg", "b.png"]
    )
    assert nothing_is_cut_off(figure)
    first, second = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in first] == ["a.jpg", "what the network saw", "dog  75.0%"]
    assert [axes.get_title() for axes in second] == ["b.png", "what the network saw", "cat  50.0%"]
    assert np.array_equal(first[0].images[0].get_array(), PHOTO)
    assert np.array_equal(first[1].images[0].get_array(), SMALL)
    grey = second[0].images[0]  # as it is: black is 0 and white 255, whatever the image holds
    assert np.array_equal(grey.get_array(), DIGIT[..., 0])
    assert np.allclose(grey.to_rgba(np.array([0, 255]))[:, :3], [[0] * 3, [1] * 3])
    assert grey.cmap.name == "gray"
    for axes in (first[0], first[1], second[0]):
        assert not axes.get_xticks().size
        assert not axes.get_yticks().size
    for axes, row, best in ((first[2], p[0], 1), (second[2], p[1], 0)):
        assert [bar.get_width() for bar in axes.patches] == row.tolist()
        colours = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
        assert colours == [BLUE.upper() if k == best else GREY for k in range(3)]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "$x"]
        assert axes.get_xlim() == (0, 1)  # so bars of all rows can be compared
        low, high = axes.get_ylim()
        assert low > high  # the first class on top
        assert not axes.get_xticks().size


def test_of_many_classes_the_ten_most_probable_in_their_order():
    p = np.full(14, 0.02)
    p[[1, 12]] = 0.36, 0.4
    names = [f"class {k}" for k in range(14)]
    axes = predictions([SMALL], [SMALL], p[None], names, ["x"]).axes[2]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [*names[:9], "class 12"]
    assert axes.patches[-1].get_width() == 0.4
    assert axes.get_title() == "class 12  40.0%"


def test_long_names_are_cut_where_they_tell_least():
    name, file = "a class with a long name", "a/very/long/path/of/a/picture/of/mine.png"
    written = texts(predictions([SMALL], [SMALL], np.array([[1.0, 0]]), [name, "b" * 18], [file]))
    assert "a class with a lo…" in written
    assert "b" * 18 in written
    assert "…th/of/a/picture/of/mine.png" in written


def test_rows_are_as_high_as_their_bars_need():
    heights = [
        predictions([SMALL] * n, [SMALL] * n, np.full((n, k), 1 / k), ["c"] * k, ["t"] * n)
        .get_figheight()
        for n, k in ((1, 2), (1, 10), (1, 40), (3, 10))
    ]  # fmt: skip
    assert heights[0] < heights[1] == heights[2]
    assert heights[3] == pytest.approx(3 * heights[1])


@pytest.mark.parametrize(
    ("pictures", "seen", "shape", "titles", "text"),
    [
        (1, 1, (1, 2), 1, None),
        (0, 0, (0, 2), 0, "0 pictures need as many images and titles, and probabilities (0, 2)"),
        (2, 1, (2, 2), 2, "probabilities (2, 2); got 1, 2 and (2, 2). Give at least one."),
        (2, 2, (2, 2), 1, "got 2, 1 and (2, 2)"),
        (2, 2, (2, 3), 2, "got 2, 2 and (2, 3)"),
    ],
)
def test_it_refuses_what_does_not_fit(pictures, seen, shape, titles, text):
    arguments = [SMALL] * pictures, [SMALL] * seen, np.ones(shape), ["a", "b"], ["t"] * titles
    if text is None:
        assert predictions(*arguments)
        return
    with pytest.raises(ValueError, match=re.escape(text)):
        predictions(*arguments)

"""A digit of one's own, prepared as MNIST's images are."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn.data import DigitError, mnist, prepare_digit
from minicnn.data.paper import rim
from minicnn.data.prepare import FORMS, SIZE, centre, centre_of_mass, has_the_form
from tests.data.handwriting import Scene, photographed, written


def drawn(digit: int = 5, scene: Scene | None = None, at=(60, 90), seed: int = 0) -> np.ndarray:
    """A picture of a digit 180 pixels high on paper of 400x400."""
    rng = np.random.default_rng(seed)
    return photographed(written(digit, rng, 180, 0.08), scene or Scene(), rng, at)


def off(image: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two images as a part of full ink."""
    return float(np.abs(image.astype(float) - other).mean() / other.mean())


@pytest.mark.slow
def test_the_images_of_mnist_are_left_as_they_are(real_mnist):
    for part in mnist.load("mnist", real_mnist):
        for image in part.images[::5]:
            prepared = prepare_digit(image)
            assert prepared.kept
            np.testing.assert_array_equal(prepared.image, image[..., 0])


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_has_the_form_of_mnist(digit):
    prepared = prepare_digit(drawn(digit))
    assert prepared.image.shape == (SIZE, SIZE)
    assert prepared.image.dtype == np.uint8
    assert has_the_form(prepared.image)
    assert not prepared.kept
    assert prepared.dark
    assert centre_of_mass(prepared.image) == pytest.approx((14, 14), abs=0.5)
    again = prepare_digit(prepared.image)
    assert again.kept


@pytest.mark.parametrize(
    "scene",
    [
        Scene(paper=(238, 226, 170)),
        Scene(paper=(30, 30, 30), ink=(240, 240, 240)),
        Scene(gradient=0.5),
        Scene(shadow=0.5),
        Scene(ruled=30, tilt=0.03),
        Scene(ruled=30, squared=True),
        Scene(rim=20),
        Scene(specks=20),
        Scene(noise=8),
        Scene(strength=0.3),
        Scene(paper=(40, 70, 55), ink=(240, 240, 235), gradient=0.4, shadow=0.4, noise=4),
        Scene(gradient=0.3, shadow=0.3, ruled=40, rim=15, specks=10, noise=5, blur=1),
    ],
    ids=str,
)
def test_paper_and_light_do_not_matter(scene):
    prepared = prepare_digit(drawn(scene=scene))
    assert off(prepared.image, prepare_digit(drawn()).image) < 0.15
    assert prepared.dark == (sum(scene.paper) > 380)


def test_several_digits_or_none_are_said():
    with pytest.raises(DigitError, match="2 digits are visible, not one"):
        prepare_digit(np.concatenate([drawn(3), drawn(8)], axis=1))
    for scene in (Scene(), Scene(noise=8), Scene(gradient=0.5), Scene(ruled=30)):
        empty = photographed(np.zeros((1, 1)), scene, np.random.default_rng(0), (0, 0))
        with pytest.raises(DigitError, match="no digit is visible"):
            prepare_digit(empty)


def marked(side: int, column: int = 350) -> np.ndarray:
    """A stroke 160 pixels high, and a square mark at that column."""
    picture = np.full((400, 400), 245, np.uint8)
    picture[120:280, 140:165] = 30
    picture[180 : 180 + side, column : column + side] = 30
    return picture


def test_a_second_mark_is_no_speck():
    """It may be a digit, or a stroke that a glare has cut off; a speck is removed as before."""
    assert prepare_digit(marked(10)).specks == 1
    for side in (34, 60):  # more than a fifth of the digit, less than half
        with pytest.raises(DigitError, match="beside the digit there is another mark"):
            prepare_digit(marked(side, 320))
    assert prepare_digit(marked(34, 175)).specks == 0  # near: of the digit


@pytest.mark.slow
@pytest.mark.parametrize("digit", range(10))
def test_a_thin_pen_becomes_as_thick_as_the_pen_of_digits(digit):
    means = []
    for pen in (0.01, 0.03, 0.125):
        rng = np.random.default_rng(digit)
        picture = photographed(written(digit, rng, 200, pen), Scene(), rng, (40, 60))
        means.append(prepare_digit(picture, "digits").image.mean())
    assert means[:2] == pytest.approx([means[2]] * 2, rel=0.25)
    assert means[0] > 20


@pytest.mark.parametrize("like", ["fashion-mnist", "kmnist"])
@pytest.mark.parametrize(
    ("sheet", "grey"), [(200, 250), (200, 20), (255, 120), (10, 250), (100, 20), (100, 250)]
)
def test_what_is_lighter_or_darker_than_its_paper_fills_the_frame(like, sheet, grey):
    picture = np.full((200, 200), sheet, np.uint8)
    picture[40:160, 70:130] = grey
    prepared = prepare_digit(picture, like)
    assert prepared.dark == (grey < sheet)
    rows, columns = np.nonzero(prepared.image > 127)
    assert np.ptp(rows) >= 25
    assert np.ptp(columns) == pytest.approx(13, abs=2)
    assert prepared.image.max() == 255


@pytest.mark.parametrize("like", FORMS)
def test_a_drawing_of_28x28_may_be_dark_on_light(like):
    drawing = np.full((SIZE, SIZE), 255, np.uint8)
    drawing[4:24, 10:14] = 0
    prepared = prepare_digit(drawing, like)
    assert prepared.dark
    assert not prepared.kept
    assert prepared.image[14].max() > 200
    assert prepared.image[:, 0].max() == 0


def test_a_digit_is_moved_to_the_middle_and_never_over_the_edge():
    small, density = np.zeros((10, 12)), np.zeros((20, 26))
    small[4, 6] = 1.0
    assert np.argwhere(centre(small)).tolist() == [[14, 14]]
    assert centre(small).max() == 255
    for corner, at in (((0, 0), (8, 2)), ((19, 25), (19, 25)), ((19, 0), (19, 2))):
        density[...] = 0
        density[corner] = 0.5
        assert np.argwhere(centre(density)).tolist() == [list(at)]  # as near as it can be


def test_a_dark_rim_is_measured_on_each_side():
    image = np.full((200, 220), 230.0)
    image[:5], image[-7:], image[:, :9], image[:, -11:] = 0, 0, 0, 0
    assert rim(image) == (5 + 2, 7 + 2, 9 + 2, 11 + 2)  # the soft edge too
    assert rim(image[5:, :-11]) == (0, 9, 11, 0)
    assert rim(image[-60:, -60:]) == (0, 0, 0, 0)  # a drawing

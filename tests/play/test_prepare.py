"""The page prepares a drawing and a photo exactly as ``minicnn.data.prepare_digit``."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from minicnn import data
from minicnn.data import prepare_digit
from minicnn.data.dataset import DataError
from minicnn.data.images import read_to_fit
from minicnn.data.prepare import FORMS
from tests.play.browser import in_node

MODULE = Path(__file__).parent / "measure.js"


def drawing(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return strokes on paper, (side, side, 3): curves of a pen, at random."""
    paper, ink = (255, 0) if rng.random() < 0.8 else (10, 240)
    sheet = Image.new("L", (2 * side, 2 * side), paper)
    draw = ImageDraw.Draw(sheet)
    for _ in range(rng.integers(1, 4)):
        points = rng.uniform(0.2, 0.8, (rng.integers(2, 7), 2)) * 2 * side
        draw.line([tuple(p) for p in points], fill=ink, width=int(side * rng.uniform(0.04, 0.2)),
                  joint="curve")  # fmt: skip
    small = np.asarray(sheet.resize((side, side), Image.Resampling.BOX))
    return np.repeat(small[..., None], 3, axis=2)


def photo(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Return a photo of such a drawing: shade, noise, colour, a rim, ruled lines, specks."""
    side = min(h, w)
    image = np.full((h, w, 3), 235.0)
    image[(h - side) // 2 :][:side, (w - side) // 2 :][:, :side] = drawing(rng, side)[:, :, :]
    if image[h // 2, 0, 0] < 128:
        image = 255 - image
    if rng.random() < 0.5:
        image[:: max(h // 6, 8)] *= 0.55
    if rng.random() < 0.3:
        image[: h // 12] = 5
    for _ in range(rng.integers(0, 4)):
        i, j = rng.integers(0, h), rng.integers(0, w)
        image[i : i + 3, j : j + 3] = 30
    shade = np.linspace(rng.uniform(0.4, 1), 1, w)[None, :, None]
    noise = rng.normal(0, rng.uniform(0, 4), image.shape)
    return np.clip(image * shade * [1, 0.97, 0.9] + noise, 0, 255).astype(np.uint8)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    found = [drawing(rng, side) for side in (280, 28, 40, 64, 99, 100, 150, 280) for _ in range(4)]
    found += [photo(rng, *size) for size in ((130, 90), (200, 260), (512, 300)) for _ in range(4)]
    found += [np.full((50, 60, 3), 200, np.uint8)]  # nothing
    beside = np.full((200, 200, 3), 240, np.uint8)
    beside[60:140, 60:72] = beside[90:110, 160:180] = 20  # a stroke, and a mark that is no speck
    found += [beside]
    return found


def rgba_of(pixels: np.ndarray) -> dict[str, object]:
    """Return a picture as the page has it, from (h, w, 1) or (h, w, 3)."""
    colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    rgba = np.concatenate([colour, np.full_like(colour[..., :1], 255)], axis=2)
    text = base64.b64encode(rgba.tobytes()).decode()
    return {"h": pixels.shape[0], "w": pixels.shape[1], "rgba": text}


@pytest.mark.slow
@pytest.mark.parametrize("like", list(FORMS))
def test_the_prepared_digit_is_that_of_minicnn_pixel_by_pixel(like):
    call = in_node(MODULE)
    given, expected = pictures(), []
    for pixels in given:
        try:
            done = prepare_digit(pixels, like)
            expected.append({"image": done.image.ravel().tolist(), "note": str(done)})
        except DataError as error:
            expected.append({"error": str(error)})
    results = call("prepared", [{"like": like, **rgba_of(pixels)} for pixels in given])
    assert sum("image" in one for one in expected) > 25
    assert sum("error" in one for one in expected) >= 1
    for k, (result, one) in enumerate(zip(results, expected, strict=True)):
        assert result == one, f"picture {k}, {given[k].shape}"


def test_an_image_of_a_set_is_left_as_it_is():
    images = data.load("digits").test.images[:20]
    for image, result in zip(
        images,
        in_node(MODULE)("prepared", [{"like": "digits", **rgba_of(image)} for image in images]),
        strict=True,
    ):
        expected = prepare_digit(image, "digits")
        assert result == {"image": expected.image.ravel().tolist(), "note": str(expected)}


@pytest.mark.parametrize(
    ("size", "image", "shorter"),
    [
        ((75, 50), (3, 32, 32), None),
        ((20, 31), (3, 32, 32), None),
        ((90, 121), (1, 32, 32), 40),
        ((32, 32), (3, 32, 32), None),
    ],
)
def test_other_pictures_are_resized_and_cut_as_predict_does(tmp_path, size, image, shorter):
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = read_to_fit(tmp_path / "a.png", image[1:], image[0], shorter).image
    request = {**rgba_of(pixels), "image": image, "shorterSide": shorter}
    assert in_node(MODULE)("cutOut", request) == expected.ravel().tolist()

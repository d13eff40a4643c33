"""The page prepares a drawing and a photo exactly as ``minicnn.data.prepare_digit``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from minicnn.data import prepare_digit
from minicnn.data.dataset import DataError
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
    return found


def test_the_prepared_digit_is_that_of_minicnn_pixel_by_pixel():
    call = in_node(MODULE)
    given, expected = pictures(), []
    for pixels in given:
        try:
            done = prepare_digit(pixels)
            expected.append({"image": done.image.ravel().tolist(), "note": str(done)})
        except DataError as error:
            expected.append({"error": str(error)})
    requests = []
    for pixels in given:
        rgba = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=2)
        requests.append({"h": len(pixels), "w": pixels.shape[1], "rgba": rgba.ravel().tolist()})
    results = call("prepared", requests)
    assert sum("image" in one for one in expected) > 25
    assert sum("error" in one for one in expected) > 1
    for k, (result, one) in enumerate(zip(results, expected, strict=True)):
        assert result == one, f"picture {k}, {given[k].shape}"

"""The digits of scikit-learn: real handwriting, without a download.

Source
    Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI repository (its test
    part: 1797 images by 13 writers, 8x8 pixels of 0 to 16).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from minicnn.data.dataset import Dataset

SIZE = 28


def load() -> Dataset:
    """Return all 1797 images, enlarged to 28x28 with bicubic interpolation."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    small = np.rint(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.empty((len(small), SIZE, SIZE, 1), np.uint8)
    for image, pixels in zip(images, small, strict=True):
        image[..., 0] = enlarged(pixels)
    return Dataset("digits", images, labels.astype(np.int64), tuple("0123456789"))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Return (28, 28) uint8 of (8, 8) uint8, by bicubic interpolation."""
    from PIL import Image

    large = Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(large)


def found() -> Path | None:
    """Return the folder of scikit-learn, which holds the images, or None if it is missing."""
    spec = importlib.util.find_spec("sklearn")
    return Path(spec.origin).parent if spec and spec.origin else None

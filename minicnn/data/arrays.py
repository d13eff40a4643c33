"""Images that are arrays already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.data.dataset import DataError, Dataset

NAME = "arrays"  # what a run's data set is called that came as arrays


def from_arrays(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None = None, name: str = NAME
) -> Dataset:
    """Return a data set of ``images`` (n, h, w), (n, h, w, c) or (n, c, h, w) and ``labels`` (n,).

    Pixels are bytes, or multiples of 1/255 from 0 to 1. Labels are whole numbers from 0; or any
    words, which then are the classes. Raises DataError where they are not.
    """
    pixels = _pixels(name, np.asarray(images))
    numbers, found = _labels(name, np.asarray(labels))
    if classes is None:
        classes = found
    return Dataset(name, pixels, numbers, tuple(map(str, classes)))


def _pixels(name: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, 3)
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"{name}: images must have the axes (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or "
            f"3 channels, got {images.shape}."
        )
    if images.dtype != np.uint8:
        bytes_ = _bytes(images)
        if bytes_ is None:
            raise DataError(
                f"{name}: images must be uint8, from 0 to 255, or be such numbers divided by 255; "
                f"these are {images.dtype}, from {images.min():.4g} to {images.max():.4g}. Give "
                "them before they are normalised: minicnn does that itself."
            )
        images = bytes_
    return np.ascontiguousarray(images)


def _bytes(images: np.ndarray) -> np.ndarray | None:
    """Return the same numbers as bytes, None where some are between two."""
    if images.dtype == bool or not images.size:
        return images.astype(np.uint8) * np.uint8(255) if images.size else images.astype(np.uint8)
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        return None
    scale = 255.0 if images.dtype.kind == "f" and images.max() <= 1 else 1.0
    scaled = images * scale
    rounded = np.rint(scaled)
    off = np.abs(scaled - rounded).max()
    if rounded.min() < 0 or rounded.max() > 255 or off > 0.01:
        return None
    return rounded.astype(np.uint8)


def _labels(name: str, labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{name}: labels of shape {labels.shape} seem to be one-hot. Give the number of the "
            "class of each image: labels.argmax(axis=1)."
        )
    labels = labels.reshape(-1) if labels.ndim == 2 else labels
    if labels.dtype.kind in "US":
        classes, numbers = np.unique(labels, return_inverse=True)
        return numbers.astype(np.int64), [
            c.decode() if isinstance(c, bytes) else str(c) for c in classes
        ]
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels // 1).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{name}: labels must be whole numbers, one for each image, got {labels.dtype} of "
            f"shape {labels.shape}."
        )
    numbers = labels.astype(np.int64)
    if numbers.size and numbers.min() < 0:
        raise DataError(f"{name}: labels count from 0, and one is {numbers.min()}.")
    return numbers, [str(k) for k in range(int(numbers.max(initial=-1)) + 1)]

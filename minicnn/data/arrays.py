"""Data sets from arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn.data.dataset import DataError, Dataset

NAME = "arrays"  # the name of a run's data set that came as arrays
ROUNDED = 0.01  # of a byte: rounding of float16, too small to mention


def from_arrays(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None = None, name: str = NAME
) -> Dataset:
    """Return a data set of ``images`` (n, h, w), (n, h, w, c) or (n, c, h, w) and ``labels`` (n,).

    Pixels are bytes, or floats from 0 to 1, which are rounded to multiples of 1/255. Labels are
    integers from 0, or any words, which are then the names of the classes. Otherwise it raises
    DataError. ``notes`` says whether pixels were rounded, and which classes have no image.
    """
    pixels, rounded = _pixels(name, np.asarray(images))
    numbers, found = _labels(name, np.asarray(labels))
    if classes is None:
        classes = found
    notes = [rounded] if rounded else []
    without = sorted(set(range(len(classes))) - set(numbers.tolist()))
    if without and len(numbers):
        some = ", ".join(str(classes[k]) for k in without[:5]) + ", ..." * (len(without) > 5)
        notes.append(
            f"{name}: {len(classes)} classes, of which {len(without)} "
            f"{'has' if len(without) == 1 else 'have'} no image: {some}. If there are only "
            f"{len(classes) - len(without)}, number them from 0 without a gap: "
            "np.unique(labels, return_inverse=True)[1]."
        )
    return Dataset(name, pixels, numbers, tuple(map(str, classes)), tuple(notes))


def _pixels(name: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    """Return images (n, h, w, c) of bytes, and what was rounded for it."""
    rounded = ""
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
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            wrong = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
            raise DataError(
                f"{name}: {wrong} of {len(images)} images have pixels that are not finite (NaN or "
                "infinite). Leave these images out, or mend them."
            )
        bytes_, off = _bytes(images)
        if bytes_ is None:
            raise DataError(
                f"{name}: images must be uint8, from 0 to 255, or be such numbers divided by 255; "
                f"these are {images.dtype}, from {images.min():.4g} to {images.max():.4g}. Give "
                "them before they are normalised: minicnn does that itself. Floats of another "
                "range: divide them by the maximum a pixel can have."
            )
        if off > ROUNDED:
            rounded = f"{name}: pixels from 0 to 1 are rounded to multiples of 1/255."
        images = bytes_
    return np.ascontiguousarray(images), rounded


def _bytes(images: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Return the pixels as bytes, and the largest rounding error; None if they are not pixels.

    Numbers from 0 to 1 may lie between two bytes; numbers from 0 to 255 may not.
    """
    if images.dtype == bool or not images.size:
        return images.astype(np.uint8) * np.uint8(255 if images.size else 1), 0.0
    if images.dtype.kind not in "iuf":
        return None, 0.0
    least, most = images.min(), images.max()
    slack = ROUNDED / 255  # of what computed 0 or 1
    parts = images.dtype.kind == "f" and most <= 1 + slack
    scaled = images * 255.0 if parts else images
    rounded = np.rint(scaled)
    off = float(np.abs(scaled - rounded).max())
    if least < -slack or rounded.max() > 255 or (off > ROUNDED and not parts):
        return None, off
    return rounded.astype(np.uint8), off


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

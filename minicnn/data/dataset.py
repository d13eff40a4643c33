"""Images with labels, the parts they are divided into, and the statistics that normalise them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8


class DataError(Exception):
    """Data that are missing, damaged or do not fit; the message says what, where and the remedy."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, held in memory as bytes with the channels last.

    Raises DataError where arrays and classes do not fit together.
    """

    name: str
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]  # positions in ``classes``
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"{self.name}: images must be uint8 with axes (n, h, w, c), got {images.dtype} "
                f"of shape {images.shape}."
            )
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(
                f"{self.name}: labels must be int64 with one axis, got {labels.dtype} of shape "
                f"{labels.shape}."
            )
        if len(images) != len(labels):
            raise DataError(
                f"{self.name}: there are {len(images)} images but {len(labels)} labels."
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if wrong.size:
            raise DataError(
                f"{self.name}: image {wrong[0]} has label {labels[wrong[0]]}, out of range for "
                f"{len(self.classes)} classes (0 to {len(self.classes) - 1}); "
                f"{wrong.size} of {len(labels)} labels are."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: np.ndarray) -> Dataset:
        """Return a copy of the images at ``indices``, in that order."""
        return Dataset(self.name, self.images[indices], self.labels[indices], self.classes)


class Splits(NamedTuple):
    """Three parts without a common image."""

    train: Dataset
    validation: Dataset
    test: Dataset


def set_apart(dataset: Dataset, fraction: float, seed: int, part: str) -> tuple[Dataset, Dataset]:
    """Return ``(rest, part)``: a ``fraction`` drawn by ``seed``, every class in proportion.

    The part has at least as many images as there are classes. The images keep their order. Raises
    DataError where there are too few; ``part`` names the part in the message.
    """
    rest, drawn = draw_apart(dataset.name, dataset.labels, dataset.classes, fraction, seed, part)
    return dataset.subset(rest), dataset.subset(drawn)


def draw_apart(
    name: str, labels: np.ndarray, classes: Sequence[str], fraction: float, seed: int, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the rest and of the part that ``set_apart`` makes, both rising."""
    total = len(labels)
    present, members = np.unique(labels, return_counts=True)
    count = max(round(total * fraction), len(present))
    if total == 0 or total - count < len(present):
        raise DataError(
            f"{name}: {total} images of {len(present)} classes are too few to set "
            f"{count} apart for {part}: both parts need one of each class. Add images."
        )
    if members.min() < 2:
        raise DataError(
            f"{name}: class {classes[present[members.argmin()]]} has one image "
            f"left, which cannot be both in the {part} part and in the rest. Add images to it."
        )
    from sklearn.model_selection import train_test_split

    rest, drawn = train_test_split(
        np.arange(total), test_size=count, stratify=labels, random_state=seed
    )
    return np.sort(rest), np.sort(drawn)


class Normalization(NamedTuple):
    """x = (pixel/255 - mean) / std, for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normalization(dataset: Dataset) -> Normalization:
    """Return mean and standard deviation of each channel over all pixels, in units of pixel/255.

    The sums are of integers, so the order of the images does not matter. A constant channel gets
    std 1, which makes it 0. Raises DataError without a pixel.
    """
    images = dataset.images
    occur = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, len(images), 256):  # so that the copies stay small
        for k, row in enumerate(occur):
            row += np.bincount(images[start : start + 256, ..., k].ravel(), minlength=256)
    return normalization_of_counts(dataset.name, occur)


def normalization_of_counts(name: str, occur: Int64[np.ndarray, "c 256"]) -> Normalization:
    """Return the same from how often each value of a pixel occurs in each channel."""
    count = int(occur[0].sum()) if len(occur) else 0
    if not count:
        raise DataError(f"{name}: there is no pixel to take the mean of.")
    values = np.arange(256)
    first, second = occur @ values, occur @ values**2
    mean, std = [], []
    for total, squares in zip(first.tolist(), second.tolist(), strict=True):
        mean.append(total / count / 255)
        spread = count * squares - total * total  # exact, as Python's integers have no limit
        std.append(spread**0.5 / count / 255 if spread else 1.0)
    return Normalization(tuple(mean), tuple(std))

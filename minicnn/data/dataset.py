"""Images with labels, their division into parts, and the statistics for normalising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8


class DataError(Exception):
    """Data are missing, damaged or do not fit; the message says what, where and the remedy."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, held in memory as bytes with the channels last.

    Raises DataError if arrays and classes do not fit together.
    """

    name: str
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int64[np.ndarray, " n"]  # positions in ``classes``
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()  # one line for everything that was skipped while reading

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
        return Dataset(
            self.name, self.images[indices], self.labels[indices], self.classes, self.notes
        )


class Splits(NamedTuple):
    """Three parts; no image is in two of them."""

    train: Dataset
    validation: Dataset
    test: Dataset


def set_apart(
    dataset: Dataset, fraction: float, seed: int, part: str, leave: int = 1
) -> tuple[Dataset, Dataset]:
    """Return ``(rest, part)``: a ``fraction`` drawn by ``seed``, every class in proportion.

    The part has at least one image of each class, and the rest at least ``leave``. The images keep
    their order. Raises DataError if a class has too few; ``part`` is the part's name in the
    message.
    """
    rest, drawn = draw_apart(
        dataset.name, dataset.labels, dataset.classes, fraction, seed, part, leave
    )
    return dataset.subset(rest), dataset.subset(drawn)


def draw_apart(
    name: str,
    labels: np.ndarray,
    classes: Sequence[str],
    fraction: float,
    seed: int,
    part: str,
    leave: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rest and of the part that ``set_apart`` makes, both sorted."""
    members = np.bincount(labels, minlength=len(classes))
    small = np.flatnonzero((members > 0) & (members <= leave)).tolist()
    if small:
        few = ", ".join(f"{classes[k]} ({members[k]})" for k in small[:4])
        more = f" and {len(small) - 4} more" if len(small) > 4 else ""
        others = "one" if leave == 1 else f"{leave}, as a validation part is set apart of them too,"
        raise DataError(
            f"{name}: too few images of {few}{more} to set some apart for {part}: {leave + 1} of "
            f"each class are needed, one for that and {others} for the rest. Add images, or put a "
            f"{part} part of your own beside them."
        )
    total, k = len(labels), int((members > 0).sum())
    if not total:
        raise DataError(f"{name}: there are no images to set some apart for {part}. Add images.")
    from sklearn.model_selection import train_test_split

    count = max(round(total * fraction), k)
    if count > total - leave * k:
        raise DataError(
            f"{name}: {total} images of {k} classes are too few to set {count} apart for {part}: "
            f"{leave} of each class must be left. Set a smaller part apart, or add images."
        )
    _, drawn = train_test_split(
        np.arange(total), test_size=count, stratify=labels, random_state=seed
    )
    apart = np.zeros(total, bool)
    apart[drawn] = True
    chosen = np.bincount(labels[drawn], minlength=len(classes))
    wanted = _with_every_class(chosen, members, leave)
    for label in np.flatnonzero(wanted != chosen).tolist():
        own = np.flatnonzero(labels == label)
        apart[own] = False
        apart[np.random.default_rng((seed, label)).permutation(own)[: wanted[label]]] = True
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _with_every_class(chosen: np.ndarray, members: np.ndarray, leave: int) -> np.ndarray:
    """Return how many images of each class to draw: ``chosen``, without extremes.

    For a small class, ``chosen`` may be rounded to none or to all. This is corrected; the sum
    stays.
    """
    wanted = np.where(members > 0, np.clip(chosen, 1, np.maximum(members - leave, 1)), 0)
    while wanted.sum() > chosen.sum():
        wanted[wanted.argmax()] -= 1
    while wanted.sum() < chosen.sum():
        wanted[(members - wanted).argmax()] += 1
    return wanted


class Normalization(NamedTuple):
    """x = (pixel/255 - mean) / std, for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normalization(dataset: Dataset) -> Normalization:
    """Return mean and standard deviation of each channel over all pixels, in units of pixel/255.

    The sums are exact integers, so the order of the images does not matter. A constant channel gets
    std 1, so it becomes 0. Raises DataError if there are no pixels.
    """
    images = dataset.images
    occur = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, len(images), 256):  # so that the copies stay small
        for k, row in enumerate(occur):
            row += np.bincount(images[start : start + 256, ..., k].ravel(), minlength=256)
    return normalization_of_counts(dataset.name, occur)


def normalization_of_counts(name: str, occur: Int64[np.ndarray, "c 256"]) -> Normalization:
    """Return the same from the counts of each pixel value in each channel."""
    count = int(occur[0].sum()) if len(occur) else 0
    if not count:
        raise DataError(f"{name}: there are no pixels to compute a mean from.")
    values = np.arange(256)
    first, second = occur @ values, occur @ values**2
    mean, std = [], []
    for total, squares in zip(first.tolist(), second.tolist(), strict=True):
        mean.append(total / count / 255)
        spread = count * squares - total * total  # exact, as Python's integers have no limit
        std.append(spread**0.5 / count / 255 if spread else 1.0)
    return Normalization(tuple(mean), tuple(std))

"""Batches: the choice, order, augmentation and normalisation of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from minicnn.backend import nchw
from minicnn.data.cut import cut, cut_moved, cut_shifted
from minicnn.data.dataset import DataError, Dataset, Normalization, Splits
from minicnn.data.prefetch import prefetch
from minicnn.shapes import integer


class Augment(NamedTuple):
    """Random moves of the images, drawn anew for each image and epoch.

    An image is flipped or not, rotated about its centre, then shifted; pixels from outside are
    black. So a shift is the usual random crop: pad the image with black pixels on every side, then
    cut out its own size at a random position.
    """

    shift: int = 0  # whole pixels; along each axis uniform in -shift .. shift
    rotate: float = 0.0  # degrees; uniform in -rotate .. rotate, interpolated bilinearly
    flip: bool = False  # left and right exchanged, one time in two


def normalize(
    images: UInt8[np.ndarray, "n h w c"], normalization: Normalization
) -> Float32[np.ndarray, "n c h w"]:
    """Return ``(images/255 - mean) / std`` as float32, channels-last in memory."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        got = type(images).__name__
        if isinstance(images, np.ndarray):
            got = f"{images.dtype} of shape {images.shape}"
        raise DataError(
            f"normalize: images must be uint8 from 0 to 255, of shape (n, h, w, channels), got "
            f"{got}. Of one image make a batch: image[None], or image[None, ..., None] if it has "
            "no axis of channels."
        )
    out = np.empty(images.shape, np.float32)
    images = np.require(images, requirements=["C", "W"])
    cut(images, np.arange(len(images)), _table(normalization, images.shape[3]), out)
    return nchw(out)


class Loader:
    """Cuts a data set into normalised batches.

    Order and augmentation of a batch depend only on (seed, epoch, batch). So training can continue
    at any batch, and no state must be kept for it. With ``prefetch``, a background thread makes up
    to so many batches ahead.

    ``normalization`` must be given; use the one of the training images for all parts. Raises
    TypeError without one, ValueError for options out of range, and DataError if there would be no
    batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        normalization: Normalization | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augment | None = None,
        prefetch: int = 0,
    ) -> None:
        if not isinstance(dataset, Dataset):
            remedy = "Use data.from_arrays(images, labels)."
            if isinstance(dataset, Splits):
                remedy = "Take one of its parts: .train, .validation or .test."
            raise TypeError(f"Loader: a Dataset is needed, got {type(dataset).__name__}. {remedy}")
        if not isinstance(normalization, Normalization):
            raise TypeError(
                f"Loader: normalization must be a Normalization, got "
                f"{type(normalization).__name__}. Use "
                "normalization=data.normalization(train), that of the training images for every "
                "part."
            )
        self.dataset = dataset
        self.batch_size = integer("Loader", "batch_size", batch_size, 1)
        self.normalization = normalization
        self.shuffle = shuffle
        self.seed = integer("Loader", "seed", seed, 0)
        self.drop_last = drop_last
        self.augment = augment
        self.prefetch = integer("Loader", "prefetch", prefetch, 0)
        if augment is not None:
            _check(augment, dataset)
        if len(dataset) == 0:
            raise DataError(f"{dataset.name}: there are no images to cut batches from.")
        if len(self) == 0:
            raise DataError(
                f"{dataset.name}: a batch of {batch_size} is larger than the data, {len(dataset)} "
                f"images, and drop_last leaves nothing. Use a batch of at most {len(dataset)}."
            )
        self.epoch = 0  # of the next ``for``
        self._images = np.require(dataset.images, requirements=["C", "W"])
        self._table = _table(normalization, dataset.images.shape[3])

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Float32[np.ndarray, "n c h w"], Int64[np.ndarray, " n"]]]:
        """Yield the batches of the next epoch: ``for images, labels in loader``."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.batches(epoch)

    def batches(
        self, epoch: int = 0, start: int = 0
    ) -> Iterator[tuple[Float32[np.ndarray, "n c h w"], Int64[np.ndarray, " n"]]]:
        """Yield ``(x, y)`` from batch ``start`` on; the arrays are new each time.

        x is channels-last in memory. Raises ValueError for a ``start`` past the end.
        """
        if not 0 <= start <= len(self):
            raise ValueError(
                f"Loader: start must be within the {len(self)} batches of an epoch, got {start}."
            )
        return prefetch(self._cut(epoch, start), self.prefetch)

    def _cut(self, epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((0, self.seed, epoch)).permutation(order)
        for batch in range(start, len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            out = np.empty((chosen.size, *self._images.shape[1:]), np.float32)
            if self.augment is None:
                cut(self._images, chosen, self._table, out)
            else:
                rng = np.random.default_rng((1, self.seed, epoch, batch))
                moves = _draw(self.augment, chosen.size, rng)
                move = cut_moved if self.augment.rotate else cut_shifted
                move(self._images, chosen, moves, self._table, out)
            yield nchw(out), self.dataset.labels[chosen]


def _table(normalization: Normalization, channels: int) -> np.ndarray:
    """Return (channels, 256): the normalised number of each pixel value."""
    mean, std = np.array(normalization)[..., None]
    if len(mean) != channels:
        raise DataError(
            f"normalize: the images have {channels} channels but the normalization is for "
            f"{len(mean)}. Use the one that was computed from images of this kind."
        )
    if not (std > 0).all():
        raise DataError(
            f"normalize: std must be greater than 0, got {normalization.std}. Use 1 for a channel "
            "that is constant."
        )
    return ((np.arange(256) / 255 - mean) / std).astype(np.float32)


def _check(augment: Augment, dataset: Dataset) -> None:
    shift, side = integer("Augment", "shift", augment.shift, 0), min(dataset.images.shape[1:3])
    if shift >= side:
        raise ValueError(
            f"Augment: a shift of {shift} pixels can move all of an image of {side} pixels out "
            f"of sight. Use at most {side - 1}."
        )
    if not (math.isfinite(augment.rotate) and augment.rotate >= 0):
        raise ValueError(f"Augment: rotate must be at least 0 degrees, got {augment.rotate}.")


def _draw(augment: Augment, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the moves of each image for ``cut_moved``, or without rotation for ``cut_shifted``."""
    shift = rng.integers(-augment.shift, augment.shift, (n, 2), endpoint=True)
    angle = np.radians(rng.uniform(-augment.rotate, augment.rotate, n))
    mirror = rng.integers(0, 2, n) if augment.flip else np.zeros(n, np.int64)
    if not augment.rotate:
        return np.column_stack([mirror, shift])
    return np.column_stack([mirror, np.cos(angle), np.sin(angle), shift])

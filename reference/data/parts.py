"""The parts of a data set by its name, each as images of bytes, with the statistics of training.

Sets of images of one size are minicnn's, in memory, divided as there. Where images are cropped,
``imagefolder:PATH`` is a folder or a manifest of files of any size, read as they are needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minicnn import data
from minicnn.data import DataError, Dataset, Normalization
from minicnn.data.dataset import draw_apart, normalization_of_counts
from minicnn.data.images import MixedSizes
from minicnn.data.sources import TEST_FRACTION, TEST_SEED, VALIDATION_FRACTION
from minicnn.files import expanded
from reference.data.examine import examine
from reference.data.files import Files, counts, list_all, read


class Part(NamedTuple):
    """Images with labels: all in memory (n, c, h, w), or paths of files."""

    images: torch.Tensor | list[Path]
    labels: np.ndarray
    channels: int

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, i: int) -> torch.Tensor:
        """Return image ``i`` (c, h, w) as bytes. Raises DataError where it cannot be read."""
        if isinstance(self.images, torch.Tensor):
            return self.images[i]
        return torch.from_numpy(read(self.images[i], self.channels)).permute(2, 0, 1)


class Parts(NamedTuple):
    train: Part
    validation: Part
    test: Part
    classes: tuple[str, ...]
    normalization: Normalization
    image: tuple[int, int, int]  # (channels, height, width) of what the network gets
    skipped: list[str]  # why images were left out, each with its path


def load(
    name: str,
    data_dir: Path | str | None,
    *,
    channels: int,
    crop: int | None = None,
    validation: float | None = None,
    zip_encoding: str | None = None,
) -> Parts:
    """Return the parts of a data set; files are turned to so many ``channels``.

    ``zip_encoding`` is the code of the names in a zip that does not tell it. Raises DataError where
    the data cannot be had or do not fit together.
    """
    kind, _, path = name.partition(":")
    if crop is None and kind == "imagefolder" and path.lower().endswith(".csv"):
        raise DataError(
            f"{name}: what a manifest names is cut to one size. Give it by --size PIXELS."
        )
    if crop is not None and kind == "imagefolder" and path and not path.endswith(".zip"):
        if zip_encoding is not None:
            raise DataError(f"{name}: --zip-encoding {zip_encoding} is for a zip. Leave it out.")
        return _of_files(name, expanded(path), channels, crop, validation)
    try:
        splits = data.load(name, data_dir, validation=validation, zip_encoding=zip_encoding)
    except MixedSizes as error:
        if path.endswith(".zip"):
            raise DataError(f"{error} Unpack the zip for that.") from error
        raise
    _, h, w, own = splits.train.images.shape
    return Parts(
        _in_memory(splits.train),
        _in_memory(splits.validation),
        _in_memory(splits.test),
        splits.train.classes,
        data.normalization(splits.train),
        (own, crop or h, crop or w),
        list(splits.train.notes),
    )


def _in_memory(part: Dataset) -> Part:
    images = torch.from_numpy(np.ascontiguousarray(part.images.transpose(0, 3, 1, 2)))
    return Part(images, part.labels, images.shape[1])


def _of_files(name: str, path: Path, channels: int, crop: int, validation: float | None) -> Parts:
    listed, passed = list_all(name, path)
    parts = divided(name, listed, validation)
    found: dict[str, Part] = {}
    skipped = [str(passed)] if str(passed) else []
    for part, files in parts.items():
        examined = examine(name, files.paths, channels)
        skipped += examined.unreadable.values()
        whole = files.at(i for i in range(len(files.paths)) if i not in examined.unreadable)
        _check_classes(name, part, files, whole)
        found[part] = Part(whole.paths, whole.labels, channels)
        if part == "train":
            normalization = normalization_of_counts(name, examined.occur)
    return Parts(
        found["train"],
        found["validation"],
        found["test"],
        parts["train"].classes,
        normalization,
        (channels, crop, crop),
        skipped,
    )


def divided(name: str, parts: dict[str, Files], validation: float | None) -> dict[str, Files]:
    """Return train, validation and test; what is missing is set apart as minicnn does."""
    train = parts["train"]
    done = dict(parts)
    if "test" not in done:
        leave = 1 if "validation" in done else 2
        rest, drawn = _drawn(name, train, TEST_FRACTION, TEST_SEED, "test", leave)
        done["test"], train = train.at(drawn), train.at(rest)
    if "validation" not in done:
        fraction = VALIDATION_FRACTION if validation is None else validation
        rest, drawn = _drawn(name, train, fraction, 0, "validation", 1)
        done["validation"], train = train.at(drawn), train.at(rest)
    elif validation is not None:
        raise DataError(
            f"{name}: there is a validation part already, so a fraction of {validation} cannot be "
            "set apart. Leave the fraction out, or move that part away."
        )
    return {"train": train, "validation": done["validation"], "test": done["test"]}


def _drawn(
    name: str, files: Files, fraction: float, seed: int, part: str, leave: int
) -> tuple[np.ndarray, np.ndarray]:
    return draw_apart(name, files.labels, files.classes, fraction, seed, part, leave)


def _check_classes(name: str, part: str, listed: Files, readable: Files) -> None:
    had = counts(listed)
    for of_class, before, left in zip(listed.classes, had, counts(readable), strict=True):
        if before and not left:
            raise DataError(
                f"{name}: none of the {before} images of class {of_class} in the {part} part can "
                f"be read. See which by: python -m reference.data report {name.partition(':')[2]}"
            )
    if not len(readable.paths):
        raise DataError(f"{name}: there is no image in the {part} part. Add some.")

"""Pictures in files: one to classify, or a folder of class folders to learn from."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from minicnn.data.dataset import DataError, Dataset

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}  # Pillow's name for as many channels


def read_image(
    path: str | Path, size: tuple[int, int], channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """Return one PNG or JPEG, turned to grey (1 channel) or to RGB (3); transparency is dropped.

    Raises DataError where the file cannot be read or is not of the given ``size`` (h, w).
    """
    if channels not in MODES:
        raise ValueError(f"read_image: channels must be 1 or 3, got {channels}.")
    with _opened("read_image", Path(path)) as image:
        if (image.height, image.width) != size:
            raise DataError(
                f"read_image: {path} is {_text(image)} pixels (height x width) where "
                f"{size[0]}x{size[1]} is needed. Crop or resize it to that size."
            )
        return _pixels(image, channels)


def load_folder(name: str, path: Path) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the ``train``, validation and ``test`` images under ``path``.

    With subfolders train and test (and val or validation), each holds the class folders of its
    part; otherwise ``path`` holds them, and all images are returned as the first. Classes are
    numbered in the order of their names. The images are grey if all are, otherwise RGB.

    Raises DataError where class folders are missing, empty or not the same in every part, and
    where an image cannot be read or has another size than the rest.
    """
    if not path.is_dir():
        raise DataError(f"{name}: there is no folder {path}. Give the path of an existing folder.")
    parts = {"train": path}
    if (path / "train").is_dir() and (path / "test").is_dir():
        parts = {part: path / part for part in ("train", "test")}
        for part in ("val", "validation"):
            if (path / part).is_dir():
                parts["validation"] = path / part
    files = {part: _class_files(name, folder) for part, folder in parts.items()}
    for part, folder in parts.items():
        differ = sorted(files[part].keys() ^ files["train"].keys())
        if differ:
            raise DataError(
                f"{name}: {parts['train']} and {folder} must have the same class folders, but "
                f"only one of them has {', '.join(differ)}. Add or remove it."
            )
    every = [p for of_class in files.values() for paths in of_class.values() for p in paths]
    size, channels = _common_format(name, every)
    read = {part: _read_all(name, of_class, size, channels) for part, of_class in files.items()}
    return read["train"], read.get("validation"), read.get("test")


def _class_files(name: str, folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class folder in ``folder``, both sorted by name."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise DataError(
            f"{name}: {folder} has no class folders. Put the images of each class into a folder "
            "with the name of the class."
        )
    files = {}
    for of_class in classes:
        files[of_class.name] = sorted(
            p
            for p in of_class.iterdir()
            if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
        )
        if not files[of_class.name]:
            raise DataError(
                f"{name}: class folder {of_class} has no image ({', '.join(SUFFIXES)}). Put "
                "images into it or remove it. (Parts go into folders named train and test.)"
            )
    return files


def _common_format(name: str, paths: list[Path]) -> tuple[tuple[int, int], int]:
    """Return the size (h, w) and the channels of all images, from their headers alone."""
    size, grey = (0, 0), True
    for path in paths:
        with _opened(name, path) as image:
            if path is paths[0]:
                size, first = (image.height, image.width), _text(image)
            if (image.height, image.width) != size:
                raise DataError(
                    f"{name}: {path} is {_text(image)} pixels (height x width) but {paths[0]} is "
                    f"{first}. All images must have one size; crop or resize them to it."
                )
            grey = grey and image.mode in ("1", "L")
    return size, 1 if grey else 3


def _read_all(
    name: str, files: dict[str, list[Path]], size: tuple[int, int], channels: int
) -> Dataset:
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    images = np.empty((len(labels), *size, channels), np.uint8)
    for i, path in enumerate(path for paths in files.values() for path in paths):
        with _opened(name, path) as image:
            images[i] = _pixels(image, channels)
    return Dataset(name, images, labels.astype(np.int64), tuple(files))


@contextmanager
def _opened(name: str, path: Path) -> Iterator[Image]:
    """Open a PNG or JPEG; what is wrong with it, seen now or when it is decoded, is a DataError."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise DataError(f"{name}: there is no file {path}.")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I"):
                raise DataError(
                    f"{name}: {path} has 16 bits to a pixel. Convert it to 8 bits, so that it is "
                    "clear what is white."
                )
            yield image
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: {path} is not a PNG or JPEG image. Replace or remove it."
        ) from error
    # Pillow reports a damaged file in any of these ways.
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError
    ) as error:  # fmt: skip
        raise DataError(
            f"{name}: {path} cannot be read ({error}). Replace or remove it."
        ) from error


def _pixels(image: Image, channels: int) -> np.ndarray:
    """Return (h, w, c). What is transparent shows white paper, as it does in most programs."""
    if image.has_transparency_data:
        from PIL import Image as images

        paper = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(paper, image.convert("RGBA"))
    pixels = np.array(image.convert(MODES[channels]))
    return pixels.reshape(image.height, image.width, channels)


def _text(image: Image) -> str:
    return f"{image.height}x{image.width}"

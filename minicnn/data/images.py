"""Pictures in files: one to classify, or a folder of class folders to learn from."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from minicnn.data.dataset import DataError, Dataset
from minicnn.data.tree import Tree, open_tree

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}  # Pillow's name for as many channels
THREADS = min(os.cpu_count() or 1, 8)
BLOCK = 64  # images that a thread decodes at a time


class MixedSizes(DataError):
    """Images of a folder that are not of one size."""


def read_image(
    path: str | Path, size: tuple[int, int] | None, channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """Return one PNG or JPEG, turned to grey (1 channel) or to RGB (3).

    What is transparent shows white paper. Raises DataError where the file cannot be read or is not
    of the given ``size`` (h, w), if one is given.
    """
    if channels not in MODES:
        raise ValueError(f"read_image: channels must be 1 or 3, got {channels}.")
    if not Path(path).is_file():
        raise DataError(f"read_image: there is no file {path}.")
    with _opened("read_image", Path(path), Path(path).read_bytes) as image:
        if size is not None and (image.height, image.width) != size:
            raise DataError(
                f"read_image: {path} is {_text(image)} pixels (height x width) where "
                f"{size[0]}x{size[1]} is needed. Crop or resize it to that size."
            )
        return _pixels(image, channels)


def load_folder(name: str, path: Path) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the ``train``, validation and ``test`` images under ``path``, a folder or a zip.

    ``list_tree`` says how they are laid out. Classes are numbered in the order of their names. The
    images are grey if all files are, by their kind or by their palette, otherwise RGB.

    Raises DataError where class folders are missing, empty or not the same in every part, and
    where an image cannot be read or has another size than the rest.
    """
    try:
        with open_tree(name, path) as tree:
            return _load_tree(name, tree)
    except OSError as error:  # of folders; those of images have become DataErrors
        raise DataError(
            f"{name}: {error.filename or path} cannot be read ({error.strerror or error}). Give "
            "yourself the right to, or choose another folder."
        ) from error


def _load_tree(name: str, tree: Tree) -> tuple[Dataset, Dataset | None, Dataset | None]:
    files = list_tree(name, tree)
    first = next(iter(files["train"].values()))[0]
    images = {
        part: _read_all(name, tree, [file for paths in of_class.values() for file in paths], first)
        for part, of_class in files.items()
    }
    channels = max(pixels.shape[3] for pixels in images.values())
    read = {}
    for part, of_class in files.items():
        if images[part].shape[3] < channels:
            images[part] = images[part].repeat(channels, axis=3)
        labels = np.repeat(np.arange(len(of_class)), [len(paths) for paths in of_class.values()])
        read[part] = Dataset(name, images[part], labels.astype(np.int64), tuple(of_class))
    return read["train"], read.get("validation"), read.get("test")


def list_tree(name: str, tree: Tree) -> dict[str, dict[str, list[str]]]:
    """Return the images of each class in each part: ``files["train"]["cat"]``, sorted by name.

    With subfolders train and test (and val or validation), each holds the class folders of its
    part; otherwise ``tree`` holds them, and all are of the part train. Beside train alone, val is
    the test part, as it is used of ImageNet.

    Raises DataError where class folders are missing, empty or not the same in every part.
    """
    inside = {folder.rpartition("/")[2]: folder for folder in tree.entries("")[0]}
    parts = {"train": ""}
    held = [part for part in ("val", "validation") if part in inside]
    if "train" in inside and ("test" in inside or held):
        parts = {"train": inside["train"], "test": inside.get("test") or inside[held[0]]}
        if len(held) > 1:
            raise DataError(
                f"{name}: {tree.path} has both a folder val and a folder validation. Keep one, or "
                "put the images of both into one."
            )
        if held and "test" in inside:
            parts["validation"] = inside[held[0]]
    files = {part: _class_files(name, tree, folder) for part, folder in parts.items()}
    for part, folder in parts.items():
        differ = sorted(files[part].keys() ^ files["train"].keys())
        if differ:
            raise DataError(
                f"{name}: {tree.path / parts['train']} and {tree.path / folder} must have the same "
                f"class folders, but only one of them has {', '.join(differ)}. Add or remove it."
            )
    return files


def _class_files(name: str, tree: Tree, folder: str) -> dict[str, list[str]]:
    """Return the images of each class folder in ``folder``, both sorted by name."""
    classes, _ = tree.entries(folder)
    if not classes:
        raise DataError(
            f"{name}: {tree.path / folder} has no class folders. Put the images of each class into "
            "a folder with the name of the class."
        )
    files = {}
    for of_class in classes:
        images = [file for file in tree.entries(of_class)[1] if file.lower().endswith(SUFFIXES)]
        if not images and of_class == "train" and tree.entries(of_class)[0]:
            raise DataError(
                f"{name}: {tree.path / folder} has a folder train, and none named test or val. Add "
                f"one, or give {tree.path / of_class} alone: a part of it is then set apart."
            )
        if not images:
            raise DataError(
                f"{name}: class folder {tree.path / of_class} has no image "
                f"({', '.join(SUFFIXES)}). Put images into it or remove it. (Parts go into folders "
                "named train and test.)"
            )
        files[of_class.rpartition("/")[2]] = images
    return files


def _read_all(name: str, tree: Tree, files: list[str], first: str) -> np.ndarray:
    """Return (n, h, w, c) with 1 channel if all images are grey; ``first`` sets the size."""

    def read(block: list[str]) -> list[np.ndarray]:
        pixels = []
        for file in block:
            with _opened(name, tree.path / file, partial(tree.read, file)) as image:
                pixels.append(_pixels(image, 1 if _grey(image) else 3))
        return pixels

    h, w, _ = read([first])[0].shape
    images = np.empty((len(files), h, w, 1), np.uint8)
    blocks = [files[start : start + BLOCK] for start in range(0, len(files), BLOCK)]
    pool = ThreadPoolExecutor(THREADS)  # Pillow decodes without holding Python's lock
    try:
        in_order = chain.from_iterable(pool.map(read, blocks))
        for i, (file, image) in enumerate(zip(files, in_order, strict=True)):
            if image.shape[:2] != (h, w):
                raise MixedSizes(
                    f"{name}: {tree.path / file} is {image.shape[0]}x{image.shape[1]} pixels "
                    f"(height x width) but {tree.path / first} is {h}x{w}. All images must have "
                    "one size; crop or resize them to it."
                )
            if image.shape[2] > images.shape[3]:
                images = images.repeat(3, axis=3)
            images[i] = image
    finally:
        pool.shutdown(cancel_futures=True)  # what is wrong is told at once
    return images


@contextmanager
def _opened(name: str, path: Path, read: Callable[[], bytes]) -> Iterator[Image]:
    """Open a PNG or JPEG; what is wrong with it, seen now or when it is decoded, is a DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = read()
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            if image.format == "PNG" and content[24] == 16:  # Pillow would cut colours to 8
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


def _grey(image: Image) -> bool:
    if image.mode == "P":
        colours = _pixels(image, 3)
        return bool((colours == colours[..., :1]).all())
    return image.mode in ("1", "L", "LA")


def _pixels(image: Image, channels: int) -> np.ndarray:
    """Return (h, w, c). What is transparent shows white paper, as it does in most programs."""
    if image.has_transparency_data:
        from PIL import Image as images

        paper = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(paper, image.convert("RGBA"))
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    return np.array(image).reshape(image.height, image.width, channels)


def _text(image: Image) -> str:
    return f"{image.height}x{image.width}"

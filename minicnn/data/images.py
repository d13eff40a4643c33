"""Image files: one to classify, or a folder of class folders for training."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from minicnn.data.class_folders import list_tree
from minicnn.data.dataset import DataError, Dataset
from minicnn.data.tree import MOST, Tree, open_tree
from minicnn.files import read_bounded
from minicnn.shapes import integer

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
GREY = ("1", "L", "LA")  # Pillow's modes without colour
ORIENTATION = 0x0112  # the number of its tag in EXIF data
MODES = {1: "L", 3: "RGB"}  # Pillow's name for as many channels
THREADS = min(os.cpu_count() or 1, 8)
MOST_PIXELS = 50 * 10**6  # of one image; the largest cameras have 50 megapixels
WHOLE = 2**22  # a larger resized image is computed only in its middle
BLOCK = 64  # images that a thread decodes in one task


class MixedSizes(DataError):
    """The images of a folder have different sizes."""


def read_image(
    path: str | Path, size: tuple[int, int] | None, channels: int
) -> UInt8[np.ndarray, "h w c"]:
    """Return one image, turned as its EXIF says, as grey (1 channel) or RGB (3).

    If there are several frames, the first is read. Transparent pixels show white paper. Raises
    DataError if the file cannot be read, or if a ``size`` (h, w) is given and the image has
    another; ``read_to_fit`` takes any size.
    """
    with _checked_and_opened(path, channels) as image:
        if size is not None and (image.height, image.width) != size:
            raise DataError(
                f"read_image: {path} is {_text(image)} pixels (height x width) where "
                f"{size[0]}x{size[1]} is needed. Crop or resize it to that size."
            )
        return _pixels(image, channels)


class Fitted(NamedTuple):
    """A picture as it was read, and the image cut out of it."""

    picture: UInt8[np.ndarray, "h w c"]
    image: UInt8[np.ndarray, "h w c"]
    done: str  # what was done to the picture


def read_to_fit(
    path: str | Path, size: tuple[int, int], channels: int, shorter: int | None = None
) -> Fitted:
    """Return one image, unchanged and cut to ``size`` (h, w) by ``cut_to``.

    With ``shorter``, its shorter side is first resized to so many pixels. Raises DataError if the
    file cannot be read.
    """
    with _checked_and_opened(path, channels) as image:
        h, w = image.height, image.width
        factor = max(size[0] / h, size[1] / w) if shorter is None else shorter / min(h, w)
        picture = _pixels(image, channels)
        if (h, w) == size and factor == 1:
            return Fitted(picture, picture, "left as it is")
        fitted = _pixels(_resized_middle(image, factor, size), channels)
    return Fitted(picture, fitted, f"{h}x{w} resized, its middle cut to {size[0]}x{size[1]}")


@contextmanager
def _checked_and_opened(path: str | Path, channels: int) -> Iterator[Image]:
    if channels not in MODES:
        raise ValueError(f"read_image: channels must be 1 or 3, got {channels}.")
    if not Path(path).is_file():
        raise DataError(f"read_image: there is no file {path}.")
    content = partial(read_bounded, Path(path), MOST, "an image")
    with _opened("read_image", Path(path), content) as image:
        yield image


class Form(NamedTuple):
    """How the images of a folder are read."""

    size: int | None = None  # of both sides, after cutting; None: all have one size
    channels: int | None = None  # None: 1 if all images are grey, else 3
    zip_encoding: str | None = None  # of names in a zip that does not tell


def load_folder(
    name: str, path: Path, form: Form | None = None
) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the ``train``, validation and ``test`` images under ``path``, a folder or a zip.

    ``class_folders.list_tree`` describes the folders. Classes are numbered in the order of their
    names. Unless ``form`` says otherwise, the images are grey if red, green and blue are equal in
    every pixel of every image, and RGB if not. The notes of the first part say what was skipped.

    Raises DataError if class folders are missing, empty or not the same in every part, if no image
    of a class can be read, or if the sizes differ.
    """
    form = form or Form()
    if form.size is not None:
        integer("load", "size", form.size, 1)
    try:
        with open_tree(name, path, form.zip_encoding) as tree:
            return _load_tree(name, tree, form)
    except OSError as error:  # an error of a folder; errors of images are DataErrors already
        raise DataError(
            f"{name}: {error.filename or path} cannot be read ({error.strerror or error}). "
            "Allow yourself to read it, or choose another folder."
        ) from error


def _load_tree(name: str, tree: Tree, form: Form) -> tuple[Dataset, Dataset | None, Dataset | None]:
    files, passed = list_tree(name, tree)
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    size: Size | None = None
    for part, of_class in files.items():
        listed = [file for paths in of_class.values() for file in paths]
        labels = np.repeat(np.arange(len(of_class)), [len(paths) for paths in of_class.values()])
        images, unreadable, size = _read_all(name, tree, listed, form, size)
        kept = np.array([file not in unreadable for file in listed])
        passed.unreadable.extend(unreadable)
        passed.why.extend(unreadable.values())
        for label, (of_one, paths) in enumerate(of_class.items()):
            if not kept[labels == label].any():
                raise DataError(
                    f"{name}: none of the {len(paths)} images of class {of_one} in "
                    f"{tree.path / paths[0].rpartition('/')[0]} can be read. "
                    f"{unreadable[paths[0]]}"
                )
        arrays[part] = images, labels[kept].astype(np.int64)
    notes = (str(passed),) if str(passed) else ()
    channels = max(images.shape[3] for images, _ in arrays.values())
    read = {}
    for part, (images, labels) in arrays.items():
        if images.shape[3] < channels:
            images = images.repeat(channels, axis=3)
        read[part] = Dataset(name, images, labels, tuple(files[part]), notes)
    return read["train"], read.get("validation"), read.get("test")


class Size(NamedTuple):
    """The size that all images must have, and the file that determined it."""

    h: int
    w: int
    first: str


def _read_all(
    name: str, tree: Tree, files: list[str], form: Form, size: Size | None
) -> tuple[np.ndarray, dict[str, str], Size | None]:
    """Return (n, h, w, c) of the readable images, the errors of the others, and the size.

    There is 1 channel if all images are grey. The first image determines the size, unless ``size``
    or ``form`` gives it.
    """

    def read(block: list[str]) -> list[np.ndarray | DataError]:
        return [_read_one(name, tree, file, form) for file in block]

    images = np.empty((0, 0, 0, 1), np.uint8)
    unreadable: dict[str, str] = {}
    n = 0
    blocks = [files[start : start + BLOCK] for start in range(0, len(files), BLOCK)]
    pool = ThreadPoolExecutor(THREADS)  # Pillow decodes without holding Python's lock
    try:
        in_order = chain.from_iterable(pool.map(read, blocks))
        for file, image in zip(files, in_order, strict=True):
            if isinstance(image, DataError):
                unreadable[file] = str(image)
                continue
            size = size or Size(image.shape[0], image.shape[1], file)
            if not len(images):
                images = np.empty((len(files), size.h, size.w, 1), np.uint8)
            if image.shape[:2] != size[:2]:
                raise MixedSizes(
                    f"{name}: {tree.path / file} is {image.shape[0]}x{image.shape[1]} pixels "
                    f"(height x width) but {tree.path / size.first} is {size.h}x{size.w}. All "
                    "images must have one size: --size PIXELS resizes and cuts them to it."
                )
            if image.shape[2] > images.shape[3]:
                images = images.repeat(3, axis=3)
            images[n] = image
            n += 1
    finally:
        pool.shutdown(cancel_futures=True)  # an error is raised at once
    return images[:n], unreadable, size


def _read_one(name: str, tree: Tree, file: str, form: Form) -> np.ndarray | DataError:
    """Return (h, w, c), or the error if it cannot be read."""
    try:
        with _opened(name, tree.path / file, partial(tree.read, file)) as image:
            if form.size is not None:
                image = cut_to(image, (form.size, form.size))
            if form.channels is not None:
                return _pixels(image, form.channels)
            pixels = _pixels(image, 1 if image.mode in GREY else 3)
    except DataError as error:
        return error
    grey = (pixels == pixels[..., :1]).all()
    return pixels[..., :1] if grey else pixels


def cut_to(image: Image, size: tuple[int, int]) -> Image:
    """Return the image resized so that it just covers ``size`` (h, w), and its middle cut out."""
    h, w = size
    if (image.height, image.width) == size:
        return image
    return _resized_middle(image, max(h / image.height, w / image.width), size)


def _resized_middle(image: Image, factor: float, size: tuple[int, int]) -> Image:
    """Return the middle, ``size`` (h, w), of the image resized by ``factor``.

    The resizing is bilinear; making an image smaller takes means over areas (antialiased). If the
    whole would have more than WHOLE pixels, as for a very narrow image, only the middle is
    computed. It may differ by 1, because Pillow rounds the box. Pixels outside of the image are
    black.
    """
    from PIL import Image as images

    if image.mode in ("P", "1"):  # palette indices cannot be interpolated
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    whole = [max(round(n * factor), 1) for n in (image.height, image.width)]
    if whole[0] * whole[1] <= WHOLE:
        return _middle(image.resize((whole[1], whole[0]), images.Resampling.BILINEAR), size)
    starts = [round((n - cut) / 2) for n, cut in zip(whole, size, strict=True)]
    cuts = [min(n, cut) for n, cut in zip(whole, size, strict=True)]
    top, left = (max(start, 0) for start in starts)
    down, across = image.height / whole[0], image.width / whole[1]
    box = (
        left * across,
        top * down,
        min((left + cuts[1]) * across, image.width),
        min((top + cuts[0]) * down, image.height),
    )
    middle = image.resize((cuts[1], cuts[0]), images.Resampling.BILINEAR, box=box)
    if cuts == list(size):
        return middle
    left, top = min(starts[1], 0), min(starts[0], 0)
    return middle.crop((left, top, left + size[1], top + size[0]))


def _middle(image: Image, size: tuple[int, int]) -> Image:
    h, w = size
    left, top = round((image.width - w) / 2), round((image.height - h) / 2)
    return image.crop((left, top, left + w, top + h))


@contextmanager
def _opened(name: str, path: Path, read: Callable[[], bytes]) -> Iterator[Image]:
    """Open an image, turned as its EXIF says. A damaged image raises DataError.

    The damage may be noticed now, or only when the image is decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        content = read()
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _check_pixels(name, path, image)
            # Pillow would cut colours to 8 bits
            deep = image.format == "PNG" and content[24] == 16
            deep |= image.format == "PPM" and _largest_of_ppm(content) > 255
            if deep or image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{name}: {path} has {32 if image.mode == 'F' else 16} bits to a pixel. "
                    "Convert it to 8 bits, so that it is clear what is white."
                )
            yield _turned(image)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: {path} is not an image of a supported kind (PNG, JPEG, BMP, GIF, WebP, "
            "TIFF, PPM). Replace or convert it."
        ) from error
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name}: {path} has more than {MOST_PIXELS // 10**6} million pixels. Resize it."
        ) from error
    except Exception as error:  # for a damaged file, Pillow may raise any error
        what = str(error) or type(error).__name__
        raise DataError(f"{name}: {path} cannot be read ({what}). Replace it.") from error


def _largest_of_ppm(content: bytes) -> int:
    """Return the value of white: 255 for 8 bits, more for 16."""
    head = re.match(rb"P[2356]((?:\s+|\s*#[^\n]*\n)+\d+){3}", content[:4096])
    return int(head[1].split()[-1]) if head else 0


def _check_pixels(name: str, path: Path, image: Image) -> None:
    """Raise DataError for too many pixels for the memory: a file of 300 kB can have 169 million.

    The header has the size; nothing is decoded yet.
    """
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{name}: {path} has {image.width:,} x {image.height:,} pixels, more than "
            f"{MOST_PIXELS // 10**6} million. Resize it."
        )


def _turned(image: Image) -> Image:
    """Return the image the right way up, as the orientation in its EXIF data says."""
    from PIL.Image import Transpose

    image.load()  # this already turns a TIFF
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data are ignored; the pixels are fine
        return image
    ways = (
        Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90,
    )  # fmt: skip
    return image.transpose(ways[orientation - 2]) if orientation in range(2, 9) else image


def _pixels(image: Image, channels: int) -> np.ndarray:
    """Return (h, w, c). Transparent pixels show white paper, as in most programs."""
    if image.has_transparency_data:
        from PIL import Image as images

        paper = images.new("RGBA", image.size, "white")
        image = images.alpha_composite(paper, image.convert("RGBA"))
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    return np.array(image).reshape(image.height, image.width, channels)


def _text(image: Image) -> str:
    return f"{image.height}x{image.width}"

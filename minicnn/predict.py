"""Classifying pictures with a run: read them, prepare them like the run's images, classify them.

For a run on digits, ``data.prepare_digit`` prepares the picture. For any other run it is resized
and cut like the images that the run learned from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn import data
from minicnn.data.class_folders import SUFFIXES, is_image, readable
from minicnn.data.images import read_to_fit
from minicnn.data.prepare import FORMS
from minicnn.data.tree import hidden
from minicnn.nn import Module
from minicnn.ops import softmax
from minicnn.train import Config


class Seen(NamedTuple):
    """A picture, and the image that the network gets."""

    picture: np.ndarray  # (h, w, c) as it was read
    image: np.ndarray  # (h, w, c) of the size of the run's images
    done: str  # what was done to it


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the paths; each folder is replaced by all images below it, sorted by name.

    A folder without images stays in the list, and ``see`` raises the error for it.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        files += sorted(_images(path)) or [path]
    return files


def _images(folder: Path) -> Iterator[Path]:
    for inner, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not hidden(name)]
        yield from (Path(inner, name) for name in files if is_image(name) and not hidden(name))


def see(path: Path, config: Config, *, as_is: bool = False, invert: bool = False) -> Seen:
    """Return a picture, prepared like the images of the run.

    With ``as_is`` it is left unchanged and must have their size. ``invert`` exchanges dark and
    light first. Raises DataError; its text names the file.
    """
    c, h, w = config.image
    family = config.recipe.data
    if path.is_dir():
        raise data.DataError(
            f"{readable(str(path))}: there is no image in this folder. Put images "
            f"({', '.join(SUFFIXES)}) into it, or name another."
        )
    try:
        if as_is:
            image = _exchanged(data.read_image(path, (h, w), c), invert)
            return Seen(image, image, "")
        if family in FORMS and (c, h, w) == (1, 28, 28):
            picture = _exchanged(data.read_image(path, None, 3), invert)
            prepared = data.prepare_digit(picture, family)
            return Seen(picture, prepared.image[..., None], str(prepared))
        shorter = config.content["data"].get("shorter_side")
        picture, image, done = read_to_fit(path, (h, w), c, shorter)
        return Seen(_exchanged(picture, invert), _exchanged(image, invert), done)
    except data.DigitError as error:
        raise data.DataError(f"{readable(str(path))}: {error}") from error
    except data.DataError as error:
        raise data.DataError(str(error).removeprefix("read_image: ")) from error


def _exchanged(image: np.ndarray, invert: bool) -> np.ndarray:
    return 255 - image if invert else image


def probabilities(model: Module, config: Config, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n, classes) for images (h, w, c) of the run's size, a hundred at a time."""
    parts = []
    for start in range(0, len(images), 100):
        x = data.normalize(np.stack(images[start : start + 100]), config.normalization)
        parts.append(softmax.forward(model(x))[0])
    return np.concatenate(parts)

"""Lists of image files: of class folders, or of a manifest.

A manifest is a CSV file with the columns path, class and part (train, test and, if there is one,
validation). A path in it is absolute, or begins where the manifest lies.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data import DataError, read_image
from minicnn.data.images import SUFFIXES, list_tree
from minicnn.data.tree import open_tree

COLUMNS = ("path", "class", "part")
PARTS = ("train", "validation", "test")


class Files(NamedTuple):
    """The files of a part, each with its class as a position in ``classes``."""

    paths: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]

    def at(self, positions: Iterable[int]) -> Files:
        chosen = list(positions)
        return Files([self.paths[i] for i in chosen], self.labels[chosen], self.classes)


def list_files(name: str, path: Path) -> dict[str, Files]:
    """Return the files of each part under ``path``; without parts, all are of the part train.

    Raises DataError, as ``minicnn.data.images.list_tree`` does, where a class folder is missing,
    empty, or not in every part.
    """
    try:
        if path.suffix.lower() == ".csv":
            manifest = Manifest(name, path)
            return {
                part: _flat(of_class, manifest.where)
                for part, of_class in list_tree(name, manifest).items()
            }
        if path.is_file():
            raise DataError(
                f"{name}: {path} is neither a folder nor a manifest (.csv). Unpack it: images that "
                "are cropped are read from a folder as they are needed."
            )
        with open_tree(name, path) as tree:
            parts = list_tree(name, tree)
        return {part: _flat(of_class, path.joinpath) for part, of_class in parts.items()}
    except OSError as error:
        raise DataError(
            f"{name}: {error.filename or path} cannot be read ({error.strerror or error}). Give "
            "yourself the right to, or choose another folder."
        ) from error


def passed_over(path: Path, parts: dict[str, Files]) -> str | None:
    """Return in a line what else lies in the class folders of ``parts``, None for nothing.

    Of a manifest that is nothing: what it names is meant to be an image, and all that is.
    """
    if path.is_file():
        return None
    folders = {file.parent for files in parts.values() for file in files.paths}
    others = Counter(
        file.suffix.lower() or "without an ending"
        for folder in folders
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and not file.name.lower().endswith(SUFFIXES)
        and not file.is_dir()
    )
    if not others:
        return None
    in_order = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
    kinds = ", ".join(f"{number:,} {ending}" for ending, number in in_order)
    return f"passed over: files that do not end in {', '.join(SUFFIXES)} ({kinds})"


def _flat(of_class, where) -> Files:
    paths = [where(file) for files in of_class.values() for file in files]
    labels = np.repeat(np.arange(len(of_class)), [len(files) for files in of_class.values()])
    return Files(paths, labels.astype(np.int64), tuple(of_class))


class Manifest:
    """A manifest as a tree of folders: ``train/cat/00000007.png`` stands for its eighth image.

    So it does whatever the name of the file is: what a manifest names is meant to be an image.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.path = path
        self._where: dict[str, Path] = {}
        self._inside: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        lines = list(_lines(name, path))
        undivided = {line["part"] for line in lines} == {"train"}
        for number, line in enumerate(lines):
            file = Path(line["path"])
            part = "" if undivided else line["part"]
            folder = f"{part}/{line['class']}".removeprefix("/")
            key = f"{folder}/{number:08d}{SUFFIXES[0]}"
            if part:
                self._inside[""][0].add(part)
            self._inside[part][0].add(folder)
            self._inside[folder][1].add(key)
            self._where[key] = path.parent / file

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._inside[folder]
        return sorted(folders), sorted(files)

    def where(self, file: str) -> Path:
        return self._where[file]

    def read(self, file: str) -> bytes:
        return self._where[file].read_bytes()


def _lines(name: str, path: Path) -> Iterator[dict[str, str]]:
    with _opened(name, path) as lines:
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise DataError(
                f"{name}: {path} must begin with the line {','.join(COLUMNS)}. Make it by: "
                f"python -m reference.data split FOLDER {path}"
            )
        for line in lines:
            if None in line.values() or None in line or line["part"] not in PARTS:
                raise DataError(
                    f"{name}: {path}, line {lines.line_num}: a path, a class and one of "
                    f"{', '.join(PARTS)} are expected. Correct it."
                )
            yield line


@contextmanager
def _opened(name: str, path: Path) -> Iterator[csv.DictReader]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield csv.DictReader(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: {path} is no manifest ({error}).") from error


def read(path: Path, channels: int) -> np.ndarray:
    """Return an image (h, w, c) of any size. Raises DataError that names it."""
    try:
        return read_image(path, None, channels)
    except DataError as error:
        raise DataError(str(error).removeprefix("read_image: ")) from error


def counts(files: Files) -> Sequence[int]:
    """Return how many files each class has."""
    return np.bincount(files.labels, minlength=len(files.classes)).tolist()

"""Lists of image files: of class folders, or of a manifest.

A manifest is a CSV file with the columns path, class and part (train, test and, if there is one,
validation). A path in it is absolute, or begins where the manifest lies.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data import DataError, read_image
from minicnn.data.class_folders import SUFFIXES, Passed, list_tree
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

    Raises DataError, as ``minicnn.data.class_folders.list_tree`` does, where a class folder is
    missing, empty, or not in every part.
    """
    return list_all(name, path)[0]


def list_all(name: str, path: Path) -> tuple[dict[str, Files], Passed]:
    """Return the same, and what is passed over: of a manifest nothing, all in it is an image."""
    try:
        if path.suffix.lower() == ".csv":
            manifest = Manifest(name, path)
            parts, passed = list_tree(name, manifest)
            return {
                part: _flat(of_class, manifest.where) for part, of_class in parts.items()
            }, passed
        if path.is_file():
            raise DataError(
                f"{name}: {path} is neither a folder nor a manifest (.csv). Unpack it: images that "
                "are cropped are read from a folder as they are needed."
            )
        with open_tree(name, path) as tree:
            parts, passed = list_tree(name, tree)
        flat = {part: _flat(of_class, path.joinpath) for part, of_class in parts.items()}
        return flat, passed
    except OSError as error:
        raise DataError(
            f"{name}: {error.filename or path} cannot be read ({error.strerror or error}). "
            "Allow yourself to read it, or choose another folder."
        ) from error


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
            part = "" if undivided else line["part"]
            folder = f"{part}/{line['class']}".removeprefix("/")
            key = f"{folder}/{number:08d}{SUFFIXES[0]}"
            if part:
                self._inside[""][0].add(part)
            self._inside[part][0].add(folder)
            self._inside[folder][1].add(key)
            self._where[key] = _existing(path.parent, line["path"])

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._inside[folder]
        return sorted(folders), sorted(files)

    def where(self, file: str) -> Path:
        return self._where[file]

    def read(self, file: str) -> bytes:
        return self._where[file].read_bytes()


def _lines(name: str, path: Path) -> Iterator[dict[str, str]]:
    text = _text(name, path)
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)  # some spreadsheets write the others
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
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
    except csv.Error as error:
        raise DataError(f"{name}: {path} is no manifest ({error}).") from error


def _text(name: str, path: Path) -> str:
    """Return a manifest's text: UTF-8, or what its byte order mark says."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: {path} is not UTF-8: line {line} has the byte {content[error.start]:#04x}. "
            'Save it as UTF-8; spreadsheets call that "CSV UTF-8".'
        ) from error


def _existing(folder: Path, file: str) -> Path:
    """Return where a path of a manifest leads; backslashes part folders if no file has them."""
    path = folder / file
    if "\\" in file and not path.exists():
        return folder / file.replace("\\", "/")
    return path


def read(path: Path, channels: int) -> np.ndarray:
    """Return an image (h, w, c) of any size. Raises DataError that names it."""
    try:
        return read_image(path, None, channels)
    except DataError as error:
        raise DataError(str(error).removeprefix("read_image: ")) from error


def counts(files: Files) -> Sequence[int]:
    """Return how many files each class has."""
    return np.bincount(files.labels, minlength=len(files.classes)).tolist()

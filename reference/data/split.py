"""Dividing a folder of class folders into train and test, without touching it.

Links or a manifest name the images; nothing of the source is moved, changed or deleted. Every class
is divided in proportion, by the seed.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from minicnn.data import DataError
from minicnn.data.dataset import draw_apart
from minicnn.files import write_whole
from reference.data.examine import examine
from reference.data.files import COLUMNS, Files, list_files

# The folders of Animals-10, which are in Italian.
ITALIAN = {
    "cane": "dog", "cavallo": "horse", "elefante": "elephant", "farfalla": "butterfly",
    "gallina": "chicken", "gatto": "cat", "mucca": "cow", "pecora": "sheep", "ragno": "spider",
    "scoiattolo": "squirrel",
}  # fmt: skip


def in_english(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of classes; those of Animals-10 translated, if all are its."""
    if set(classes) <= set(ITALIAN):
        return tuple(ITALIAN[name] for name in classes)
    return classes


def split(source: Path, target: Path, test: float, seed: int) -> tuple[dict[str, Files], list[str]]:
    """Divide the images of ``source``; return the parts, and why images were left out.

    ``target`` is a new folder of links, or with the ending .csv a manifest. Raises DataError where
    there are too few images, or something is in the way.
    """
    name = f"imagefolder:{source}"
    if not 0 < test < 1:
        raise ValueError(f"split: the part for testing must be between 0 and 1, got {test}.")
    if target.exists():
        raise DataError(f"{target}: is there already. Choose another name, or remove it.")
    if target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target}: lies inside of {source}, which is left as it is.")
    parts = list_files(name, source)
    if set(parts) != {"train"}:
        raise DataError(f"{source}: is divided already, into {' and '.join(parts)}.")
    files = parts["train"]._replace(classes=in_english(parts["train"].classes))
    unreadable = examine(name, files.paths, 3).unreadable
    files = files.at(i for i in range(len(files.paths)) if i not in unreadable)
    rest, drawn = draw_apart(name, files.labels, files.classes, test, seed, "test", leave=2)
    divided = {"train": files.at(rest), "test": files.at(drawn)}
    if target.suffix.lower() == ".csv":
        write_whole(target, _manifest(divided).encode())
    else:
        _link(divided, target)
    return divided, list(unreadable.values())


def _each(parts: dict[str, Files]) -> Iterator[tuple[Path, str, str]]:
    for part, files in parts.items():
        for path, label in zip(files.paths, files.labels, strict=True):
            yield path, files.classes[label], part


def _manifest(parts: dict[str, Files]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((path.resolve(), *about) for path, *about in _each(parts))
    return text.getvalue()


def _link(parts: dict[str, Files], target: Path) -> None:
    """Make all links in a folder beside ``target``, which then takes its name."""
    half = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        for path, of_class, part in _each(parts):
            folder = half / part / of_class
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).symlink_to(path.resolve())  # to the image, not to another link
        half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)

"""Folders of class folders: the images of each class in each part, and what is skipped.

cat/01.png, dog/02.png                   one part; others are taken from it
train/cat/01.png, test/dog/02.png        parts of their own; also valid, val or validation
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from minicnn.data.dataset import DataError
from minicnn.data.tree import Tree

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
VALIDATION = ("val", "valid", "validation")
MOST = 3  # so many names of each kind are listed

Files = dict[str, dict[str, list[str]]]  # files["train"]["cat"], each sorted by name


class Passed(NamedTuple):
    """Files and folders among the images that are not read: paths in the tree."""

    others: list[str]  # files with another ending
    folders: list[str]  # folders inside class folders
    loose: list[str]  # images in no class folder
    beside: list[str]  # folders beside train, test and validation
    unreadable: list[str]  # images, found when they are read
    why: list[str]  # the reason for each of them

    def of_no_class(self, files: Iterable[str]) -> None:
        """Add files that are in no class folder."""
        for file in files:
            (self.loose if is_image(file) else self.others).append(file)

    def __str__(self) -> str:
        """One line that counts and names all of them; "" if there are none."""
        kinds = []
        if self.others:
            endings = Counter(_ending(file) for file in self.others)
            in_order = sorted(endings.items(), key=lambda kind: (-kind[1], kind[0]))
            kinds.append(
                f"{_count(len(self.others), 'file')} of another ending "
                f"({', '.join(f'{n:,} {ending}' for ending, n in in_order)})"
            )
        if self.loose:
            kinds.append(
                f"{_count(len(self.loose), 'image')} in no class folder ({_names(self.loose)})"
            )
        if self.beside:
            kinds.append(
                f"{_count(len(self.beside), 'folder')} that {'are' if self.beside[1:] else 'is'} "
                f"no part ({_names(self.beside)})"
            )
        if self.folders:
            kinds.append(
                f"{_count(len(self.folders), 'folder')} inside class folders "
                f"({_names(self.folders)})"
            )
        if self.unreadable:
            kinds.append(
                f"{_count(len(self.unreadable), 'image')} that cannot be read "
                f"({_names(self.unreadable)})"
            )
        line = f"passed over: {'; '.join(kinds)}" if kinds else ""
        return f"{line}. {readable(self.why[0])}" if self.why else line


def list_tree(name: str, tree: Tree) -> tuple[Files, Passed]:
    """Return the images of each class in each part, and what is skipped.

    If there are subfolders train and test (and val, valid or validation; upper or lower case), each
    holds the class folders of its part. Otherwise ``tree`` holds the class folders, and all images
    are training images. If there are only train and val, as in ImageNet, val is the test part.
    Names are compared and returned in Unicode's composed form (NFC), so that a name has one
    spelling.

    Raises DataError if class folders are missing, empty or not the same in every part.
    """
    folders, files = tree.entries("")
    passed = Passed([], [], [], [], [], [])
    parts = _parts(name, tree, folders)
    if len(parts) > 1:
        passed.of_no_class(files)
        passed.beside.extend(folder for folder in folders if folder not in parts.values())
    found = {part: _class_files(name, tree, folder, passed) for part, folder in parts.items()}
    for part, folder in parts.items():
        differ = sorted(found[part].keys() ^ found["train"].keys())
        if differ:
            raise DataError(
                f"{name}: {tree.path / parts['train']} and {tree.path / folder} must have the same "
                f"class folders, but only one of them has {', '.join(differ)}. Add images of it to "
                "the other, or move it away."
            )
    return found, passed


def _parts(name: str, tree: Tree, folders: Sequence[str]) -> dict[str, str]:
    """Return the folder of each part; "" if the tree is not divided into parts."""
    inside: dict[str, list[str]] = {}
    for folder in folders:
        inside.setdefault(_last(folder).casefold(), []).append(folder)
    held = [folder for part in VALIDATION for folder in inside.get(part, ())]
    train, test = inside.get("train", []), inside.get("test", [])
    if not train or not (test or held):
        return {"train": ""}
    for several in (train, test, held):
        if len(several) > 1:
            one, other = (_last(folder) for folder in several[:2])
            raise DataError(
                f"{name}: {tree.path} has both a folder {one} and a folder {other}. Keep one, or "
                "put the images of both into one."
            )
    parts = {"train": train[0], "test": (test or held)[0]}
    if held and test:
        parts["validation"] = held[0]
    return parts


def _class_files(name: str, tree: Tree, folder: str, passed: Passed) -> dict[str, list[str]]:
    """Return the images of each class folder in ``folder``, both sorted by name."""
    classes, beside = tree.entries(folder)
    if not classes:
        loose = sum(is_image(file) for file in beside)
        held = "no class folders" + (f", but {_count(loose, 'image')} without one" if loose else "")
        raise DataError(
            f"{name}: {tree.path / folder} has {held}. Put the images of each class into "
            "a folder with the name of the class."
        )
    passed.of_no_class(beside)
    files: dict[str, list[str]] = {}
    for of_class in classes:
        inner, within = tree.entries(of_class)
        images = [file for file in within if is_image(file)]
        if not images:
            raise DataError(_without_images(name, tree, of_class, inner, within))
        passed.others.extend(file for file in within if not is_image(file))
        passed.folders.extend(inner)
        files.setdefault(readable(_last(of_class)), []).extend(images)
    return {of_class: files[of_class] for of_class in sorted(files)}


def _without_images(
    name: str, tree: Tree, folder: str, inner: Sequence[str], within: Sequence[str]
) -> str:
    """Return the message for a class folder without images: what is in it, and the remedy."""
    path = tree.path / folder
    if _last(folder).casefold() == "train" and inner:
        return (
            f"{name}: {path.parent} has a folder train, and none named test or val. Add one, or "
            f"give {path} alone: a part of it is then set apart."
        )
    holds, remedy = "it is empty", "Put images of this class into it"
    if within:
        endings = Counter(_ending(file) for file in within)
        holds = "it holds " + ", ".join(
            f"{_count(n, f'{ending} file')}" for ending, n in sorted(endings.items())
        )
        remedy = "Convert them to one of these kinds"
    elif inner:
        holds = f"it holds {_count(len(inner), 'folder')} ({_names(inner)})"
        remedy = (
            "If these are the classes, give the path of this folder; if they hold images of this "
            "class, move the images up into it"
        )
    return (
        f"{name}: class folder {path} has no image ({', '.join(SUFFIXES)}): {holds}. {remedy}. "
        "(Parts go into folders named train and test.)"
    )


def is_image(file: str) -> bool:
    """Return whether a file has the ending of an image."""
    return file.lower().endswith(SUFFIXES)


def readable(name: str) -> str:
    """Return a file's name as text: composed (NFC); bytes that are not UTF-8 become \\xe9."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _ending(file: str) -> str:
    name, dot, ending = _last(file).rpartition(".")
    return f".{ending.lower()}" if dot and name else "without an ending"


def _count(n: int, one: str) -> str:
    return f"{n:,} {one}{'s' * (n != 1)}"


def _names(paths: Iterable[str]) -> str:
    names = [readable(path) for path in paths]
    return ", ".join(names[:MOST] + ["..."] * (len(names) > MOST))

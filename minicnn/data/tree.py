"""Folders of files to read from, on disk or in a zip; hidden ones are passed over."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from minicnn.data.dataset import DataError
from minicnn.files import NotAsItSays, amount, read_bounded

MOST = 2**28  # bytes of an image; 50 megapixels without compression have 150 MB

# What zipfile raises for archives that are damaged, encrypted or packed by a method it lacks; a
# ValueError for names that are not in the code they say.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
    ValueError,
)  # fmt: skip


class Tree(Protocol):
    """Files by their path from ``path``, "train/cat/01.png"; "" is the root."""

    path: Path

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the paths of the folders and of the files in ``folder``, both sorted."""

    def read(self, file: str) -> bytes:
        """Return the content. Raises OSError."""


@contextmanager
def open_tree(name: str, path: Path) -> Iterator[Tree]:
    """Open a folder or a zip. Raises DataError where ``path`` is neither."""
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.exists():
        raise DataError(f"{name}: there is no folder {path}. Give the path of an existing folder.")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, *_ZIP_ERRORS) as error:
        raise DataError(
            f"{name}: {path} is neither a folder nor a zip that can be read ({error}). Give the "
            "path of a folder."
        ) from error
    with archive:
        yield _Zip(path, archive)


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(self.path / folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(_join(folder, entry.name))
        return sorted(folders), sorted(files)

    def read(self, file: str) -> bytes:
        return read_bounded(Path(self.path, file), MOST, "an image")


class _Zip:
    """A folder that was packed as a whole is the root, though all names begin with it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._folders: dict[str, set[str]] = defaultdict(set)
        self._files: dict[str, set[str]] = defaultdict(set)
        self._members: dict[str, str] = {}  # what the archive calls a file
        for name in archive.namelist():
            *folders, file = name.replace("\\", "/").split("/")  # some packers on Windows use it
            folders = [part for part in folders if part not in ("", ".")]
            if any(part.startswith((".", "__MACOSX")) for part in [*folders, file]):
                continue
            folder = ""
            for part in folders:
                inner = _join(folder, part)
                self._folders[folder].add(inner)
                folder = inner
            if file:
                self._files[folder].add(_join(folder, file))
                self._members[_join(folder, file)] = name
        self._top = ""
        while not self._files[self._top] and len(self._folders[self._top]) == 1:
            (only,) = self._folders[self._top]
            if not self._folders[only]:
                break
            self._top = only

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        folder = folder or self._top
        return sorted(self._folders[folder]), sorted(self._files[folder])

    def read(self, file: str) -> bytes:
        member = self._archive.getinfo(self._members[file])
        if member.file_size > MOST:
            raise NotAsItSays(
                f"it unpacks to {amount(member.file_size)}, and an image has at most {amount(MOST)}"
            )
        try:
            return self._archive.read(member)
        except _ZIP_ERRORS as error:
            raise OSError(str(error)) from error


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

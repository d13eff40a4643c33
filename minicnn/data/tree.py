"""Reading folders of files, on disk or in a zip.

Hidden files and files that systems leave in folders are skipped. Names in a zip are UTF-8 if a flag
says so. macOS and Windows may write zips without the flag. Then the names are read as UTF-8 if all
of them are valid UTF-8. Otherwise the user must name the encoding, because it cannot be guessed.
"""

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

# Errors of zipfile for archives that are damaged, encrypted or packed by an unknown method; a
# ValueError for names that do not fit their encoding.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError,
    ValueError,
)  # fmt: skip


LEFT_BEHIND = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")  # by macOS, Synology, Windows
CODES = ("cp949", "cp932", "gb18030", "big5", "cp437")  # that packers on Windows use
_UTF_8 = 0x800  # the flag of a name that is UTF-8


class Tree(Protocol):
    """Files by their path from ``path``, "train/cat/01.png"; "" is the root."""

    path: Path

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the paths of the folders and of the files in ``folder``, both sorted."""

    def read(self, file: str) -> bytes:
        """Return the content. Raises OSError."""


@contextmanager
def open_tree(name: str, path: Path, zip_encoding: str | None = None) -> Iterator[Tree]:
    """Open a folder or a zip. ``zip_encoding`` is for names of a zip that does not say.

    Raises DataError if ``path`` is neither, or if its names can be read in more than one way.
    """
    if path.is_dir():
        if zip_encoding is not None:
            raise DataError(
                f"{name}: --zip-encoding {zip_encoding} is for a zip, and {path} is a folder. "
                "Leave it out."
            )
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
        yield _Zip(path, archive, _names(name, path, archive, zip_encoding))


def hidden(name: str) -> bool:
    """Return whether a file or folder is skipped because of its name."""
    return name.startswith(".") or name in LEFT_BEHIND


def _names(
    name: str, path: Path, archive: zipfile.ZipFile, encoding: str | None
) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their names."""
    infos = archive.infolist()
    plain = [info for info in infos if not info.flag_bits & _UTF_8]  # read as cp437 by zipfile
    raw = [info.orig_filename.encode("cp437") for info in plain]
    if encoding is None and all(_decoded(one, "ascii") is not None for one in raw):
        encoding = "ascii"
    if encoding is None and all(_decoded(one, "utf-8") is not None for one in raw):
        encoding = "utf-8"
    if encoding is None:
        first = next(one for one in raw if _decoded(one, "ascii") is None)
        ways = [
            f"{_decoded(first, code)} (--zip-encoding {code})"
            for code in CODES
            if all(_decoded(one, code) is not None for one in raw)
        ]
        raise DataError(
            f"{name}: {path} does not say in which encoding its names are. Is one of them "
            f"{' or '.join(ways)}? Choose by that option, or pack the folder anew with UTF-8 names."
        )
    texts = {
        info.orig_filename: _decoded(one, encoding) for info, one in zip(plain, raw, strict=True)
    }
    if None in texts.values():
        raise DataError(
            f"{name}: {path} has names that are not in {encoding}. Choose another encoding by "
            f"--zip-encoding, for example {', '.join(CODES[:3])}."
        )
    return {
        (info.filename if info.flag_bits & _UTF_8 else texts[info.orig_filename]) or "": info
        for info in infos
    }


def _decoded(raw: bytes, encoding: str) -> str | None:
    """Return a name, or None if it does not fit the encoding, which Python must know."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    except LookupError as error:
        raise DataError(
            f"--zip-encoding: {encoding} is not an encoding. Use for example {', '.join(CODES)}."
        ) from error


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(self.path / folder) as entries:
            for entry in entries:
                if not hidden(entry.name):
                    (folders if entry.is_dir() else files).append(_join(folder, entry.name))
        return sorted(folders), sorted(files)

    def read(self, file: str) -> bytes:
        return read_bounded(Path(self.path, file), MOST, "an image")


class _Zip:
    """If a folder was packed as a whole, it is the root, although all names begin with it."""

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, names: dict[str, zipfile.ZipInfo]
    ) -> None:
        self.path = path
        self._archive = archive
        self._folders: dict[str, set[str]] = defaultdict(set)
        self._files: dict[str, set[str]] = defaultdict(set)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for name, info in names.items():
            *folders, file = name.replace("\\", "/").split("/")  # some packers on Windows use it
            folders = [part for part in folders if part not in ("", ".")]
            if any(hidden(part) for part in [*folders, file]):
                continue
            folder = ""
            for part in folders:
                inner = _join(folder, part)
                self._folders[folder].add(inner)
                folder = inner
            if file:
                self._files[folder].add(_join(folder, file))
                self._members[_join(folder, file)] = info
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
        member = self._members[file]
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

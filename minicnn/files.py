"""Writing files whole or not at all, and checking files before they are read.

A file is first written as ``.NAME.PID.part`` in the same folder and then renamed. The system
renames completely or not at all, so a full disk or a power failure leaves the previous file
unchanged. If a process is killed, the next one that writes there removes its unfinished file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``. If it raises OSError, the old file remains."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open_part(part) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sweep(path.parent, path.name)


def open_part(part: Path) -> BinaryIO:
    return part.open("wb")


def sweep(folder: Path, name: str | None = None, *, alone: bool = False) -> None:
    """Remove unfinished files of dead processes from ``folder``; with ``name``, of that file only.

    ``alone`` says that this process is the only writer. Then every unfinished file is removed.
    """
    for part, process in _parts(folder, name):
        if process != os.getpid() and (alone or not is_alive(process)):
            try:
                part.unlink(missing_ok=True)
            except OSError:
                continue  # we may not remove it


def _parts(folder: Path, name: str | None) -> Iterator[tuple[Path, int]]:
    for entry in os.scandir(folder):
        found = _PART.fullmatch(entry.name)
        if found and (name is None or found["name"] == name):
            yield Path(entry.path), int(found["process"])


def is_alive(process: int) -> bool:
    """Return whether a process with this number runs on this machine."""
    if os.name == "nt":  # on Windows os.kill ends the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be made in ``folder``."""
    probe = folder / f".probe.{os.getpid()}.part"
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)


class NotAsItSays(OSError):
    """Not a regular file, or larger than a file of its kind can be."""


def check_size(path: Path, most: int, what: str) -> None:
    """Raise NotAsItSays unless ``path`` is a file of at most ``most`` bytes, OSError if unreadable.

    Pipes and devices are refused, because reading them may never end. ``what`` names the kind of
    file that is expected.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise NotAsItSays(f"it is a pipe, a device or a folder, and {what} is a file")
    if state.st_size > most:
        raise NotAsItSays(f"it has {amount(state.st_size)}, and {what} has at most {amount(most)}")


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """Return the content of a file of at most ``most`` bytes. Raises as ``check_size``."""
    check_size(path, most, what)
    with path.open("rb") as file:
        return file.read(most)


def amount(size: int) -> str:
    """Return a number of bytes as text: 512 bytes, 1.5 MB, 3.0 GB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} bytes"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` with ``~`` and ``~user`` replaced. Raises ValueError for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        user = Path(path).parts[0]
        raise ValueError(
            f"{path}: there is no home folder of {user}. Give the path without {user}."
        ) from error

"""Where compiled kernels are kept, and when they are compiled anew.

Numba takes a kernel from its cache until the file that defines the kernel changes. What the kernel
calls may stand in another file: after an edit there, Numba would go on with the old code. So here
every kernel carries a digest of all sources that have kernels, and an edit of any of them compiles
all anew. The digest is of the content: a new checkout of the same files keeps what is compiled.

Numba looks for a folder beside the source and then in the user's home. Where neither may be
written, as in a container under another user, it gives up. Then they go to a folder of this user
under the temporary one; where that cannot be had either, they are compiled anew in each process.
What lies there is loaded as code, so a folder that anybody else may write is not used.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import pickle
import re
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba

from minicnn import numba_internals

PACKAGE = Path(__file__).parent
ROOMS = (
    "*.py",
    "data/*.py",
    "fused/*.py",
    "kernels/*.py",
    "ops/**/*.py",
    "optim/*.py",
)  # in which kernels stand
# A file with a kernel imports one of these.
COMPILES = (b"numba", b"llvmlite", b"minicnn.backend", b"minicnn.kernels")


def enable(compiled: Any) -> Any:
    """Return a compiled function that is cached on disk, if there is a place for that."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return compiled
    if not Path(compiled.py_func.__code__.co_filename).is_file():  # typed in, or from an archive
        return compiled
    try:
        compiled.enable_caching()
    except RuntimeError:  # "no locator available"
        folder = _own_folder()
        if folder is not None:
            before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
            numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
            try:
                compiled.enable_caching()
            finally:
                numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
    files = numba_internals.cache_files(compiled)
    if files is not None:
        place, name, stamp = numba_internals.place_of(files)
        ours = compiled.__module__.partition(".")[0] == PACKAGE.name
        stamp = sources() if ours else (stamp, sources())
        numba_internals.keep_in(compiled, Index(place, name, stamp))
    return compiled


class Index(numba_internals.CacheFiles):
    """The files of one kernel: an index, and a file of code for each type of its arguments.

    Numba numbers the files of code. Two processes that find an empty cache both write number 1,
    each for other types, and a third may then load the code of the one for the types of the other.
    Here a file's name says what is in it, and the index names a file once it is there.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep code, unless a source has changed since this process read the sources.

        What is compiled may be of the new text then, and the stamp is of the old.
        """
        if sources.__wrapped__() != sources():
            return
        what = re.sub(r" at 0x[0-9a-f]+", "", repr((self.version, self.stamp, key)))
        name = f"{self.name}.{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}.nbc"
        self.write_code(name, data)
        overloads = self.entries()
        for old in [] if overloads else self._old_files(name):
            old.unlink(missing_ok=True)
        self.write_index({**overloads, key: name})

    def entries(self) -> dict:
        """Return the file of code for each type; none where other sources or Numbas wrote it."""
        version, stamp, overloads = self._read()
        return overloads if (version, stamp) == (self.version, self.stamp) else {}

    def _old_files(self, new: str) -> list[Path]:
        """Return the files of code that other sources, or another Numba, have left."""
        version, stamp, overloads = self._read()
        if (version, stamp) == (self.version, self.stamp):
            return []
        if version is None and self.index.exists():  # then it does not tell which
            files = self.folder.glob(f"{glob.escape(self.name)}.*.nbc")
            return [file for file in files if file.name != new]
        return [self.folder / name for name in overloads.values()]

    def _read(self) -> tuple[Any, Any, dict]:
        """Return version, stamp and entries of the index.

        The entries name types by their classes. A class that has moved since to another file
        cannot be found, and then reading fails: such an index is as good as none.
        """
        try:
            with open(self.index, "rb") as file:
                version, content = pickle.load(file), file.read()
            return version, *pickle.loads(content)
        except Exception:  # pickle raises whatever the classes raise
            return None, None, {}


@functools.cache
def sources() -> str:
    """Return a digest of all files of minicnn in which a kernel, or a part of one, may stand."""
    digest = hashlib.blake2b(b"shared" if numba_internals.SHARES else b"prange", digest_size=16)
    for path in sorted(path for room in ROOMS for path in PACKAGE.glob(room)):
        content = path.read_bytes()
        if any(word in content for word in COMPILES):
            digest.update(b"%b %d " % (path.relative_to(PACKAGE).as_posix().encode(), len(content)))
            digest.update(content)
    return digest.hexdigest()


@functools.cache
def _own_folder() -> Path | None:
    """Return the folder under the temporary one, and say so; None where there can be none."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir(), f"minicnn-kernels-{user}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        ours = not hasattr(os, "getuid") or (
            state.st_uid == os.getuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        )
        if stat.S_ISDIR(state.st_mode) and ours and os.access(folder, os.W_OK):
            _say(f"kept in {folder}")
            return folder
    except OSError:
        pass
    _say("compiled anew in each process, which takes a minute")
    return None


def _say(what: str) -> None:
    print(
        f"minicnn: the package and the home folder cannot be written, so kernels are {what}. "
        "To choose a folder, set NUMBA_CACHE_DIR.",
        file=sys.stderr,
    )

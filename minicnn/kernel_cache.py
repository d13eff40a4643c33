"""Where compiled kernels are kept: beside their source, else where this user may write.

Numba looks for a folder beside the source and then in the user's home. Where neither may be
written, as in a container under another user, it gives up. Then they go to a folder of this user
under the temporary one; where that cannot be had either, they are compiled anew in each process.
What lies there is loaded as code, so a folder that anybody else may write is not used.
"""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba


def enable(compiled: Any) -> Any:
    """Return a compiled function that is cached on disk, if there is a place for that."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
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
    return compiled


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

"""Files that appear whole or not at all.

A file is written under another name beside its place and then renamed, which the system does at
once or not at all. A full disk or a pulled plug leaves the previous file as it was.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``. Raises OSError and leaves what was there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

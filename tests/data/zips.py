"""Zips of class folders as macOS and Windows make them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from PIL import Image


def packed(path: Path, names: list[bytes], size: tuple[int, int] = (6, 4)) -> Path:
    """A zip of images whose names are these bytes, without the flag that says their code."""
    one = io.BytesIO()
    Image.new("L", size).save(one, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(f"{i:0100}"[-len(name) :], one.getvalue())
    content = path.read_bytes()
    for i, name in enumerate(names):
        content = content.replace(f"{i:0100}"[-len(name) :].encode(), name)
    path.write_bytes(content)
    return path


def of_classes(names: tuple[str, ...], encoding: str, images: int = 4) -> list[bytes]:
    """Return the name of each image of these classes."""
    return [f"{name}/{i:06}.png".encode(encoding) for name in names for i in range(images)]

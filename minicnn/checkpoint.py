"""What a run keeps on disk: arrays in the safetensors format, and JSON. No pickle.

Both carry a checksum of their content, so that damage on a disk is noticed. Files from elsewhere,
such as converted weights of torchvision, have no checksum and are read too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files

MOST_JSON = 2**26  # bytes
MOST_TENSORS = 2**34  # bytes
_CHECKSUM = "sha256"


class CheckpointError(Exception):
    """A file of a run is missing, damaged or cannot be written. The text says which."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole. If it raises CheckpointError, the old file remains."""
    try:
        files.write_whole(path, content)
    except OSError as error:
        kept = " The file that was there is unchanged." if path.exists() else ""
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}).{kept} Make room there and "
            "allow this user to write, or use a copy of the folder elsewhere."
        ) from error


# ----------------------------------------------------------------------------------------- JSON


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` and its checksum as readable JSON."""
    whole = {name: value for name, value in content.items() if name != _CHECKSUM}
    whole[_CHECKSUM] = _checksum_of_json(whole)
    write_whole(path, (json.dumps(whole, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, without its checksum.

    Raises CheckpointError if the file is missing, is not JSON, or has changed since it was written.
    """
    try:
        content = json.loads(files.read_bounded(path, MOST_JSON, "JSON of a run"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path}: there is no such file. Is this the folder of a run?") from (
            error
        )
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not JSON, or not UTF-8
        raise CheckpointError(
            f"{path}: cannot be read as JSON ({_short(error)}). Put the original back, or train "
            "anew."
        ) from error
    if isinstance(content, dict) and _CHECKSUM in content:
        checksum = content.pop(_CHECKSUM)
        if checksum != _checksum_of_json(content):
            raise CheckpointError(
                f"{path}: {_CHECKSUM}: the content is not as it was written: it was damaged, or "
                f"edited by hand. Put the original back, or after an edit remove the line "
                f'"{_CHECKSUM}" and the comma before it.'
            )
    return content


def _checksum_of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --------------------------------------------------------------------------------------- arrays


def save(path: Path, tensors: Mapping[str, np.ndarray], note: Any = None) -> None:
    """Write arrays by name, together with ``note``, which may be anything that JSON can hold."""
    from safetensors.numpy import save as to_bytes

    whole = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    text = json.dumps(note)
    metadata = {"note": text, _CHECKSUM: _checksum_of_arrays(whole, text)}
    write_whole(path, to_bytes(whole, metadata=metadata))


def load(
    path: Path, *, finite: bool = False, most: int = MOST_TENSORS
) -> tuple[dict[str, np.ndarray], Any]:
    """Return ``(tensors, note)``. The note is None if ``save`` did not write the file.

    Raises CheckpointError if the file is missing, damaged or larger than ``most`` bytes. With
    ``finite`` it also raises if an array holds NaN or an infinity.
    """
    tensors, metadata = _read(path, most)
    check_written(path, tensors, metadata)
    if finite:
        check_finite(path, tensors)
    try:
        return tensors, json.loads(metadata.get("note", "null"))
    except (ValueError, RecursionError):
        return tensors, None


def check_written(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Raise CheckpointError if the header has a checksum that does not fit the content."""
    checksum = metadata.get(_CHECKSUM)
    if checksum is not None and checksum != _checksum_of_arrays(
        tensors, metadata.get("note", "null")
    ):
        raise CheckpointError(
            f"{path}: {_CHECKSUM}: the content is not as it was written: the file is damaged. "
            "Take another copy, or train anew."
        )


def check_finite(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Raise CheckpointError if an array holds NaN or an infinity; it names the first one."""
    name = first_nonfinite(tensors.items())
    if name is not None:
        raise CheckpointError(
            f"{path}: {name} holds numbers that are not finite; the file is damaged, or the "
            "training went wrong. Take another copy, or train anew with a lower --lr."
        )


def first_nonfinite(arrays: Iterable[tuple[str, np.ndarray]]) -> str | None:
    """Return the name of the first array with NaN or an infinity, or None."""
    for name, array in arrays:
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            return name
    return None


def _read(path: Path, most: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a file, and the other entries of its header."""
    from safetensors import safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file. Is this the folder of a run?")
    try:
        files.check_size(path, most, "what is expected here")
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        for array in tensors.values():  # where ml_dtypes is imported, NumPy takes bfloat16 too
            if array.dtype.kind not in "biufc":
                raise TypeError(str(array.dtype))
        return tensors, metadata
    except TypeError as error:  # bfloat16, for one
        raise CheckpointError(
            f"{path}: has a number type that NumPy lacks ({_short(error)}). Save it in float32."
        ) from error
    except Exception as error:  # a damaged header can fail in any way
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({_short(error)}); it is cut off or damaged. "
            "Take another copy, or train anew."
        ) from error


def _checksum_of_arrays(tensors: Mapping[str, np.ndarray], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.require(array, requirements="C").data.cast("B") if array.size else b"")
    return digest.hexdigest()


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."

"""What a run keeps on disk: arrays in the safetensors format, and JSON. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files


class CheckpointError(Exception):
    """A file of a run that is missing, damaged or cannot be written; says which and what to do."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` whole. Raises CheckpointError and leaves what was there."""
    try:
        files.write_whole(path, content)
    except OSError as error:
        kept = " The file that was there is unchanged." if path.exists() else ""
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}).{kept} "
            "Make room or choose another folder with --out."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises CheckpointError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path}: there is no such file. Is this the folder of a run?") from (
            error
        )
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}).") from error


def save(path: Path, tensors: Mapping[str, np.ndarray], note: Any = None) -> None:
    """Write arrays by name, and with them ``note``, anything that JSON holds."""
    from safetensors.numpy import save as to_bytes

    whole = {name: np.require(array, requirements="C") for name, array in tensors.items()}
    write_whole(path, to_bytes(whole, metadata={"note": json.dumps(note)}))


def load(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Return ``(tensors, note)``; a note that ``save`` did not write is None.

    Raises CheckpointError where the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file. Is this the folder of a run?")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get("note", "null")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}); it is cut off or damaged. "
            "Take another copy, or train anew."
        ) from error
    except TypeError as error:  # bfloat16, for one
        raise CheckpointError(
            f"{path}: holds numbers of a type that NumPy has not ({error}). Save it in float32."
        ) from error
    try:
        return tensors, json.loads(text)
    except json.JSONDecodeError:
        return tensors, None

"""Weights from a file into a network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from minicnn import checkpoint
from minicnn.nn import Module, StateDictError


def load_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Copy the arrays of a safetensors file into ``model``; the names are torchvision's.

    ``python -m reference.exchange`` makes such files of PyTorch's. Counts of batches may be
    missing, as they are in PyTorch's old files, and start from 0 then: nothing depends on them as
    long as batch norm has a momentum.

    Raises CheckpointError where the file cannot be read, and StateDictError, before anything is
    changed, that names each key that is missing, unexpected or mis-shaped.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt"):
        raise checkpoint.CheckpointError(
            f"{path}: is a file of PyTorch. Convert it where PyTorch is installed, by: "
            f"python -m reference.exchange {path} {path.with_suffix('.safetensors')}"
        )
    if not path.is_file():
        raise checkpoint.CheckpointError(f"{path}: there is no such file of weights.")
    tensors, _ = checkpoint.load(path)
    for name, array in model.named_buffers():
        if name.rpartition(".")[2] == "num_batches_tracked":
            tensors.setdefault(name, np.zeros_like(array))
    try:
        model.load_state_dict(tensors)
    except StateDictError as error:
        raise StateDictError(f"{path}: {error}") from error

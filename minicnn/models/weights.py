"""Weights from a file into a network."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minicnn import checkpoint
from minicnn.nn import AuxiliaryHeads, Module, StateDictError
from minicnn.nn.init import Undrawn

Network = TypeVar("Network", bound=Module)

_HEADS = ("aux1.", "aux2.")  # torchvision's names


def with_weights(build: Callable[..., Network]) -> Callable[..., Network]:
    """Let a constructor also take ``weights``, a file for ``load_weights``; none are drawn then."""

    @functools.wraps(build)
    def build_and_load(
        *args: Any,
        weights: str | os.PathLike[str] | None = None,
        rng: np.random.Generator | None = None,
        **options: Any,
    ) -> Network:
        if weights is None:
            return build(*args, rng=rng, **options)
        # Layers with random numbers, such as dropout, still share the state of ``rng``.
        undrawn = Undrawn((rng or np.random.default_rng()).bit_generator)
        model = build(*args, rng=undrawn, **options)
        load_weights(model, weights)
        return model

    signature = inspect.signature(build)
    weights = inspect.Parameter("weights", inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [*signature.parameters.values(), weights]
    build_and_load.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return build_and_load


def load_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Copy the arrays of a safetensors file into ``model``; the names are torchvision's.

    ``python -m reference.exchange`` makes such files from PyTorch's. Counts of batches may be
    missing, as in old files of PyTorch. They then start from 0, which changes nothing while batch
    norm has a momentum. Auxiliary heads in the file are ignored if the model has none: GoogLeNet's
    published weights include them.

    Raises CheckpointError if the file cannot be read. Raises StateDictError before anything is
    changed; it names each key that is missing, unexpected, mis-shaped or of another type.
    """
    path = Path(path)
    if path.suffix in (".pth", ".pt"):
        raise checkpoint.CheckpointError(
            f"{path}: is a file of PyTorch. Convert it where PyTorch is installed, by: "
            f"python -m reference.exchange {path} {path.with_suffix('.safetensors')}"
        )
    if not path.is_file():
        raise checkpoint.CheckpointError(f"{path}: there is no such file of weights.")
    own = sum(param.data.nbytes for param in model.parameters())
    tensors, _ = checkpoint.load(path, most=max(2**30, 4 * own))
    for name, array in model.named_buffers():
        if name.rpartition(".")[2] == "num_batches_tracked":
            tensors.setdefault(name, np.zeros_like(array))
    if isinstance(model, AuxiliaryHeads) and not model.branches().heads:
        tensors = {name: a for name, a in tensors.items() if not name.startswith(_HEADS)}
    try:
        model.load_state_dict(tensors)
    except StateDictError as error:
        raise StateDictError(f"{path}: {error}") from error

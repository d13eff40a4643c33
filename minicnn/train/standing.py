"""The state of a run: the content of ``last.safetensors``, and restoring it.

model.NAME, optimizer.NAME     weights and buffers, and what the optimiser keeps
the note                       epoch, batch and sums so far, metrics, states of random numbers
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import checkpoint, schemas
from minicnn.checkpoint import CheckpointError

if TYPE_CHECKING:
    from minicnn.train.run import Run

_STANDS = ("epoch", "batch", "loss_sum", "correct", "seen", "seconds", "first_loss", "history")


def of(run: Run) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the note of a run."""
    tensors = {f"model.{name}": array for name, array in run.model.state_dict().items()}
    optimizer = run.optimizer.state_dict()
    tensors |= {f"optimizer.{name}": array for name, array in optimizer.items()}
    note = {name: getattr(run, name) for name in _STANDS}
    generators = run.model.named_generators()
    note["generators"] = {name: rng.bit_generator.state for name, rng in generators}
    return tensors, note


def put(run: Run, path: Path) -> None:
    """Restore a run from its checkpoint. Raises CheckpointError, which names what does not fit."""
    tensors, note = checkpoint.load(path, finite=True)
    stands = schemas.check(path, note, schemas.OwnStanding)
    if stands.epoch > run.recipe.epochs or stands.batch > len(run.loader):
        raise CheckpointError(
            f"{path}: stands in epoch {stands.epoch + 1} after batch {stands.batch}; the run has "
            f"{run.recipe.epochs} epochs of {len(run.loader)} batches. {schemas.PUT_BACK}"
        )
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimizer": {}}
    try:
        for name, array in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = array
        run.model.load_state_dict(parts["model"])
        run.optimizer.load_state_dict(parts["optimizer"])
        for name, rng in run.model.named_generators():
            rng.bit_generator.state = stands.generators[name]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{path}: does not belong to this run. {what} {schemas.PUT_BACK}"
        ) from error
    for name in _STANDS:
        setattr(run, name, note.get(name))

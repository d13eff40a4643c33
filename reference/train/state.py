"""What a run keeps in its folder: ``last.safetensors``, and the best weights.

``last.safetensors`` holds all that resuming needs, as arrays by name and a note.

    model.NAME, mean.NAME      weights and buffers, and their mean over the steps
    optimizer.NUMBER.NAME      what the optimiser keeps of a parameter

The note tells where the run stands, the metrics so far, and the scale of the gradients (fp16).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from minicnn import checkpoint, run_folder, schemas
from minicnn.checkpoint import CheckpointError
from minicnn.run_folder import TrainError
from reference.train.run import Run


class Standing(schemas.Standing, kw_only=True):
    """The note of last.safetensors: where the run stands."""

    network: str | None = None  # whose tensors these are
    scaler: dict[str, Any]


_STANDS = ("epoch", "batch", "loss_sum", "correct", "seen", "seconds", "history")


def arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy(force=True) for name, tensor in tensors.items()}


def save(run: Run) -> None:
    """Write ``last.safetensors``: whole, or not at all."""
    if run.machine.main:
        run.check_lock()
        tensors, note = of(run)
        wrong = checkpoint.first_nonfinite(
            (name, array) for name, array in tensors.items() if name.startswith("model.")
        )
        if wrong is not None:
            epoch, batch = (run.epoch + 1, run.batch) if run.batch else (run.epoch, run.steps)
            raise TrainError(
                f"{wrong.removeprefix('model.')} is not finite after batch {batch} of "
                f"epoch {epoch}. The steps are probably too large: start anew with a "
                f"lower --lr (it is {run.recipe.lr:g})."
            )
        checkpoint.save(run.folder / "last.safetensors", tensors, note)


def load(run: Run) -> None:
    path = run.folder / "last.safetensors"
    put(run, path, *run.machine.once(lambda: checkpoint.load(path, finite=True)))
    if run.history and run.batch == 0:
        write_epoch(run)


def write_epoch(run: Run) -> None:
    """Write what follows from ``last.safetensors`` at the end of an epoch.

    Resuming there writes it again, should the run have been killed in between.
    """
    if not run.machine.main:
        return
    if run.best is run.history[-1]:
        best = arrays(run.used.state_dict())
        checkpoint.save(run.folder / "model.safetensors", best, {"epoch": run.epoch})
    run_folder.write_metrics(run.folder, run.history)


def load_best(run: Run, expected: int | None = None) -> None:
    """Take the best weights, of the epoch ``expected`` where that is known."""
    path = run.folder / "model.safetensors"
    tensors = run.machine.once(lambda: run_folder.best_weights(run.folder, expected))
    fill(run.model, run.recipe.network, path, tensors)
    if run.mean is not None:
        fill(run.mean.module, run.recipe.network, path, tensors)


def of(run: Run) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the note of a run."""
    tensors = {f"model.{name}": array for name, array in arrays(run.model.state_dict()).items()}
    if run.mean is not None:
        mean = arrays(run.mean.state_dict())
        tensors |= {f"mean.{name}": array for name, array in mean.items()}
    for number, kept in run.optimizer.state_dict()["state"].items():
        kept = {name: value for name, value in kept.items() if value is not None}
        tensors |= {f"optimizer.{number}.{name}": array for name, array in arrays(kept).items()}
    note = {name: getattr(run, name) for name in _STANDS}
    return tensors, note | {"network": run.recipe.network, "scaler": run.scaler.state_dict()}


def put(run: Run, path: Path, tensors: Mapping[str, np.ndarray], note: Any) -> None:
    """Put a run where it stood. Raises CheckpointError for the state of another one."""
    stands, own = schemas.check(path, note, Standing), run.recipe.network
    whose = own if stands.network is None else stands.network
    if stands.epoch > run.recipe.epochs or stands.batch > run.steps:
        raise CheckpointError(
            f"{path}: stands in epoch {stands.epoch + 1} after step {stands.batch}; the run has "
            f"{run.recipe.epochs} epochs of {run.steps} steps. {schemas.PUT_BACK}"
        )
    if whose != own:
        raise CheckpointError(
            f"{path}: holds a run of {whose}, this one is of {own}. Put the file of this run back, "
            "or start a new run."
        )
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "mean": {}, "optimizer": {}}
    try:
        for name, array in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = array
        fill(run.model, own, path, parts["model"])
        if run.mean is not None:
            fill(run.mean, own, path, parts["mean"])
        kept: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in parts["optimizer"].items():
            number, _, key = name.partition(".")
            kept.setdefault(int(number), {})[key] = torch.from_numpy(array)
        groups = run.optimizer.state_dict()["param_groups"]
        run.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        run.scaler.load_state_dict(note["scaler"])
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{path}: does not belong to this run. {what}. {schemas.PUT_BACK}"
        ) from error
    for name in _STANDS:
        setattr(run, name, note[name])


def fill(model: nn.Module, name: str, path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into the network ``name``; raises CheckpointError where they do not fit."""
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except RuntimeError as error:
        what = " ".join(str(error).split()[:60])
        raise CheckpointError(
            f"{path}: does not hold weights of {name}. {what} Put the file of this run back, or "
            "start a new run."
        ) from error

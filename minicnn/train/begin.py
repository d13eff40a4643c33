"""Starting a run in a new folder, and resuming one where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from minicnn import checkpoint, data, run_folder, schemas
from minicnn.checkpoint import CheckpointError
from minicnn.models import own
from minicnn.recipes import Recipe
from minicnn.run_folder import TrainError
from minicnn.saved import read_config
from minicnn.train.run import Run


def start(
    recipe: Recipe,
    folder: Path,
    data_dir: Path | str | None = None,
    *,
    numbered: bool = False,
    model: Any = None,
    splits: data.Splits | None = None,
) -> Run:
    """Return a new run in ``folder``; with ``numbered``, in folder-2, folder-3, ... if it exists.

    ``model``, a network or something that makes one, replaces the recipe's model; ``splits``
    replace its data. Raises TrainError if the folder holds a checkpoint already.
    """
    if not numbered and (folder / "last.safetensors").exists():
        raise TrainError(_there_is_a_run(folder))
    network = None
    if model is not None:
        network = own.describe_object(model)
    elif own.is_own(recipe.model):
        network = own.describe(recipe.model)
    if network is not None:
        recipe = replace(recipe, model=network.name)
    run = Run(recipe, folder, data_dir, model=model, splits=splits, own=network)
    run.folder = run_folder.make(folder, numbered)
    run.take()
    if (run.folder / "last.safetensors").exists():  # another process was first
        raise TrainError(_there_is_a_run(folder))
    checkpoint.write_json(run.folder / "config.json", run.config())
    return run


def _there_is_a_run(folder: Path) -> str:
    return (
        f"{folder}: there is a run already. Go on with it by --resume {folder}, or choose another "
        "folder with --out."
    )


def resume(
    folder: Path,
    data_dir: Path | str | None = None,
    *,
    model: Any = None,
    splits: data.Splits | None = None,
) -> Run:
    """Return the run in ``folder``, at the point where it stopped.

    If the run was given a network or arrays from Python, give ``model`` or ``splits`` again. Raises
    TrainError if another process writes the run, or if the data differ; CheckpointError if a file
    is missing or damaged.
    """
    config = read_config(folder)
    if model is None and config.network is not None:
        own.check_again(config.network, str(folder))
    try:
        run = Run(
            config.recipe, folder, data_dir or config.data_dir,
            model=model, splits=splits, own=config.network,
        )  # fmt: skip
    except ValueError as error:  # an option whose range only the optimiser or schedule checks
        raise CheckpointError(
            f"{folder / 'config.json'}: recipe: {error} {schemas.PUT_BACK}"
        ) from error
    run.take()
    if run.config()["data"] != config.content["data"]:
        raise TrainError(
            f"{folder}: the data set {config.recipe.data} is not the one this run began with "
            "(its classes, sizes or mean differ). Give the same data, or start a new run."
        )
    if not (folder / "last.safetensors").exists():
        return run  # stopped before the first checkpoint: it begins anew
    run.load_last()
    return run

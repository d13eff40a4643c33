"""A run of the reference as a run of minicnn: its best weights, and a configuration to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minicnn import checkpoint, data, models, recipes
from minicnn.checkpoint import CheckpointError
from minicnn.run_folder import make
from minicnn.train import load_model
from reference import exchange
from reference.presets import shorter_side
from reference.train import state
from reference.train.config import read_config
from reference.train.evaluation import evaluate
from reference.train.machine import Machine
from reference.train.run import Run


class Comparison(NamedTuple):
    """What both sides say of the test images."""

    same: int  # images that both take for the same class
    images: int
    accuracies: tuple[float, float]  # of PyTorch, of minicnn


def write(source: Path, target: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    """Write the run ``source`` to the folder ``target`` for minicnn.

    Return its weights, and how PyTorch cuts the images that it tests: minicnn cannot do that, so
    it has to be given such images.

    Raises CheckpointError where minicnn has not got such a network.
    """
    recipe, content = read_config(source)
    if recipe.model not in models.MODELS:
        raise CheckpointError(
            f"{source}: minicnn has no {recipe.model}. Networks that both have: "
            f"{', '.join(models.MODELS)}."
        )
    if not recipe.in_minicnn:
        raise CheckpointError(
            f"{source}: minicnn has no {recipe.network}. Train with --head linear."
        )
    weights = source / "model.safetensors"
    if not weights.exists():
        raise CheckpointError(
            f"{weights}: there is no such file, as no epoch of this run is finished yet. Go on "
            f"with it: python -m reference.train --resume {source}"
        )
    tensors = exchange.read(weights)
    shared = [field.name for field in dataclasses.fields(recipes.Plan)]
    ours = recipes.Recipe(
        zip_encoding=recipe.zip_encoding, **{name: getattr(recipe, name) for name in shared}
    )
    made = make(target, numbered=False)
    of_data = dict(content["data"])
    if recipe.cut and recipe.size:
        of_data |= {"cut": recipe.cut, "shorter_side": shorter_side(recipe.size)}
    kept = {"minicnn": content["minicnn"], "data_dir": content["data_dir"], "data": of_data}
    checkpoint.write_json(made / "config.json", {"recipe": ours.as_json(), **kept})
    exchange.write(made / "model.safetensors", tensors)
    return tensors, recipe.cut


def compare(source: Path, target: Path) -> Comparison:
    """Let both sides classify the test images, PyTorch by ``source`` and minicnn by ``target``.

    Both get the same pixels, cut as PyTorch does.
    """
    recipe, content = read_config(source)
    here = dataclasses.replace(  # in full precision, as minicnn computes, and by one process
        recipe, compile=False, precision="float32", sync_bn=False, accumulate=1
    )
    run = Run(
        here, source, Machine(torch.device("cpu")), data_dir=content["data_dir"], resumed=True
    )
    state.load_best(run)
    theirs = evaluate(run, "test")
    model, config = load_model(target)
    ours = []
    for images, _ in run.loader("test"):
        x = data.normalize(images.permute(0, 2, 3, 1).numpy(), config.normalization)
        ours.append(model(x).argmax(axis=1))
    predicted, labels = np.concatenate(ours), run.parts.test.labels
    return Comparison(
        int((predicted == theirs.predictions).sum()),
        len(labels),
        (theirs.accuracy, float((predicted == labels).mean())),
    )

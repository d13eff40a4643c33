"""What the folder of a run holds, for those that use it: its configuration and its best model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from minicnn import checkpoint, data, models, schemas
from minicnn.checkpoint import CheckpointError
from minicnn.models import own
from minicnn.models.own import Own
from minicnn.nn import Module, StateDictError
from minicnn.recipes import Recipe


class Config(NamedTuple):
    """What the folder of a run says of it."""

    recipe: Recipe
    classes: list[str]
    image: tuple[int, int, int]
    normalization: data.Normalization
    data_dir: str | None  # where the run was told to find its data
    network: Own | None  # of the reader's own, if it is one
    content: dict[str, Any]


def read_config(folder: Path) -> Config:
    """Return what config.json says. Raises CheckpointError where it is missing or damaged."""
    path = folder / "config.json"
    content = checkpoint.read_json(path)
    if isinstance(content, dict) and "torch" in content:
        raise CheckpointError(
            f"{folder} is a run of reference.train. Make one of minicnn of it by: python -m "
            f"reference.exchange {folder} (which makes {folder / 'minicnn'}), or go on with it by: "
            f"python -m reference.train --resume {folder}"
        )
    whole = schemas.check(path, content, schemas.Configuration)
    try:
        recipe = Recipe.from_json(whole.recipe)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{path}: is not the configuration that a run wrote: {schemas.said(error, 'recipe')}. "
            f"{schemas.PUT_BACK}"
        ) from error
    mean, std = tuple(whole.data.mean), tuple(whole.data.std)
    return Config(
        recipe,
        whole.data.classes,
        whole.data.image,
        data.Normalization(mean, std),
        whole.data_dir,
        None if whole.network is None else Own(**msgspec.structs.asdict(whole.network)),
        content,
    )


def load_model(folder: Path, model: str | None = None) -> tuple[Module, Config]:
    """Return the best model of a run, and its configuration.

    ``model`` names it where the run cannot: a network of the reader's own that has moved, or that
    was given as an object.
    """
    config = read_config(folder)
    path = folder / "model.safetensors"
    if not path.exists():
        raise CheckpointError(
            f"{folder}: no epoch of this run was finished, so there is no model yet. Go on with it "
            f"by: minicnn train --resume {folder}"
        )
    if model is None and config.network is not None:
        own.check_again(config.network, str(folder))
    try:
        name = model or config.recipe.model
        network = models.create(name, len(config.classes), weights=path)
    except StateDictError as error:
        raise CheckpointError(str(error)) from error
    checkpoint.check_finite(path, network.state_dict())
    return network, config

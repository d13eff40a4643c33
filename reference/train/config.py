"""What ``config.json`` says of a run of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from minicnn import checkpoint, recipes, schemas
from minicnn.checkpoint import CheckpointError
from reference.presets import Recipe


def read_config(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe of a run of the reference, and all that its config.json says."""
    path = folder / "config.json"
    content = checkpoint.read_json(path)
    if _of_minicnn(content):
        ways = f"minicnn evaluate {folder}"
        if (folder / "last.safetensors").exists():
            ways += f", or to go on with it: minicnn train --resume {folder}"
        raise CheckpointError(f"{folder}: this is a run of minicnn's already. Use: {ways}")
    whole = schemas.check(path, content, schemas.Configuration)
    try:
        return Recipe.from_json(whole.recipe), content
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{path}: is not the configuration of a run of the reference: "
            f"{schemas.said(error, 'recipe')}. Put the original back, or start a new run."
        ) from error


def _of_minicnn(content: Any) -> bool:
    try:
        recipes.Recipe.from_json(content["recipe"])
    except (KeyError, TypeError, AttributeError, ValueError):
        return False
    return True

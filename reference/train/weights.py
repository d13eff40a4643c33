"""What a run may begin with: the weights of a file, of the folder of a run, or torchvision's.

Weights have learned from images that were normalised in some way, and demand the same of those
that follow: a run's are in its config.json, torchvision's in its transforms. Of other files
nothing is known, so the training images' own are taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from minicnn import checkpoint, files, schemas
from minicnn.checkpoint import CheckpointError
from minicnn.data import Normalization
from minicnn.run_folder import TrainError
from reference import exchange
from reference.presets import Recipe
from reference.train.machine import Machine
from reference.train.network import head_parameters, new_head_name

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# To these torchvision gives images of values -1 to 1, by the option transform_input.
_OF_ONE = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_TRANSFORM_INPUT = ("googlenet", "inception_v3")


class Weights(NamedTuple):
    tensors: dict[str, torch.Tensor]
    network: str | None = None  # whose they are, where that is known
    normalization: Normalization | None = None  # of the images they have seen, where known


def known_of(folder: Path, machine: Machine) -> Normalization:
    """Return how the images of the run in ``folder`` were normalised when it began."""
    path = folder / "config.json"
    content = machine.once(lambda: checkpoint.read_json(path))
    return _normalization_of(schemas.check(path, content, schemas.Configuration))


def read(recipe: Recipe) -> Weights:
    """Return what ``recipe.weights`` names. Raises TrainError where it cannot be had."""
    name = str(recipe.weights)
    path = files.expanded(name)
    if path.is_dir():
        path /= "model.safetensors"
    if path.exists() or path.suffix in (*exchange.PYTORCH, *exchange.SAFETENSORS):
        if path.name == "last.safetensors" and path.with_name("config.json").exists():
            raise TrainError(
                f"{path}: is a checkpoint. Give {path.with_name('model.safetensors')}, or the "
                f"folder {path.parent}: the weights of the best epoch."
            )
        try:
            tensors = exchange.read(path)
        except (exchange.ExchangeError, CheckpointError) as error:
            raise TrainError(str(error)) from error
        for published in _published(recipe.model):
            if Path(published.url).stem == path.stem:
                return Weights(tensors, str(published), _normalization(published, recipe.model))
        return Weights(tensors, *_of_run(path))
    try:
        if "." in name:
            chosen: Any = torchvision.models.get_weight(name)
        else:
            chosen = torchvision.models.get_model_weights(recipe.model)[name]
    except (KeyError, ValueError) as error:
        known = ", ".join(member.name for member in _published(recipe.model))
        raise TrainError(
            f"{name} is no file, and torchvision has no weights of that name for {recipe.model}. "
            f"Give the path of a file{f', or one of {known}' if known else ''}."
        ) from error
    try:
        tensors = dict(chosen.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise TrainError(
            f"{chosen}: cannot be downloaded ({error}). Fetch {chosen.url} where there is a "
            "network, and give the path of the file."
        ) from error
    return Weights(tensors, str(chosen), _normalization(chosen, recipe.model))


def _published(model: str) -> list[Any]:
    """Return torchvision's weights for a network, if there are some."""
    try:
        return list(torchvision.models.get_model_weights(model))
    except ValueError:
        return []


def _normalization(published: Any, model: str) -> Normalization:
    if model in _TRANSFORM_INPUT:
        return _OF_ONE
    moves = published.transforms()
    return Normalization(tuple(moves.mean), tuple(moves.std))


def _of_run(path: Path) -> tuple[str | None, Normalization | None]:
    """Return what config.json beside the weights of a run, of either trainer, says of them."""
    if path.name != "model.safetensors":
        return None, None
    beside = path.with_name("config.json")
    if not beside.exists():
        return None, None
    content = checkpoint.read_json(beside)
    if not isinstance(content, dict) or "recipe" not in content:  # of another program
        return None, None
    whole = schemas.check(beside, content, schemas.Configuration)
    head = " with the head mlp-bn" if whole.recipe.get("head") == "mlp-bn" else ""
    return f"{whole.recipe.get('model')}{head}", _normalization_of(whole)


def _normalization_of(content: schemas.Configuration) -> Normalization:
    return Normalization(tuple(content.data.mean), tuple(content.data.std))


def load(model: nn.Module, recipe: Recipe, weights: Weights) -> str:
    """Copy tensors by name into the network, a new head aside; return in words what was done.

    Raises TrainError that names each tensor that is missing, unexpected or mis-shaped.
    """
    own, tensors = model.state_dict(), weights.tensors
    head = head_parameters(model, recipe)
    new, said = _new(own, head, recipe, tensors)
    wrong = {}
    for name, tensor in own.items():
        given = tensors.get(name)
        if name in new or (given is None and name.endswith("num_batches_tracked")):
            continue
        if given is None:
            wrong[name] = f"missing: {name}"
        elif given.shape != tensor.shape:
            shapes = f"{tuple(given.shape)}, not {tuple(tensor.shape)}"
            wrong[name] = f"mis-shaped: {name} is {shapes}"
    old_head = f"{new_head_name(recipe)}." if recipe.head else None
    for name in tensors:
        of_head = old_head is not None and name.startswith(old_head)
        if name not in own and not of_head and not name.startswith(_AUXILIARY):
            wrong[name] = f"unexpected: {name}"
    if wrong:
        whose = f"these are not weights of {recipe.network}. "
        if weights.network == recipe.network:  # of other classes
            whose = ""
        elif weights.network is not None:
            whose = f"these are weights of {weights.network}, the run is of {recipe.network}. "
        few = list(wrong.values())
        advice = ""
        if all(name in head or name.startswith(_AUXILIARY) for name in wrong):
            advice = " For other classes give it a new head by --head linear."
        raise TrainError(
            f"{recipe.weights}: {whose}{'; '.join(few[:5])}{'; ...' if len(few) > 5 else ''}."
            f"{advice}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in new and name in tensors:
                tensor.copy_(tensors[name])
    return said


def _new(
    own: dict[str, torch.Tensor], head: set[str], recipe: Recipe, tensors: dict[str, torch.Tensor]
) -> tuple[set[str], str]:
    """Return the names of what stays as it was drawn, and that in words.

    A head mlp-bn is not new where the weights have one that fits: training goes on with it. The
    auxiliary heads are new with the head, and where there are none; torchvision's never learned.
    """
    auxiliary = {name for name in own if name.startswith(_AUXILIARY)}
    fits = all(name in tensors and tensors[name].shape == own[name].shape for name in head)
    new_head = recipe.head is not None and not (recipe.head == "mlp-bn" and fits)
    new = head if new_head else set()
    if new_head or auxiliary.isdisjoint(tensors):
        new = new | auxiliary
    return new, "with a new head" if new_head else "with their own head"

"""The network of a run: built, initialised, and for transfer learning frozen and re-headed.

The head is the last linear layer (of SqueezeNet the last convolution), which gives the logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from minicnn.run_folder import TrainError
from reference.models import MODELS, of_torchvision
from reference.presets import Recipe

_HIDDEN = 500  # of the head mlp-bn
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def build(recipe: Recipe, classes: int) -> nn.Module:
    """Return the network with its first weights, drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    options: dict[str, Any] = {}
    if recipe.aux_weight is not None:
        options["aux_logits"] = True
    if recipe.model == "inception_v3":
        options = {"aux_logits": False, "init_weights": True, **options}
    make = MODELS.get(recipe.model) or of_torchvision(recipe.model)
    model = make(classes, **options)
    if recipe.head is not None:
        _renew_head(model, recipe.head, classes)
    if recipe.init != "default":
        initialize(model, recipe.init)
    return model


def initialize(model: nn.Module, scheme: str) -> None:
    """Draw every weight anew by one of minicnn's schemes, and set every bias to 0."""
    draw = getattr(nn.init, f"{scheme}_")
    more = {"nonlinearity": "relu"} if scheme.startswith("kaiming") else {}
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            draw(parameter, **more)
        elif name.rpartition(".")[2] == "bias":
            nn.init.zeros_(parameter)


def check_image(recipe: Recipe, classes: int, image: tuple[int, int, int]) -> None:
    """Raise TrainError unless the network takes such images. No number is computed."""
    needed = recipe.image
    try:
        if image[0] != needed[0]:
            raise ValueError(f"it takes {needed[0]} channels, the images have {image[0]}.")
        with torch.device("meta"), torch.no_grad():
            build(recipe, classes).eval()(torch.empty(2, *image))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise TrainError(
            f"{recipe.model} is made for images of {_size(needed)}, those of {recipe.data} are "
            f"{_size(image)}: {str(error).splitlines()[0]} Choose other data by --data, or another "
            "network."
        ) from error


def _size(image: tuple[int, int, int]) -> str:
    c, h, w = image
    return f"{h} x {w} pixels with {c} channel{'s' if c > 1 else ''}"


# ------------------------------------------------------------------------------ transfer learning


def head_name(model: nn.Module) -> str:
    """Return the name of the layer that gives the logits."""
    for kind in (nn.Linear, nn.Conv2d):
        names = [name for name, module in model.named_modules() if isinstance(module, kind)]
        if names:
            return names[-1]
    raise TrainError("the network has no linear layer that could be its head.")


def _renew_head(model: nn.Module, kind: str, classes: int) -> None:
    name = head_name(model)
    old = model.get_submodule(name)
    new: nn.Module
    if isinstance(old, nn.Linear) and kind == "mlp-bn":
        new = nn.Sequential(
            nn.Linear(old.in_features, _HIDDEN),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, classes),
        )
    elif isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes)
    elif kind == "linear" and isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, 1)
    else:
        raise TrainError(f"the last layer is a convolution, which {kind} cannot replace.")
    model.set_submodule(name, new)


def head_parameters(model: nn.Module, recipe: Recipe) -> set[str]:
    """Return the names of the head's parameters and buffers."""
    name = head_name(model)
    if recipe.head == "mlp-bn":  # it ends with a linear layer of its own
        name = name.rpartition(".")[0]
    return {key for key in model.state_dict() if key.startswith(f"{name}.")}


def freeze_features(model: nn.Module, recipe: Recipe) -> None:
    """Keep every parameter but the head's from learning."""
    learn = head_parameters(model, recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learn)


def begin_training(model: nn.Module) -> None:
    """Set the mode for training; frozen batch norm keeps its statistics."""
    model.train()
    for module in model.modules():
        frozen = not any(parameter.requires_grad for parameter in module.parameters())
        if isinstance(module, _BATCH_NORM) and module.affine and frozen:
            module.eval()


def new_head_name(recipe: Recipe) -> str:
    """Return the name of the layer that a new head takes the place of."""
    with torch.device("meta"):
        make = MODELS.get(recipe.model) or of_torchvision(recipe.model)
        return head_name(make(2))

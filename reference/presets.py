"""Recipes of the trainer: what one may say of a run, and the presets that are known to work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torchvision

from minicnn.models import IMAGENET
from minicnn.models import MODELS as OURS
from minicnn.recipes import Plan, changed
from minicnn.shapes import check_choice, did_you_mean, integer
from reference.models import MODELS

PRECISIONS = ("float32", "bf16", "fp16")
HEADS = ("linear", "mlp-bn")
AUXILIARY = ("googlenet", "googlenet-2014", "inception_v3")

# What may change when a run goes on: how the same steps are taken.
MANNER = ("accumulate", "channels_last", "compile")


@dataclass(frozen=True, kw_only=True)
class Recipe(Plan):
    """A training run of the reference. Raises ValueError for an option out of range.

    ``batch_size`` counts the images of a step, over all processes and all parts that gradients are
    accumulated over, so that a run is the same on one machine and on many. The images of an epoch
    that fill no batch are left out; they are others in each epoch.
    """

    size: int | None = None  # pixels: RandomResizedCrop to learn, the centre to test; None: as is
    zip_encoding: str | None = None  # of names in a zip that does not tell
    aux_weight: float | None = None  # of the loss of each auxiliary head
    precision: str = "float32"  # or automatic mixed precision
    accumulate: int = 1  # parts that a batch is taken in, one after the other
    clip_norm: float | None = None  # the longest gradient
    ema: float | None = None  # share of the old mean in the mean of the weights, which is then used
    sync_bn: bool = False  # batch norm over the images of all processes
    weights: str | None = None  # a file, the folder of a run, or torchvision's name for weights
    freeze: str | None = None  # "features": all but the last layer
    head: str | None = None  # a new last layer, one of HEADS
    epoch_steps: int | None = None  # steps after which an epoch ends, if before its images do
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("recipe", "precision", self.precision, PRECISIONS)
        for name in ("size", "accumulate", "epoch_steps"):
            if getattr(self, name) is not None:
                integer("recipe", name, getattr(self, name), 1)
        for name, below in (("aux_weight", math.inf), ("clip_norm", math.inf), ("ema", 1.0)):
            value = getattr(self, name)
            if value is not None and not 0 < value < below:
                most = "" if below == math.inf else f" and less than {below:g}"
                raise ValueError(f"recipe: {name} must be greater than 0{most}, got {value}.")
        if self.head is not None:
            check_choice("recipe", "head", self.head, HEADS)
        if self.freeze is not None:
            check_choice("recipe", "freeze", self.freeze, ("features",))
            if self.weights is None:
                raise ValueError(
                    "recipe: freeze keeps layers as they are, and without weights they have "
                    "learned nothing. Give weights too."
                )
            if self.aux_weight is not None:
                raise ValueError(
                    "recipe: aux_weight has no effect where freeze keeps all but the last layer "
                    "from learning. Leave one of them out."
                )
        if self.aux_weight is not None and self.model not in AUXILIARY:
            raise ValueError(
                f"recipe: aux_weight is only used with {', '.join(AUXILIARY)}, but the model is "
                f"{self.model}. Leave it out."
            )

    def check_model(self) -> None:
        check_name(self.model)

    @property
    def network(self) -> str:
        """What is trained, in words."""
        return self.model + (f" with the head {self.head}" if self.head == "mlp-bn" else "")

    @property
    def in_minicnn(self) -> bool:
        """Whether minicnn has such a network."""
        return self.model in OURS and self.head != "mlp-bn"

    @property
    def cut(self) -> str | None:
        """How images are cut to one size for tests, in words; None where they stay as they are."""
        if self.size is None:
            return None
        return (
            f"resized to {shorter_side(self.size)} pixels along their shorter side and cut to the "
            f"{self.size} x {self.size} in the middle"
        )

    @property
    def image(self) -> tuple[int, int, int]:
        """The image (channels, height, width) that the model is made for."""
        return image_of(self.model)


def shorter_side(size: int) -> int:
    """Return the pixels of an image's shorter side, of which a test takes the middle ``size``."""
    return round(size * 256 / 224)


def check_name(name: str) -> None:
    """Raise ValueError unless there is a model or a preset of that name."""
    if name not in (*PRESETS, *MODELS, *torchvisions()):
        near = did_you_mean(name, (*PRESETS, *MODELS, *torchvisions()))
        raise ValueError(
            f"There is no model or preset {name!r}.{near} Presets: {', '.join(PRESETS)}. "
            f"Models: {', '.join(MODELS)}, and torchvision's."
        )


def torchvisions() -> list[str]:
    """Return the names of torchvision's networks that classify images."""
    return torchvision.models.list_models(module=torchvision.models)


def image_of(model: str) -> tuple[int, int, int]:
    """Return the image (channels, height, width) that a network is made for."""
    return OURS[model].image if model in OURS else IMAGENET


_ANIMALS: dict[str, Any] = {
    "size": 224, "batch_size": 128, "epochs": 20, "optimizer": "adam", "lr": 1e-3,
    "schedule": "step", "step_epochs": 5, "gamma": 0.6, "init": "kaiming_normal",
}  # fmt: skip

# Each with its model, and its data where the name of the data is enough to have them.
PRESETS: dict[str, dict[str, Any]] = {
    "lenet5-mnist": {
        "model": "lenet5", "data": "mnist", "epochs": 20, "batch_size": 256,
        "optimizer": "adam", "lr": 1e-3, "schedule": "cosine",
    },
    "cnn3-mnist": {
        "model": "cnn3", "data": "mnist", "epochs": 10, "batch_size": 64,
        "optimizer": "adam", "lr": 2e-4, "schedule": "cosine",
    },
    # He et al. (2015): 64,000 steps, the rate divided by 10 after 32,000 and 48,000.
    "resnet20-cifar10": {
        "model": "resnet20", "data": "cifar10", "epochs": 182, "batch_size": 128,
        "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
        "schedule": "multistep", "milestones": (91, 137), "shift": 4, "flip": True,
        "validation": 0.1,
    },
    "vgg16-animals10": {"model": "vgg16", **_ANIMALS},
    "resnet18-animals10": {"model": "resnet18", **_ANIMALS},
    # Szegedy et al. (2014): heads at 0.3, 4 % off the rate every 8 epochs. With batch norm.
    "googlenet-imagenet": {
        "model": "googlenet", "aux_weight": 0.3, "size": 224, "flip": True, "validation": 0.01,
        "epochs": 90, "batch_size": 256, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9,
        "weight_decay": 1e-4, "schedule": "step", "step_epochs": 8, "gamma": 0.96,
    },
    # Goyal et al. (2017), with the cosine and the smoothing of He et al. (2018), Bag of tricks.
    "resnet50-imagenet": {
        "model": "resnet50", "size": 224, "flip": True, "validation": 0.01, "epochs": 90,
        "batch_size": 256, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
        "schedule": "cosine", "warmup_epochs": 5, "label_smoothing": 0.1,
    },
}  # fmt: skip


def recipe_for(name: str, data: str | None = None, **options: Any) -> Recipe:
    """Return the recipe of a preset, or of a model by its name, changed by ``options``."""
    check_name(name)
    defaults: dict[str, Any] = dict(PRESETS.get(name) or {"model": name})
    if data is not None:
        defaults["data"] = data
    if "data" not in defaults:
        raise ValueError(
            f"{name}: on which data? Give --data imagefolder:PATH, a folder of class folders"
            + ("." if name in PRESETS else ", or the name of a set, as mnist or cifar10.")
        )
    if options.get("freeze") is not None:
        defaults.pop("aux_weight", None)
    kind, _, path = defaults["data"].partition(":")
    if name not in PRESETS:
        image = image_of(name)
        if image == IMAGENET and kind == "imagefolder" and not path.endswith(".zip"):
            defaults["size"] = image[1]
    return Recipe(**changed(defaults, options))

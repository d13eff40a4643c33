"""Recipes: all settings of a training run, and the recipes that are known to work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from minicnn import objects, optim
from minicnn.backend import IMPLS, Impl
from minicnn.models import find, own
from minicnn.nn import Module
from minicnn.nn.init import SCHEMES
from minicnn.shapes import check_choice, did_you_mean, integer

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "multistep", "cosine", "onecycle")

# Names of options in other libraries.
_ELSEWHERE = {
    "learning_rate": "lr", "eta": "lr", "batch": "batch_size", "bs": "batch_size",
    "num_epochs": "epochs", "max_epochs": "epochs", "wd": "weight_decay", "l2": "weight_decay",
    "scheduler": "schedule", "optim": "optimizer", "random_state": "seed",
    "validation_split": "validation", "early_stopping": "patience",
}  # fmt: skip

# Options that only some choices use: (option, the kind of choice, the choices that use it).
_BELONGS = (
    ("momentum", "optimizer", ("sgd",)),
    ("momentum", "schedule", ("constant", "step", "multistep", "cosine")),  # onecycle changes it
    ("nesterov", "optimizer", ("sgd",)),
    ("step_epochs", "schedule", ("step",)),
    ("milestones", "schedule", ("multistep",)),
    ("gamma", "schedule", ("step", "multistep")),
    ("warmup_epochs", "schedule", ("constant", "step", "multistep", "cosine")),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of a training run, in minicnn or in PyTorch.

    None means the default of the optimiser or the schedule. Raises ValueError for an option out of
    range, and for an option that the chosen optimiser or schedule does not use.
    """

    model: str  # a name as models.create takes it
    data: str  # a name as data.load takes it
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 1e-3
    momentum: float | None = None  # sgd: 0.9
    nesterov: bool | None = None
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    warmup_epochs: int | None = None
    step_epochs: int | None = None  # step: every third of the run
    milestones: tuple[int, ...] | None = None  # multistep, in epochs: at 1/2 and 3/4 of the run
    gamma: float | None = None  # step and multistep: 0.1
    label_smoothing: float = 0.0
    init: str = "default"
    shift: int = 0  # pixels
    rotate: float = 0.0  # degrees
    flip: bool = False
    validation: float | None = None  # part of the training split; None: the data set's own
    patience: int | None = None  # epochs without a better validation before the run stops
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "warmup_epochs": 0, "step_epochs": 1, "patience": 1}
        for name in least:
            if getattr(self, name) is not None:
                integer("recipe", name, getattr(self, name), least[name])
        integer("recipe", "seed", self.seed, 0)
        self.check_model()
        check_choice("recipe", "optimizer", self.optimizer, OPTIMIZERS)
        check_choice("recipe", "schedule", self.schedule, SCHEDULES)
        check_choice("recipe", "init", self.init, ("default", *SCHEMES))
        if not 0 < self.lr < math.inf:
            raise ValueError(f"recipe: lr must be greater than 0 and finite, got {self.lr}.")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(
                f"recipe: label_smoothing must be from 0 to 1, got {self.label_smoothing}."
            )
        for option, kind, choices in _BELONGS:
            chosen = getattr(self, kind)
            if getattr(self, option) is not None and chosen not in choices:
                raise ValueError(
                    f"recipe: {option} is only used with the {kind} {' or '.join(choices)}, "
                    f"but the {kind} is {chosen}. Leave it out, or choose another {kind}."
                )
        warmup = self.warmup_epochs or 0
        if warmup >= self.epochs:
            raise ValueError(
                f"recipe: {warmup} epochs of warm-up leave none of the {self.epochs}. Use more "
                "epochs, or fewer --warmup-epochs; 0 means no warm-up."
            )
        most = self.epochs - warmup - 1  # whole epochs of full rate before the last
        if self.step_epochs is not None and self.step_epochs > most:
            smaller = f"--step-epochs of at most {most}, " if most else ""
            raise ValueError(
                f"recipe: the first drop, after epoch {warmup + self.step_epochs}, lies after "
                f"the end, epoch {self.epochs}. Use more epochs, {smaller}or another schedule: "
                "--schedule constant."
            )
        for milestone in self.milestones or ():
            if not warmup < milestone < self.epochs:
                raise ValueError(
                    f"recipe: milestone {milestone} lies outside of the run. Its epochs at full "
                    f"rate are {warmup} to {self.epochs}. Use more epochs, "
                    f"{'other --milestones, ' if most else ''}or another schedule: "
                    "--schedule constant."
                )

    def check_model(self) -> None:
        """Raise ValueError, which lists the known names, if there is no such network."""
        if own.is_own(self.model):
            objects.split(self.model)
        else:
            find(self.model)

    def build_schedule(self, steps: int) -> optim.Schedule:
        """Return the schedule of the learning rate, for ``steps`` steps in each epoch."""
        warmup = (self.warmup_epochs or 0) * steps
        epochs = self.epochs - (self.warmup_epochs or 0)  # those after the warm-up
        gamma = 0.1 if self.gamma is None else self.gamma
        schedule: optim.Schedule
        if self.schedule == "onecycle":
            schedule = optim.OneCycleLR(self.lr, total_steps=epochs * steps)
        elif self.schedule == "cosine":
            schedule = optim.CosineLR(self.lr, T_max=epochs * steps)
        elif self.schedule == "step":
            schedule = optim.StepLR(self.lr, (self.step_epochs or -(-epochs // 3)) * steps, gamma)
        elif self.schedule == "multistep":
            milestones = [m * steps for m in self.milestones or ()]
            if self.milestones is None:
                milestones = [epochs * steps // 2 + warmup, epochs * steps * 3 // 4 + warmup]
            schedule = optim.MultiStepLR(self.lr, [m - warmup for m in milestones], gamma)
        else:
            schedule = optim.Constant(self.lr)
        return optim.Warmup(schedule, warmup) if warmup else schedule

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the recipe that ``as_json`` gave. Raises msgspec.ValidationError for any other."""
        unknown = content.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise msgspec.ValidationError(f"there is no option {', '.join(sorted(unknown))}")
        return msgspec.convert(content, cls)


@dataclass(frozen=True, kw_only=True)
class Recipe(Plan):
    """A run of minicnn. With the same recipe and data, the weights are the same bit for bit."""

    drop_last: bool = False
    impl: Impl = "fast"
    fuse: bool = True  # run neighbouring layers as one operation, see minicnn.fused
    size: int | None = None  # images of a folder are cut to so many pixels along both sides
    zip_encoding: str | None = None  # encoding of the names in a zip that does not say

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            integer("recipe", "size", self.size, 1)
        check_choice("recipe", "impl", self.impl, IMPLS)

    def build_optimizer(self, model: Module) -> optim.Optimizer:
        params, decay = model.parameters(), self.weight_decay
        if self.optimizer == "sgd":
            momentum = 0.9 if self.momentum is None else self.momentum
            nesterov = bool(self.nesterov)
            return optim.SGD(
                params, self.lr, momentum=momentum, weight_decay=decay, nesterov=nesterov
            )
        kind = optim.Adam if self.optimizer == "adam" else optim.AdamW
        return kind(params, self.lr, weight_decay=decay)


# Settings of a model, and of a data set: the small set digits needs more epochs.
_RESNET: dict[str, Any] = {
    "epochs": 26, "batch_size": 128, "optimizer": "sgd", "lr": 0.2, "nesterov": True,
    "weight_decay": 5e-4, "shift": 4, "flip": True,
}  # fmt: skip
_BY_MODEL: dict[str, dict[str, Any]] = {
    "lenet5": {"epochs": 12, "batch_size": 64, "lr": 4e-3},
    "lenet5-1998": {"epochs": 12, "batch_size": 64, "lr": 4e-3},
    "cnn3": {"epochs": 3, "batch_size": 64, "lr": 2e-3},
    "convnet": {"epochs": 10, "batch_size": 64, "lr": 4e-3},
    **{f"resnet{depth}": _RESNET for depth in (20, 32, 44, 56, 110)},
    **{f"resnet{depth}-preact": _RESNET for depth in (20, 110)},
}
_BY_DATA: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 20, "batch_size": 32, "lr": 2e-3, "label_smoothing": 0.1},
}


_RATES = {"sgd": 0.05, "adam": Plan.lr, "adamw": Plan.lr}  # for a model without its own recipe


def recipe_for(model: str, data: str, **options: Any) -> Recipe:
    """Return the default recipe of a model on a data set, changed by ``options``.

    If ``options`` choose another optimiser or schedule, the settings of the default one are left
    out. For another optimiser this includes the learning rate.
    """
    check_options(options)
    defaults = _BY_MODEL.get(model, {}) | _BY_DATA.get(data, {})
    return Recipe(model=model, data=data, **changed(defaults, options))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise TypeError if a recipe has no such option; it suggests a similar one."""
    known = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("model", "data")]
    for name in options:
        if name not in known:
            near = did_you_mean(_ELSEWHERE.get(name, name), known)
            known_ones = f" Known: {', '.join(known)}."
            raise TypeError(f"a recipe has no option {name}.{near or known_ones}")


def changed(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` changed by ``options``, without settings that only old choices used."""
    defaults = dict(defaults)
    before = {"optimizer": Plan.optimizer, "schedule": Plan.schedule} | defaults
    chosen = before | options
    rate = _RATES.get(chosen["optimizer"], Plan.lr)
    if rate != _RATES[before["optimizer"]]:  # Adam and AdamW need similar rates
        defaults["lr"] = rate
    for option, kind, choices in _BELONGS:
        if chosen[kind] not in choices:
            defaults.pop(option, None)
    return defaults | options

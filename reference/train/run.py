"""What a training run is: the network, what it learns from and by, and where it stands.

``loop`` trains it, ``evaluation`` measures it, ``state`` keeps it in its folder. None of these is
known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minicnn import run_folder
from minicnn.data import Normalization
from minicnn.run_lock import RunLock
from minicnn.version import __version__
from reference import data
from reference.presets import Recipe
from reference.train import learning, network, weights
from reference.train.checks import check_machine, check_parts
from reference.train.machine import Machine, cores

_TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Run:
    """A training run: the network, where it stands, and the folder it is kept in."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        machine: Machine,
        *,
        data_dir: Path | str | None = None,
        workers: int | None = None,
        save_every: int = 1000,
        resumed: bool = False,
    ) -> None:
        check_machine(recipe, machine)
        self.recipe, self.folder, self.machine, self.data_dir = recipe, folder, machine, data_dir
        self.save_every = save_every
        self.parts = machine.first_here(
            lambda: data.load(
                recipe.data,
                data_dir,
                channels=recipe.image[0],
                crop=recipe.size,
                validation=recipe.validation,
                zip_encoding=recipe.zip_encoding,
            )
        )
        self.statistics = self.parts.normalization  # of the training images; weights may differ
        check_parts(recipe, machine, self.parts)
        classes = len(self.parts.classes)
        network.check_image(recipe, classes, self.parts.image)

        self.model = network.build(recipe, classes)
        self.begun = ""  # with which weights, in words
        if recipe.weights is not None and resumed:
            self._normalize_by(weights.known_of(folder, machine))
        elif recipe.weights is not None:
            self.take_weights()
        if recipe.freeze is not None:
            network.freeze_features(self.model, recipe)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model.to(machine.device).to(memory_format=layout)
        if recipe.sync_bn and machine.size > 1:
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.mean = learning.mean_of(self.model, recipe.ema)
        self.optimizer = learning.optimizer(self.model, recipe)
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=recipe.precision == "fp16")
        self.network: nn.Module = self.model  # what is called: compiled, and in all processes
        if recipe.compile:
            self.model.compile()
        if machine.size > 1:
            ids = [machine.device.index] if machine.cuda else None
            self.network = DistributedDataParallel(self.model, device_ids=ids)

        n = len(self.parts.train)
        self.batches = data.Batches(
            n, recipe.batch_size, seed=recipe.seed, parts=recipe.accumulate, rank=machine.rank,
            size=machine.size, limit=recipe.epoch_steps,
        )  # fmt: skip
        self.steps = self.batches.steps  # of an epoch
        self.schedule = recipe.build_schedule(self.steps)
        self.workers = _workers(self.parts, recipe, machine) if workers is None else workers
        self._loaders: dict[str, Any] = {}

        self.epoch = 0  # epochs done
        self.batch = 0  # batches done in this epoch
        self.loss_sum, self.correct, self.seen = 0.0, 0, 0  # over those batches
        self.seconds = 0.0  # spent on those batches
        self.history: run_folder.History = []
        self._lock: RunLock | None = None  # of the main process

    def take_weights(self) -> None:
        """Take the weights that the recipe names, and normalise the images as they demand."""
        given = self.machine.once(lambda: weights.read(self.recipe))
        head = weights.load(self.model, self.recipe, given)
        whose = "as the weights demand" if given.normalization else "those of the training images"
        self._normalize_by(given.normalization or self.parts.normalization)
        mean, std = (", ".join(f"{v:.4g}" for v in values) for values in self.parts.normalization)
        self.begun = f"{head}; images are normalised by mean {mean} and std {std}, {whose}"

    def _normalize_by(self, normalization: Normalization) -> None:
        self.parts = self.parts._replace(normalization=normalization)

    # ---- where the run stands

    @property
    def step_number(self) -> int:
        """The number of the next step, over all epochs."""
        return self.epoch * self.steps + self.batch

    @property
    def best(self) -> dict[str, float]:
        return run_folder.best(self.history)

    @property
    def done(self) -> bool:
        """Whether all epochs are over, or the patience."""
        if self.epoch >= self.recipe.epochs:
            return True
        patience = self.recipe.patience
        return bool(patience and self.history and self.epoch - int(self.best["epoch"]) >= patience)

    @property
    def used(self) -> nn.Module:
        """The network whose worth is measured: with the mean of the weights, if there is one."""
        return self.model if self.mean is None else self.mean.module

    def config(self) -> dict[str, Any]:
        train, validation, test, classes, normalization, image, _ = self.parts
        return {
            "minicnn": __version__,
            "torch": torch.__version__,
            "recipe": self.recipe.as_json(),
            "data_dir": None if self.data_dir is None else str(Path(self.data_dir).absolute()),
            "data": {
                "classes": list(classes),
                "image": list(image),
                "mean": list(normalization.mean),
                "std": list(normalization.std),
                "of_training": [list(values) for values in self.statistics],
                "images": [len(train), len(validation), len(test)],
            },
        }

    # ---- the right to write its folder

    def take(self) -> None:
        """Take the right to write the folder, for all processes of the run, or raise TrainError."""

        def take() -> None:  # what is broadcast has to be pickled, and the lock cannot be
            self._lock = RunLock(self.folder)

        self.machine.once(take)

    def release(self) -> None:
        """Give it back; the end of the process does so too."""
        if self._lock is not None:
            self._lock.release()

    def check_lock(self) -> None:
        """Raise TrainError where another process has taken the folder since."""
        if self._lock is not None:
            self._lock.check()

    # ---- images and losses

    def loader(self, part: str) -> Any:
        if part not in self._loaders:
            learn = part == "train"
            recipe, machine = self.recipe, self.machine
            pictures = data.Pictures(getattr(self.parts, part), recipe, self.parts.image, learn)
            batches: Any = self.batches
            if not learn:
                batches = data.of_parts(len(pictures), self.part, machine.rank, machine.size)
            self._loaders[part] = data.load_in_batches(
                pictures, batches, self.workers, pin=machine.cuda
            )
        return self._loaders[part]

    @property
    def part(self) -> int:
        """Images that a process takes at a time."""
        return self.recipe.batch_size // (self.machine.size * self.recipe.accumulate)

    def autocast(self) -> torch.autocast:
        kind = _TYPES[self.recipe.precision]
        mixed = kind != torch.float32
        return torch.autocast(self.machine.device.type, kind if mixed else None, enabled=mixed)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        return data.normalized(
            images, self.parts.normalization, self.machine.device, self.recipe.channels_last
        )

    def loss(self, outputs: Any, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits, and the loss with that of the auxiliary heads."""
        logits, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        smoothing = self.recipe.label_smoothing
        loss = F.cross_entropy(logits.float(), target, label_smoothing=smoothing)
        for other in others:
            if other is not None and self.recipe.aux_weight is not None:
                head = F.cross_entropy(other.float(), target, label_smoothing=smoothing)
                loss = loss + self.recipe.aux_weight * head
        return logits, loss


# ---------------------------------------------------------------------------------------- helpers


def _workers(parts: data.Parts, recipe: Recipe, machine: Machine) -> int:
    """Return how many processes read ahead: none where there is nothing to do but to copy."""
    moved = recipe.size or recipe.flip or recipe.rotate or recipe.shift
    return min(8, cores() // machine.local_size) if moved else 0

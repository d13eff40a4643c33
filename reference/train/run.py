"""The training loop. The folder that a run leaves is minicnn's; ``minicnn.train`` lists the files.

Everything that happens is a function of the recipe: the order of the images depends on (seed,
epoch), the moves of an image on (seed, epoch, image), dropout on (seed, step, process). No random
state outlives a step, so none has to be kept. ``last.safetensors`` holds the rest: weights,
optimiser, scaler, the mean of the weights, and where the run stands. So a run that was killed and
resumed ends on the CPU with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minicnn import checkpoint, run_folder
from minicnn.evaluation import Scores
from minicnn.interruption import Interrupted, stop_signals
from minicnn.run_folder import TrainError
from minicnn.run_lock import RunLock
from minicnn.version import __version__
from reference import data
from reference.data.batches import Batch, seed_of
from reference.presets import Recipe
from reference.train import learning, memory, network, state, weights
from reference.train.checks import check_machine, check_parts
from reference.train.evaluation import evaluate
from reference.train.machine import Machine, cores

_TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LOOK_EVERY = 20  # steps on a GPU between two looks at the losses, each of which waits for it


class Step(NamedTuple):
    """Told of every step, in the main process."""

    number: int  # over all epochs, from 0
    loss: float  # of the batch, over all processes
    accuracy: float
    rate: float
    images: int


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
        if recipe.weights is not None:
            (weights.go_on if resumed else weights.begin)(self)
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
        self._pending: list[torch.Tensor] = []  # loss and right answers of steps not looked at

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

    def take(self) -> None:
        """Take the right to write the folder, for all processes of the run, or raise TrainError."""

        def take() -> None:  # what is broadcast has to be pickled, and the lock cannot be
            self._lock = RunLock(self.folder)

        self.machine.once(take)

    def release(self) -> None:
        """Give it back; the end of the process does so too."""
        if self._lock is not None:
            self._lock.release()

    def _may_write(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def save_last(self) -> None:
        """Write ``last.safetensors``: whole, or not at all."""
        if self.machine.main:
            self._may_write()
            tensors, note = state.of(self)
            wrong = checkpoint.first_nonfinite(
                (name, array) for name, array in tensors.items() if name.startswith("model.")
            )
            if wrong is not None:
                raise TrainError(
                    f"{wrong.removeprefix('model.')} is not finite after step {self.batch} of "
                    f"epoch {self.epoch + 1}. The steps are probably too large: start anew with a "
                    f"lower --lr (it is {self.recipe.lr:g})."
                )
            checkpoint.save(self.folder / "last.safetensors", tensors, note)

    def load_last(self) -> None:
        path = self.folder / "last.safetensors"
        state.put(self, path, *self.machine.once(lambda: checkpoint.load(path, finite=True)))
        if self.history and self.batch == 0:
            self._write_epoch()

    # ---- training

    def fit(
        self,
        on_step: Callable[[Step], None] = lambda step: None,
        on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    ) -> None:
        """Train from where the run stands to its end.

        Raises Interrupted after Ctrl-C or SIGTERM, with all that resuming needs in the folder;
        TrainError where the loss is not finite, memory is out or a worker has died.
        """
        try:
            with stop_signals() as stopped:
                while not self.done:
                    self._epoch(on_step, stopped)
                    self._end_epoch()
                    on_epoch(self.history[-1])
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold on to what fills the memory
            raise TrainError(f"{memory.advice(self)} {self._kept()}") from error
        except RuntimeError as error:
            dead = "DataLoader worker (pid" in str(error)  # not one that passes on its own error
            if dead and "Terminated" in str(error):
                raise TrainError(
                    "a process that reads images ahead was told to stop, as torchrun tells all "
                    f"when one has died. {self._kept()}"
                ) from error
            if dead:
                raise TrainError(
                    "a process that reads images ahead has died; often the system killed it for "
                    f"lack of memory. Use fewer by --workers, it is {self.workers}. {self._kept()}"
                ) from error
            if self.machine.lost(error):
                raise TrainError(
                    "another process of this run has died, or its machine cannot be reached any "
                    f"more. With --max-restarts torchrun starts all again. {self._kept()}"
                ) from error
            raise

    def _epoch(self, on_step: Callable[[Step], None], stopped: threading.Event) -> None:
        look_every = _LOOK_EVERY if self.machine.cuda else 1
        start = time.perf_counter() - self.seconds
        network.begin_training(self.network)
        self.batches.epoch, self.batches.start = self.epoch, self.batch
        coming = iter(self.loader("train"))
        while self.batch < self.steps:
            self._pending.append(self._step([next(coming) for _ in range(self.recipe.accumulate)]))
            self.batch += 1
            save = self.step_number % self.save_every == 0
            if save or self.batch % look_every == 0 or self.batch == self.steps:
                stop = self._look(on_step, stopped)
                self.seconds = time.perf_counter() - start
                if save or stop:
                    self.save_last()
                if stop and self.batch < self.steps:
                    raise Interrupted(
                        f"stopped in epoch {self.epoch + 1} after batch {self.batch} of "
                        f"{self.steps}. {self._go_on()}"
                    )

    def _step(self, parts: Sequence[Batch]) -> torch.Tensor:
        """Take one step; return (sum of losses, right answers) over this process's images."""
        self._begin_step()
        self.optimizer.zero_grad()
        sums = torch.zeros(2, dtype=torch.float64, device=self.machine.device)
        for number, (images, labels) in enumerate(parts, start=1):
            target = labels.to(self.machine.device, non_blocking=True)
            with self._together(number == len(parts)):
                with self.autocast():
                    outputs = self.network(self.normalized(images))
                    logits, loss = self.loss(outputs, target)
                self.scaler.scale(loss / len(parts)).backward()
            sums[0] += loss.detach() * len(target)
            sums[1] += (logits.argmax(dim=1) == target).sum()
        if self.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.mean is not None:
            self.mean.update_parameters(self.model)
        return sums

    def _begin_step(self) -> None:
        seed = seed_of(2, self.recipe.seed, self.step_number, self.machine.rank)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # a layer of somebody's may draw from it
        learning.set_rate(self.optimizer, self.schedule, self.step_number)

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

    def _together(self, last: bool) -> AbstractContextManager[Any]:
        """Let the processes exchange gradients after the last part of a batch only."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def autocast(self) -> torch.autocast:
        kind = _TYPES[self.recipe.precision]
        mixed = kind != torch.float32
        return torch.autocast(self.machine.device.type, kind if mixed else None, enabled=mixed)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        return data.normalized(
            images, self.parts.normalization, self.machine.device, self.recipe.channels_last
        )

    def _look(self, on_step: Callable[[Step], None], stopped: threading.Event) -> bool:
        """Read what the last steps came to; return whether some process was told to stop."""
        told = torch.tensor([[float(stopped.is_set()), 0]], dtype=torch.float64)
        sums = torch.cat([torch.stack(self._pending), told.to(self.machine.device)])
        *rows, (told_to_stop, _) = self.machine.sum(sums).tolist()
        images, first = self.recipe.batch_size, self.step_number - len(rows)
        self._pending = []
        for number, (loss_sum, correct) in enumerate(rows, start=first):
            loss = loss_sum / images
            if not math.isfinite(loss):
                raise TrainError(
                    f"the loss is {loss} in epoch {self.epoch + 1}, step {number}. The steps are "
                    f"probably too large: start anew with a lower --lr (it is {self.recipe.lr:g})."
                )
            self.loss_sum += loss_sum
            self.correct += int(correct)
            self.seen += images
            if self.machine.main:
                rate = self.schedule(number)
                on_step(Step(number, loss, correct / images, rate, images))
        return told_to_stop > 0

    def _end_epoch(self) -> None:
        scores = self.evaluate("validation")
        row = run_folder.metrics(
            self.epoch + 1, (self.loss_sum, self.correct, self.seen), scores,
            self.schedule(self.step_number - 1), self.seconds,
        )  # fmt: skip
        self.history.append(row)
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        self.save_last()
        self._write_epoch()

    def _write_epoch(self) -> None:
        """Write what follows from ``last.safetensors`` at the end of an epoch.

        Resuming there writes it again, should the run have been killed in between.
        """
        if not self.machine.main:
            return
        if self.best is self.history[-1]:
            best = state.arrays(self.used.state_dict())
            checkpoint.save(self.folder / "model.safetensors", best, {"epoch": self.epoch})
        run_folder.write_metrics(self.folder, self.history)

    # ---- what it is worth

    def evaluate(self, part: str) -> Scores:
        """Return the scores of the network in use on the part ``validation`` or ``test``."""
        return evaluate(self, part)

    def finish(self) -> Scores:
        """Take the best weights, read the test part, and leave the result and the pictures."""
        self.load_best(int(self.best["epoch"]))
        scores = self.evaluate("test")
        if self.machine.main:
            kernels = [p for p in self.model.parameters() if p.ndim == 4]
            run_folder.write_outcome(
                self.folder, self.history, scores, self.parts.test.labels, self.parts.classes,
                kernels[0].numpy(force=True) if kernels else None,
            )  # fmt: skip
        return scores

    def load_best(self, expected: int | None = None) -> None:
        """Take the best weights, of the epoch ``expected`` where that is known."""
        path = self.folder / "model.safetensors"
        tensors = self.machine.once(lambda: run_folder.best_weights(self.folder, expected))
        state.fill(self.model, self.recipe.network, path, tensors)
        if self.mean is not None:
            state.fill(self.mean.module, self.recipe.network, path, tensors)

    # ---- helpers

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

    def _go_on(self) -> str:
        return f"Go on with: python -m reference.train --resume {self.folder}"

    def _kept(self) -> str:
        if not (self.folder / "last.safetensors").exists():
            return "There is no checkpoint yet."
        return f"The last checkpoint is whole. {self._go_on()}"


# ---------------------------------------------------------------------------------------- helpers


def _workers(parts: data.Parts, recipe: Recipe, machine: Machine) -> int:
    """Return how many processes read ahead: none where there is nothing to do but to copy."""
    moved = recipe.size or recipe.flip or recipe.rotate or recipe.shift
    return min(8, cores() // machine.local_size) if moved else 0

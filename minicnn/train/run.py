"""The training loop, and the folder that a run leaves.

    config.json        the recipe, the data, their mean and std
    metrics.csv        one line an epoch
    model.safetensors  the weights that were best on the validation split
    last.safetensors   everything that resuming needs
    result.json        scores of the best weights on the test split, read once at the end
    curves.png, confusion.png, filters.png

Everything depends on the recipe only. Weights are drawn from the seed, and the order and the
augmentation of a batch from (seed, epoch, batch). So an interrupted and resumed run ends with the
same weights, bit for bit, as an uninterrupted one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import checkpoint, data, models, run_folder
from minicnn.backend import single_threaded_blas
from minicnn.evaluation import Scores, evaluate, first_nonfinite
from minicnn.fused import fuse
from minicnn.interruption import Interrupted, stop_signals
from minicnn.models import own, trial
from minicnn.models.own import Own
from minicnn.nn import Module, init
from minicnn.ops import cross_entropy
from minicnn.pace import Pace
from minicnn.recipes import Recipe
from minicnn.run_folder import TrainError
from minicnn.run_lock import RunLock
from minicnn.shapes import ShapeError
from minicnn.train import standing
from minicnn.version import __version__

DIVERGED = 100  # a run ends if its loss is so many times the first one


class Progress(NamedTuple):
    """The progress after a batch."""

    epoch: int
    loss: float  # mean over the epoch so far
    accuracy: float
    images: int  # in this batch


# ---------------------------------------------------------------------------------------- the run


class Run:
    """A training run: the model, how far it is, and its folder."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        data_dir: Path | str | None = None,
        *,
        model: Any = None,
        splits: data.Splits | None = None,
        own: Own | None = None,
    ) -> None:
        self.recipe, self.folder, self.data_dir, self.own = recipe, folder, data_dir, own
        self.splits = splits or data.load(
            recipe.data,
            data_dir,
            validation=recipe.validation,
            size=recipe.size,
            zip_encoding=recipe.zip_encoding,
        )
        train = self.splits.train
        if len(train.classes) < 2:
            raise TrainError(
                f"{recipe.data}: there is only one class, {train.classes[0]}. At least two are "
                "needed."
            )
        self.normalization = data.normalization(train)
        n, h, w, c = train.images.shape
        self.image = (c, h, w)
        rng = np.random.default_rng(recipe.seed)
        self.model = _network(recipe.model if model is None else model, len(train.classes), rng)
        try:
            trial.check_image(recipe.model, recipe.data, self.model, self.image, len(train.classes))
        except (ShapeError, TypeError) as error:
            raise TrainError(str(error)) from error
        if recipe.init != "default":
            init.initialize(self.model, recipe.init, rng=rng)
        self.model.set_impl(recipe.impl)
        self.network = fuse(self.model) if recipe.fuse else self.model  # the same parameters
        if recipe.batch_size > n:
            raise TrainError(
                f"{recipe.data}: a batch of {recipe.batch_size} is larger than the {n} training "
                f"images. Use --batch-size {n} or less."
            )
        moves = data.Augment(recipe.shift, recipe.rotate, recipe.flip)
        self.loader = data.Loader(
            train,
            recipe.batch_size,
            normalization=self.normalization,
            shuffle=True,
            seed=recipe.seed,
            drop_last=recipe.drop_last,
            augment=moves if any(moves) else None,
            prefetch=2,
        )
        self.optimizer = recipe.build_optimizer(self.model)
        self.schedule = recipe.build_schedule(len(self.loader))
        self.first_loss: float | None = None  # of the first batch of all
        self.epoch = 0  # epochs done
        self.batch = 0  # batches done in this epoch
        self.loss_sum, self.correct, self.seen = 0.0, 0, 0  # over those batches
        self.seconds = 0.0  # spent on those batches
        self.history: list[dict[str, float]] = []
        self.pace, self.pace_of_evaluation = Pace(), Pace()
        self._lock: RunLock | None = None
        self.scores: Scores | None = None  # on the test images, when the run is finished

    # ---- where the run stands

    @property
    def _step_number(self) -> int:
        """The number of the next step, over all epochs."""
        return self.epoch * len(self.loader) + self.batch

    @property
    def best(self) -> dict[str, float]:
        """The epoch with the best validation: the highest accuracy, then the lowest loss."""
        return run_folder.best(self.history)

    @property
    def done(self) -> bool:
        """True if all epochs are done, or the patience is over."""
        if self.epoch >= self.recipe.epochs:
            return True
        patience = self.recipe.patience
        return bool(patience and self.history and self.epoch - int(self.best["epoch"]) >= patience)

    def save_last(self) -> None:
        """Write ``last.safetensors``, whole or not at all, and only with finite numbers."""
        self._may_write()
        self._check_weights()
        checkpoint.save(self.folder / "last.safetensors", *standing.of(self))

    def load_last(self) -> None:
        """Put the run into the state of its checkpoint. Raises CheckpointError if it is damaged."""
        standing.put(self, self.folder / "last.safetensors")
        if self.history:
            self._write_epoch()  # the run may have been killed before this was written

    def _check_weights(self) -> None:
        wrong = checkpoint.first_nonfinite(self.model.state_dict().items())
        if wrong is not None:
            raise TrainError(
                f"{wrong} is not finite after batch {self.batch} of epoch {self.epoch + 1}. "
                f"{self._too_large()}"
            )

    def config(self) -> dict[str, Any]:
        train, validation, test = self.splits
        network = {} if self.own is None else {"network": self.own.as_json()}
        return {
            "minicnn": __version__,
            "recipe": self.recipe.as_json(),
            **network,
            "data_dir": None if self.data_dir is None else str(Path(self.data_dir).absolute()),
            "data": {
                "classes": list(train.classes),
                "image": list(self.image),
                "mean": list(self.normalization.mean),
                "std": list(self.normalization.std),
                "images": [len(train), len(validation), len(test)],
            },
        }

    # ---- who writes

    def take(self) -> None:
        """Take the lock of the folder. Raises TrainError if another process has it."""
        if self._lock is None or not self._lock.held:
            self._lock = RunLock(self.folder)

    def release(self) -> None:
        """Release the lock. ``finish``, and an error in ``fit``, do this too."""
        if self._lock is not None:
            self._lock.release()

    def _may_write(self) -> None:
        if self._lock is not None:
            self._lock.check()

    @contextmanager
    def _writing(self, *, last: bool = False) -> Iterator[None]:
        """Hold the lock in the block; release it after an error, and after the ``last`` block."""
        self.take()
        try:
            yield
        except BaseException:
            self.release()
            raise
        if last:
            self.release()

    # ---- training

    def fit(
        self,
        on_batch: Callable[[Progress], None] = lambda progress: None,
        on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    ) -> None:
        """Train from the current state to the end.

        Raises Interrupted after Ctrl-C; the folder then has everything that resuming needs. Raises
        TrainError if the loss is not finite, or has grown to ``DIVERGED`` times its first value.
        """
        with self._writing(), stop_signals() as stopped, single_threaded_blas():
            while not self.done:
                self._may_write()
                with self.pace:
                    self._train_epoch(on_batch, stopped)
                self._end_epoch()
                on_epoch(self.history[-1])

    def _train_epoch(self, on_batch: Callable[[Progress], None], stopped: threading.Event) -> None:
        start = time.perf_counter() - self.seconds
        for x, target in self.loader.batches(self.epoch, self.batch):
            on_batch(self._step(x, target))
            self.pace.lap(len(target))
            self.seconds = time.perf_counter() - start
            if stopped.is_set():
                self.save_last()
                raise Interrupted(
                    f"stopped in epoch {self.epoch + 1} after batch {self.batch} of "
                    f"{len(self.loader)}. Go on with: minicnn train --resume {self.folder}"
                )

    def _step(self, x: np.ndarray, target: np.ndarray) -> Progress:
        impl = self.recipe.impl
        self.schedule.apply(self.optimizer, self._step_number)
        self.optimizer.zero_grad()
        with np.errstate(all="ignore"):  # numbers that are not finite are named below
            logits, cache = self.network.forward(x, training=True)
            loss, loss_cache = cross_entropy.forward(
                logits, target, label_smoothing=self.recipe.label_smoothing, impl=impl
            )
            self._check_loss(x, float(loss), logits.shape[1])
            dlogits = cross_entropy.backward(1.0, loss_cache, impl=impl)
            self.network.backward(dlogits, cache, input_grad=False)
        self.optimizer.step()
        self.batch += 1
        self.seen += len(target)
        self.loss_sum += float(loss) * len(target)
        self.correct += int((logits.argmax(axis=1) == target).sum())
        return Progress(
            self.epoch + 1, self.loss_sum / self.seen, self.correct / self.seen, len(target)
        )

    def _check_loss(self, x: np.ndarray, loss: float, classes: int) -> None:
        """Raise TrainError if the loss shows that the run has diverged.

        An untrained network has the loss log(classes). With trained weights the first batch may
        have a much smaller loss, and a difficult batch a hundred times as much. So it is compared
        with log(classes) at least.
        """
        if self.first_loss is None:
            self.first_loss = loss
        most = DIVERGED * max(self.first_loss, math.log(classes))
        if np.isfinite(loss) and loss <= most:
            return
        if np.isfinite(loss):
            what = f"above {DIVERGED} times its first value, {self.first_loss:.4g}"
        else:
            what = f"first not finite: {first_nonfinite(self.model, x)}"
        raise TrainError(
            f"the loss is {loss:.4g} in epoch {self.epoch + 1}, batch {self.batch + 1}; {what}. "
            f"{self._too_large()}"
        )

    def _too_large(self) -> str:
        """Return the likely reason for numbers that are not finite, and what is kept."""
        kept = "No epoch was finished, so there is no checkpoint."
        if (self.folder / "last.safetensors").exists():
            kept = f"The last checkpoint is kept in {self.folder}."
        return (
            "The steps are probably too large: lower the learning rate by --lr (it is "
            f"{self.recipe.lr:g}). {kept}"
        )

    def _for_inference(self) -> Module:
        """Return a network for inference with the current weights; it takes as long as a batch."""
        fused = self.recipe.fuse and self.recipe.impl == "fast"
        return fuse(self.model, inference=True) if fused else self.network

    def _end_epoch(self) -> None:
        self._check_weights()
        scores = evaluate(
            self._for_inference(),
            self.splits.validation,
            self.normalization,
            impl=self.recipe.impl,
            pace=self.pace_of_evaluation,
        )
        row = run_folder.metrics(
            self.epoch + 1, (self.loss_sum, self.correct, self.seen), scores,
            self.schedule(self._step_number - 1), self.seconds,
        )  # fmt: skip
        self.history.append(row)
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.correct, self.seen, self.seconds = 0.0, 0, 0, 0.0
        self.save_last()
        self._write_epoch()

    def _write_epoch(self) -> None:
        """Write the files that follow from ``last.safetensors`` at the end of an epoch.

        If the run is killed before this is done, resuming writes them again.
        """
        if self.best is self.history[-1] and self.batch == 0:
            note = {"epoch": self.epoch}
            checkpoint.save(self.folder / "model.safetensors", self.model.state_dict(), note)
        run_folder.write_metrics(self.folder, self.history)

    # ---- the end

    def finish(self) -> Scores:
        """Take the best weights, read the test split, and write the result and the pictures.

        Raises CheckpointError if the weights in the folder are not those of the best epoch.
        """
        with self._writing(last=True):
            self._may_write()
            best = run_folder.best_weights(self.folder, int(self.best["epoch"]))
            self.model.load_state_dict(best)
            test = self.splits.test
            scores = evaluate(
                self._for_inference(), test, self.normalization, impl=self.recipe.impl
            )
            self.scores = scores
            kernels = [p.data for p in self.model.parameters() if p.data.ndim == 4]
            run_folder.write_outcome(
                self.folder, self.history, scores, test.labels, test.classes,
                kernels[0] if kernels else None, self.recipe.label_smoothing,
            )  # fmt: skip
        return scores


# ---------------------------------------------------------------------------------------- helpers


def _network(model: Any, classes: int, rng: np.random.Generator) -> Module:
    """Return the network: by its name, made by a class or function, or the object itself."""
    if isinstance(model, Module):
        return model.astype(np.float32)
    if isinstance(model, str):
        return models.create(model, classes, rng=rng)
    return own.make(model, classes, name=own.describe_object(model).name, rng=rng)

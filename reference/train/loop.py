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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minicnn import run_folder
from minicnn.evaluation import Scores
from minicnn.interruption import Interrupted, stop_signals
from minicnn.run_folder import TrainError
from reference.data.batches import Batch, seed_of
from reference.train import evaluation, learning, memory, network, state
from reference.train.run import Run

_LOOK_EVERY = 20  # steps on a GPU between two looks at the losses, each of which waits for it


class Step(NamedTuple):
    """Told of every step, in the main process."""

    number: int  # over all epochs, from 0
    loss: float  # of the batch, over all processes
    accuracy: float
    rate: float
    images: int


def fit(
    run: Run,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train from where the run stands to its end.

    Raises Interrupted after Ctrl-C or SIGTERM, with all that resuming needs in the folder;
    TrainError where the loss is not finite, memory is out or a worker has died.
    """
    try:
        with stop_signals() as stopped:
            while not run.done:
                _epoch(run, on_step, stopped)
                _end_epoch(run)
                on_epoch(run.history[-1])
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # they hold on to what fills the memory
        raise TrainError(f"{memory.advice(run)} {_kept(run)}") from error
    except RuntimeError as error:
        dead = "DataLoader worker (pid" in str(error)  # not one that passes on its own error
        if dead and "Terminated" in str(error):
            raise TrainError(
                "a process that reads images ahead was told to stop, as torchrun tells all "
                f"when one has died. {_kept(run)}"
            ) from error
        if dead:
            raise TrainError(
                "a process that reads images ahead has died; often the system killed it for "
                f"lack of memory. Use fewer by --workers, it is {run.workers}. {_kept(run)}"
            ) from error
        if run.machine.lost(error):
            raise TrainError(
                "another process of this run has died, or its machine cannot be reached any "
                f"more. With --max-restarts torchrun starts all again. {_kept(run)}"
            ) from error
        raise


def _epoch(run: Run, on_step: Callable[[Step], None], stopped: threading.Event) -> None:
    look_every = _LOOK_EVERY if run.machine.cuda else 1
    start = time.perf_counter() - run.seconds
    network.begin_training(run.network)
    run.batches.epoch, run.batches.start = run.epoch, run.batch
    coming = iter(run.loader("train"))
    pending: list[torch.Tensor] = []  # loss and right answers of steps not looked at
    while run.batch < run.steps:
        pending.append(_step(run, [next(coming) for _ in range(run.recipe.accumulate)]))
        run.batch += 1
        save = run.step_number % run.save_every == 0
        if save or run.batch % look_every == 0 or run.batch == run.steps:
            stop = _look(run, pending, on_step, stopped)
            run.seconds = time.perf_counter() - start
            if save or stop:
                state.save(run)
            if stop and run.batch < run.steps:
                raise Interrupted(
                    f"stopped in epoch {run.epoch + 1} after batch {run.batch} of "
                    f"{run.steps}. {_go_on(run)}"
                )


def _look(
    run: Run,
    pending: list[torch.Tensor],
    on_step: Callable[[Step], None],
    stopped: threading.Event,
) -> bool:
    """Read what the pending steps came to; return whether some process was told to stop."""
    told = torch.tensor([[float(stopped.is_set()), 0]], dtype=torch.float64)
    sums = torch.cat([torch.stack(pending), told.to(run.machine.device)])
    *rows, (told_to_stop, _) = run.machine.sum(sums).tolist()
    images, first = run.recipe.batch_size, run.step_number - len(rows)
    pending.clear()
    for number, (loss_sum, correct) in enumerate(rows, start=first):
        loss = loss_sum / images
        if not math.isfinite(loss):
            raise TrainError(
                f"the loss is {loss} in epoch {run.epoch + 1}, batch "
                f"{number - run.epoch * run.steps + 1} of {run.steps}. The steps are "
                f"probably too large: start anew with a lower --lr (it is {run.recipe.lr:g})."
            )
        run.loss_sum += loss_sum
        run.correct += int(correct)
        run.seen += images
        if run.machine.main:
            rate = run.schedule(number)
            on_step(Step(number, loss, correct / images, rate, images))
    return told_to_stop > 0


def _step(run: Run, parts: Sequence[Batch]) -> torch.Tensor:
    """Take one step; return (sum of losses, right answers) over this process's images."""
    _begin_step(run)
    run.optimizer.zero_grad()
    sums = torch.zeros(2, dtype=torch.float64, device=run.machine.device)
    for number, (images, labels) in enumerate(parts, start=1):
        target = labels.to(run.machine.device, non_blocking=True)
        with _together(run, number == len(parts)):
            with run.autocast():
                outputs = run.network(run.normalized(images))
                logits, loss = run.loss(outputs, target)
            run.scaler.scale(loss / len(parts)).backward()
        sums[0] += loss.detach() * len(target)
        sums[1] += (logits.argmax(dim=1) == target).sum()
    if run.recipe.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.mean is not None:
        run.mean.update_parameters(run.model)
    return sums


def _begin_step(run: Run) -> None:
    seed = seed_of(2, run.recipe.seed, run.step_number, run.machine.rank)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # a layer of somebody's may draw from it
    learning.set_rate(run.optimizer, run.schedule, run.step_number)


def _together(run: Run, last: bool) -> AbstractContextManager[Any]:
    """Let the processes exchange gradients after the last part of a batch only."""
    if isinstance(run.network, DistributedDataParallel) and not last:
        return run.network.no_sync()
    return nullcontext()


def _end_epoch(run: Run) -> None:
    scores = evaluation.evaluate(run, "validation")
    row = run_folder.metrics(
        run.epoch + 1, (run.loss_sum, run.correct, run.seen), scores,
        run.schedule(run.step_number - 1), run.seconds,
    )  # fmt: skip
    run.history.append(row)
    run.epoch, run.batch = run.epoch + 1, 0
    run.loss_sum, run.correct, run.seen, run.seconds = 0.0, 0, 0, 0.0
    state.save(run)
    state.write_epoch(run)


def finish(run: Run) -> Scores:
    """Take the best weights, read the test part, and leave the result and the pictures."""
    state.load_best(run, int(run.best["epoch"]))
    scores = evaluation.evaluate(run, "test")
    if run.machine.main:
        kernels = [p for p in run.model.parameters() if p.ndim == 4]
        run_folder.write_outcome(
            run.folder, run.history, scores, run.parts.test.labels, run.parts.classes,
            kernels[0].numpy(force=True) if kernels else None, run.recipe.label_smoothing,
        )  # fmt: skip
    return scores


def _go_on(run: Run) -> str:
    return f"Go on with: python -m reference.train --resume {run.folder}"


def _kept(run: Run) -> str:
    if not (run.folder / "last.safetensors").exists():
        return "There is no checkpoint yet."
    return f"The last checkpoint is whole. {_go_on(run)}"

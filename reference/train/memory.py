"""What to do when a GPU's memory is out: find out how many images fit, and say how to use that."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reference.train.run import Run


def advice(run: Run) -> str:
    """Return what happened, and the parts of a batch that would fit."""
    recipe, machine = run.recipe, run.machine
    run.network = run.model  # with DistributedDataParallel go its hooks, which ask the others
    run.optimizer.zero_grad()
    fits = largest(lambda n: _try(run, n), run.part)
    told = f"the memory of {machine.device} is out with {run.part} images at a time."
    if not fits:
        return f"{told} Not even one fits beside the weights. Use a smaller network or --size."
    share = recipe.batch_size // machine.size  # of a process
    parts = next(k for k in range(1, share + 1) if share % k == 0 and share // k <= fits)
    return (
        f"{told} A batch of {share // parts} would fit: --accumulate {parts} takes the same steps "
        "in such parts."
    )


def largest(fits: Callable[[int], bool], tried: int) -> int:
    """Return the largest of tried/2, tried/4, ... that fits, 0 if none does."""
    while tried > 1:
        tried //= 2
        if fits(tried):
            return tried
    return 0


def _try(run: Run, n: int) -> bool:
    """Return whether ``n`` images pass forward and backward. No step is taken."""
    images = torch.zeros(n, *run.parts.image, dtype=torch.uint8)
    target = torch.zeros(n, dtype=torch.int64, device=run.machine.device)
    try:
        with run.autocast():
            _, loss = run.loss(run.model(run.normalized(images)), target)
        loss.backward()
        return True
    except (torch.OutOfMemoryError, ValueError):  # batch norm takes no single value
        return False
    finally:
        run.optimizer.zero_grad()
        if run.machine.cuda:
            torch.cuda.empty_cache()

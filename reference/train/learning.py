"""The optimiser, its rate at every step, and the mean of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minicnn.optim import Schedule
from reference.presets import Recipe


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return what updates the parameters that learn."""
    learn = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lr, decay = recipe.lr, recipe.weight_decay
    if recipe.optimizer == "sgd":
        momentum = 0.9 if recipe.momentum is None else recipe.momentum
        return torch.optim.SGD(
            learn, lr, momentum=momentum, weight_decay=decay, nesterov=bool(recipe.nesterov)
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(learn, lr, weight_decay=decay)


def mean_of(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return what keeps the exponential mean of weights and buffers, if one is wanted.

    Counts, as batch norm keeps of its batches, have no mean: they are copied.
    """
    if decay is None:
        return None
    average = get_ema_multi_avg_fn(decay)

    def update(means: Any, now: Any, steps: Any) -> None:  # lists of tensors of one dtype
        if means[0].is_floating_point():
            average(means, now, steps)
        else:
            for mean, tensor in zip(means, now, strict=True):
                mean.copy_(tensor)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> None:
    """Set learning rate and momentum to those of the step, as minicnn's schedule says."""
    rate, momentum = schedule(step), schedule.momentum(step)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum

"""The optimiser, its rate at every step, and the mean of the weights."""

from __future__ import annotations

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
    """Return what keeps the exponential mean of the weights, if one is wanted."""
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> None:
    """Set learning rate and momentum to those of the step, as minicnn's schedule says."""
    rate, momentum = schedule(step), schedule.momentum(step)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif momentum is not None:
            group["momentum"] = momentum

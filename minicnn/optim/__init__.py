"""Optimisers, and schedules of their learning rate. Both compute what torch.optim computes.

optimizer = SGD(model, lr=0.1, momentum=0.9)
schedule = Warmup(CosineLR(0.1, T_max=900), total_iters=100)
for step in range(1000):
    optimizer.zero_grad()
    ...  # forward and backward, which add into each parameter's grad
    schedule.apply(optimizer, step)
    optimizer.step()
"""

from __future__ import annotations

from minicnn.optim.adam import Adam, AdamW
from minicnn.optim.optimizer import Optimizer, Parameter
from minicnn.optim.schedules import (
    Constant,
    CosineLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    StepLR,
    Warmup,
)
from minicnn.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "CosineLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "Parameter",
    "Schedule",
    "StepLR",
    "Warmup",
]

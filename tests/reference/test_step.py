"""A step of the trainer: its loss, its gradient, its rate, and what it waits for."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reference.train import loop
from reference.train.loop import fit
from reference.train.machine import Machine
from reference.train.run import Run
from tests.reference.test_train import recipe, run_of


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_smoothing_spreads_a_share_of_the_target_over_all_classes(tmp_path, tiny, share) -> None:
    run = run_of(tmp_path / "run", label_smoothing=share)
    logits = torch.randn(6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([3, 0, 9, 9, 1, 4])
    probability = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
    wanted = torch.full((6, 10), share / 10, dtype=torch.float64)
    wanted[torch.arange(6), target] += 1 - share
    expected = -(wanted * torch.log(probability)).sum() / 6
    _, loss = run.loss(logits, target)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_a_batch_in_parts_is_the_same_step(tmp_path: Path) -> None:
    """By sgd, as Adam's steps do not depend on the gradient's length."""
    few = {"model": "lenet5", "optimizer": "sgd", "lr": 0.01, "ema": None}
    runs = [run_of(tmp_path / str(parts), accumulate=parts, **few) for parts in (1, 4)]
    losses: list[list[float]] = [[], []]
    for run, seen in zip(runs, losses, strict=True):
        fit(run, on_step=lambda step, seen=seen: seen.append(step.loss))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


class _Crossings(TorchDispatchMode):
    """Notes what comes to the device meta, here for a GPU: its shape, and if nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], bool]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        of_cpu = any(isinstance(a, torch.Tensor) and a.ndim and a.is_cpu for a in args)
        of_python = function is torch.ops.aten.lift_fresh.default  # torch.tensor of some numbers
        if (of_cpu or of_python) and getattr(result, "is_meta", False):
            self.seen.append((tuple(result.shape), kwargs.get("non_blocking", False)))
        return result


def test_a_step_waits_for_nothing_that_comes_to_the_gpu(tmp_path, tiny, monkeypatch) -> None:
    chosen = recipe(optimizer="sgd", ema=None, clip_norm=1.0, accumulate=2)
    run = Run(chosen, tmp_path, Machine(torch.device("meta")), workers=0)
    monkeypatch.setattr(run, "autocast", nullcontext)  # which does not know that device
    batches = iter(run.loader("train"))
    loop._step(run, [next(batches), next(batches)])  # the first brings what stays
    with _Crossings() as crossings:
        loop._step(run, [next(batches), next(batches)])
    assert crossings.seen == 2 * [((16,), True), ((16, 1, 28, 28), True)]


def test_the_gradient_is_clipped(tmp_path: Path, tiny, scaled) -> None:
    run = run_of(tmp_path / "run", epochs=1, epoch_steps=1, clip_norm=1e-3, optimizer="sgd")
    fit(run)
    square = sum(float((p.grad**2).sum()) for p in run.model.parameters())
    assert math.isclose(square, 1e-6, rel_tol=1e-3)


def test_rate_and_momentum_follow_the_schedule(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run", optimizer="adam", schedule="onecycle")
    told, used = [], []

    def on_step(step) -> None:
        group = run.optimizer.param_groups[0]
        told.append(step.rate)
        used.append((group["lr"], group["betas"][0]))

    fit(run, on_step)
    assert told == [run.schedule(i) for i in range(8)]
    assert used == [(run.schedule(i), run.schedule.momentum(i)) for i in range(8)]
    assert len(set(used)) > 4


def test_bf16_learns_on_the_cpu_too(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run", precision="bf16", channels_last=True)
    logits = []
    run.model.register_forward_hook(lambda module, x, y: logits.append(y.dtype))
    fit(run)
    assert set(logits) == {torch.bfloat16}
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert run.model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_auxiliary_heads_add_to_the_loss(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run")
    object.__setattr__(run.recipe, "aux_weight", 0.3)
    logits, other = torch.randn(2, 4, 10).unbind()
    target = torch.arange(4)
    plain = [torch.nn.functional.cross_entropy(x, target) for x in (logits, other)]
    chosen, loss = run.loss((logits, other, None), target)
    assert chosen is logits
    torch.testing.assert_close(loss, plain[0] + 0.3 * plain[1])

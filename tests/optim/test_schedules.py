"""Schedules against torch.optim.lr_scheduler, alone and driving an optimiser."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.optim import (
    SGD,
    Adam,
    Constant,
    CosineLR,
    MultiStepLR,
    OneCycleLR,
    StepLR,
    Warmup,
)
from tests.pytorch import torch

STEPS = 60

rates = st.floats(1e-4, 1.0)
gammas = st.floats(0.1, 1.0)


def their(kind, *arguments, **options):
    """Return torch's schedule of that name."""
    return getattr(torch.optim.lr_scheduler, kind)(*arguments, **options)


@st.composite
def plain(draw):
    """Return our schedule and a function that gives torch's, over torch's optimiser."""
    lr = draw(rates)
    kind = draw(st.sampled_from(["constant", "step", "multistep", "cosine"]))
    if kind == "constant":
        return Constant(lr), lambda o: their("ConstantLR", o, factor=1.0)
    if kind == "step":
        options = {"step_size": draw(st.integers(1, STEPS)), "gamma": draw(gammas)}
        return StepLR(lr, **options), lambda o: their("StepLR", o, **options)
    if kind == "multistep":
        milestones = sorted(draw(st.lists(st.integers(1, STEPS + 9), max_size=5)))
        options = {"milestones": milestones, "gamma": draw(gammas)}
        return MultiStepLR(lr, **options), lambda o: their("MultiStepLR", o, **options)
    options = {"T_max": draw(st.integers(1, 2 * STEPS)), "eta_min": lr * draw(st.floats(0, 1))}
    return CosineLR(lr, **options), lambda o: their("CosineAnnealingLR", o, **options)


@st.composite
def warmed_up(draw):
    schedule, make = draw(plain())
    iters, start = draw(st.integers(1, 20)), draw(st.floats(0.01, 1.0))

    def sequence(o):
        first = their("LinearLR", o, start_factor=start, total_iters=iters)
        return their("SequentialLR", o, [first, make(o)], [iters])

    return Warmup(schedule, iters, start), sequence


@st.composite
def one_cycle(draw):
    three = draw(st.booleans())
    options = {
        "max_lr": draw(rates),
        "total_steps": STEPS,
        "pct_start": draw(st.floats(0.02, 0.48 if three else 1.0)),
        "anneal_strategy": draw(st.sampled_from(["cos", "linear"])),
        "cycle_momentum": draw(st.booleans()),
        "base_momentum": draw(st.floats(0.5, 0.9)),
        "max_momentum": draw(st.floats(0.9, 0.99)),
        "div_factor": draw(st.floats(1, 100)),
        "final_div_factor": draw(st.floats(1, 1e5)),
        "three_phase": three,
    }
    return OneCycleLR(**options), lambda o: their("OneCycleLR", o, **options)


schedules = st.one_of(plain(), warmed_up(), one_cycle())


def param():
    data = np.random.default_rng(0).standard_normal(5)
    return SimpleNamespace(data=data, grad=np.zeros(5), trainable=True)


def base_lr(schedule):
    schedule = getattr(schedule, "schedule", schedule)
    return getattr(schedule, "lr", 0.1)


@settings(deadline=None)
@given(pair=schedules, kind=st.sampled_from(["sgd", "adam"]))
@example(pair=(Constant(0.1), lambda o: their("ConstantLR", o, factor=1.0)), kind="sgd")
@example(
    pair=(
        MultiStepLR(0.1, [0, 5, 5, 20]),
        lambda o: their("MultiStepLR", o, [0, 5, 5, 20]),
    ),
    kind="sgd",
)
@example(
    pair=(
        OneCycleLR(0.1, STEPS),
        lambda o: their("OneCycleLR", o, 0.1, total_steps=STEPS),
    ),
    kind="adam",
)
def test_a_schedule_drives_an_optimiser_as_torchs_does(pair, kind):
    schedule, make = pair
    p, rng = param(), np.random.default_rng(1)
    tensor, lr = torch.tensor(p.data), base_lr(schedule)
    if kind == "sgd":
        ours, other = SGD([p], lr, 0.9), torch.optim.SGD([tensor], lr, 0.9)
    else:
        ours, other = Adam([p], lr), torch.optim.Adam([tensor], lr)
    scheduler, group = make(other), other.param_groups[0]
    for step in range(STEPS):
        schedule.apply(ours, step)
        assert ours.lr == schedule(step) == pytest.approx(group["lr"], rel=1e-9, abs=1e-12)
        momentum = group["momentum"] if kind == "sgd" else group["betas"][0]
        assert ours.momentum == pytest.approx(momentum, rel=1e-12)
        p.grad[...] = rng.standard_normal(5)
        tensor.grad = torch.tensor(p.grad)
        ours.step()
        other.step()
        assert np.allclose(p.data, tensor.numpy(), rtol=0, atol=1e-9)
        if step < STEPS - 1:
            scheduler.step()


@given(pair=schedules, steps=st.permutations(range(STEPS)))
def test_a_schedule_has_no_memory(pair, steps):
    schedule, _ = pair
    in_order = [schedule(step) for step in range(STEPS)]
    assert [schedule(step) for step in steps] == [in_order[step] for step in steps]


def test_one_cycle_rises_to_its_top_and_ends_at_its_foot():
    cycle = OneCycleLR(1.0, total_steps=101)
    rate = [cycle(step) for step in range(101)]
    assert rate[0] == pytest.approx(1 / 25)
    assert max(rate) == pytest.approx(1.0, rel=1e-3)
    assert rate[-1] == pytest.approx(1 / 25 / 1e4)
    assert [cycle.momentum(step) for step in (0, 100)] == pytest.approx([0.95, 0.95])


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_of_a_few_steps(total_steps, pct_start, three_phase):
    """Also where a phase has no length, where torch divides by zero."""
    cycle = OneCycleLR(1.0, total_steps, pct_start=pct_start, three_phase=three_phase)
    for step in range(total_steps):
        assert 1 / 25e4 - 1e-12 <= cycle(step) <= 1
        assert 0.85 - 1e-12 <= cycle.momentum(step) <= 0.95


def test_warm_up_is_a_line_to_the_first_rate_and_then_the_schedule():
    warm = Warmup(StepLR(0.8, step_size=2, gamma=0.5), total_iters=4, start_factor=0.25)
    assert [warm(step) for step in range(9)] == pytest.approx(
        [0.2, 0.35, 0.5, 0.65, 0.8, 0.8, 0.4, 0.4, 0.2]
    )
    rising = [warm(step) for step in range(5)]
    assert np.allclose([b - a for a, b in pairwise(rising)], 0.15)


def test_warm_up_hands_the_momentum_on():
    warm = Warmup(OneCycleLR(1.0, total_steps=10), total_iters=3)
    optimizer = SGD([param()], 0.1)
    warm.apply(optimizer, 1)
    assert optimizer.momentum == 0.95
    warm.apply(optimizer, 5)
    assert optimizer.momentum == OneCycleLR(1.0, total_steps=10).momentum(2)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(-1.0), "Constant: lr must be at least 0, got -1. Use for example 0.1."),
        (lambda: StepLR(0.1, step_size=0), "StepLR: step_size must be at least 1, got 0."),
        (lambda: StepLR(0.1, 3, gamma=-1), "StepLR: gamma must be at least 0, got -1."),
        (
            lambda: MultiStepLR(0.1, [20, 10]),
            "MultiStepLR: milestones must be in rising order, got [20, 10]. Use [10, 20].",
        ),
        (lambda: MultiStepLR(0.1, [-1]), "milestones[0] must be at least 0, got -1."),
        (lambda: CosineLR(0.1, T_max=0), "CosineLR: T_max must be at least 1, got 0."),
        (
            lambda: CosineLR(0.1, 5, eta_min=0.2),
            "CosineLR: eta_min must be at least 0 and at most 0.1, got 0.2.",
        ),
        (lambda: OneCycleLR(0.1, 10, pct_start=1.5), "pct_start must be at least 0 and at most 1"),
        (
            lambda: OneCycleLR(0.1, 10, pct_start=0.6, three_phase=True),
            "pct_start must be at least 0 and at most 0.5, got 0.6. "
            "Use for example 0.3 (three_phase is True).",
        ),
        (
            lambda: OneCycleLR(0.1, 10, anneal_strategy="cosine"),
            "OneCycleLR: anneal_strategy must be one of cos, linear, got 'cosine'.",
        ),
        (lambda: OneCycleLR(0.1, 10, max_momentum=1.0), "max_momentum must be at least 0 and less"),
        (lambda: OneCycleLR(0.1, 10, div_factor=0), "div_factor must be more than 0, got 0."),
        (
            lambda: OneCycleLR(0.1, 10)(10),
            "OneCycleLR: step 10 is past the last, 9. Set total_steps to the number of steps of",
        ),
        (lambda: Warmup(Constant(0.1), 0), "Warmup: total_iters must be at least 1, got 0."),
        (
            lambda: Warmup(Constant(0.1), 3, start_factor=0),
            "Warmup: start_factor must be more than 0 and at most 1, got 0. "
            "At 0 the first step would be wasted.",
        ),
        (lambda: Constant(0.1)(-1), "Constant: step must be at least 0, got -1."),
    ],
)
def test_bad_options_are_refused(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"Warmup: schedule must be a Schedule, got 0\.1\."):
        Warmup(0.1, 5)
    with pytest.raises(TypeError, match=r"StepLR: step must be an integer, got 1\.5"):
        StepLR(0.1, 3)(1.5)

"""Recipes: what they build, and that no option is accepted and ignored."""

from __future__ import annotations

import json

import pytest

from minicnn import models, optim
from minicnn.recipes import Recipe, recipe_for


def recipe(**options):
    return Recipe(model="lenet5", data="digits", **options)


def test_a_recipe_survives_json():
    made = recipe(schedule="multistep", milestones=(3, 5), lr=0.1, optimizer="sgd", nesterov=True)
    assert Recipe.from_json(json.loads(json.dumps(made.as_json()))) == made


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"optimizer": "adam"}, optim.Adam), ({"optimizer": "adamw"}, optim.AdamW)],
)
def test_the_optimizer_is_the_one_asked_for(options, kind):
    made = recipe(**options, lr=0.25, weight_decay=0.5).build_optimizer(models.lenet5())
    assert type(made) is kind
    assert made.lr == 0.25
    assert made.weight_decay == 0.5


def test_sgd_takes_its_options():
    made = recipe(
        optimizer="sgd", momentum=0.5, nesterov=True, weight_decay=0.01, schedule="constant"
    )
    built = made.build_optimizer(models.lenet5())
    assert (built.momentum, built.nesterov, built.weight_decay) == (0.5, True, 0.01)
    assert recipe(optimizer="sgd").build_optimizer(models.lenet5()).momentum == 0.9


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"schedule": "step", "step_epochs": 2, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"schedule": "step"}, [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule": "multistep", "milestones": (1, 5)}, [1, 0.1, 0.1, 0.1, 0.1, 0.01]),
        ({"schedule": "multistep"}, [1, 1, 1, 0.1, 0.1, 0.01]),
        (
            {"schedule": "multistep", "warmup_epochs": 2, "milestones": (4,)},
            [1 / 3, 2 / 3, 1, 1, 0.1, 0.1],
        ),
        ({"schedule": "cosine"}, [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]),
        ({"schedule": "constant", "warmup_epochs": 2}, [1 / 3, 2 / 3, 1, 1, 1, 1]),
    ],
)
def test_schedules_count_in_epochs(options, rates):
    schedule = recipe(epochs=6, lr=1.0, **options).build_schedule(10)
    assert [schedule(10 * epoch) for epoch in range(6)] == pytest.approx(rates)


def test_onecycle_spans_the_run():
    schedule = recipe(epochs=6, lr=1.0).build_schedule(10)
    assert max(schedule(step) for step in range(60)) == pytest.approx(1.0)
    assert schedule(59) == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"momentum": 0.5},
            "recipe: momentum is only used with the optimizer sgd, but the optimizer is adam. "
            "Leave it out, or choose another optimizer.",
        ),
        ({"gamma": 0.5}, "gamma is only used with the schedule step or multistep"),
        ({"warmup_epochs": 1}, "but the schedule is onecycle"),
        (
            {"optimizer": "sgd", "momentum": 0.5},
            "momentum is only used with the schedule constant or step or multistep or cosine, but "
            "the schedule is onecycle",
        ),
        (
            {"schedule": "multistep", "milestones": (3, 10)},
            "milestone 10 lies outside of the "
            "run. Its epochs at full rate are 0 to 10. Use more epochs, other "
            "--milestones, or another schedule: --schedule constant.",
        ),
        (
            {"schedule": "multistep", "milestones": (2,), "warmup_epochs": 2},
            "milestone 2 lies outside of the run. Its epochs at full rate are 2 to 10",
        ),
        (
            {"schedule": "step", "step_epochs": 10},
            "the first drop, after epoch 10, lies "
            "after the end, epoch 10. Use more epochs, --step-epochs of at most 9, or another "
            "schedule: --schedule constant.",
        ),
        (
            {"schedule": "step", "step_epochs": 5, "epochs": 3, "warmup_epochs": 2},
            "epoch 7, lies after the end, epoch 3. Use more epochs, or another schedule: --sch",
        ),
        (
            {"schedule": "multistep", "milestones": (1,), "epochs": 1},
            "epochs at full rate are 0 to 1. Use more epochs, or another schedule: --schedule con",
        ),
        ({"schedule": "step", "milestones": (1,)}, "milestones is only used with the schedule m"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd, adam, adamw, got 'lion'"),
        ({"schedule": "zigzag"}, "schedule must be one of"),
        ({"init": "zeros"}, "init must be one of default, kaiming_uniform"),
        ({"impl": "gpu"}, "impl must be one of fast, textbook"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be greater than 0"),
        ({"lr": float("nan")}, "lr must be greater than 0"),
        ({"label_smoothing": 2.0}, "label_smoothing must be from 0 to 1"),
        (
            {"schedule": "cosine", "epochs": 2, "warmup_epochs": 2},
            "2 epochs of warm-up leave none of the 2. Use more epochs, or fewer --warmup-epochs; 0 "
            "means no warm-up.",
        ),
        ({"warmup_epochs": -1, "schedule": "cosine"}, "warmup_epochs must be at least 0, got -1"),
    ],
)
def test_what_is_wrong_or_would_be_ignored_is_refused(options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        recipe(**options)


def test_resnet20_on_small_colour_images(monkeypatch):
    image = models.Model(models.convnet, (3, 32, 32))
    monkeypatch.setitem(models.MODELS, "resnet20", image)
    for name in ("cifar10", "imagefolder:pets"):
        made = recipe_for("resnet20", name)
        assert (made.optimizer, made.nesterov, made.weight_decay) == ("sgd", True, 5e-4)
        assert (made.schedule, made.batch_size, made.shift, made.flip) == ("onecycle", 128, 4, True)


def test_options_go_before_the_data_before_the_model():
    assert recipe_for("lenet5", "mnist").epochs == 12
    assert recipe_for("lenet5", "digits").batch_size == 32
    assert recipe_for("lenet5", "digits", batch_size=7).batch_size == 7


@pytest.mark.parametrize("name", ["resnet20", "resnet110", "resnet20-preact", "resnet110-preact"])
def test_residual_networks_have_a_recipe(name):
    made = recipe_for(name, "cifar10")
    assert (made.epochs, made.optimizer, made.lr, made.nesterov) == (26, "sgd", 0.2, True)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_of_another_optimizer_the_defaults_of_the_first_are_left_out(optimizer):
    made = recipe_for("resnet20", "cifar10", optimizer=optimizer)
    assert (made.optimizer, made.nesterov, made.lr) == (optimizer, None, 1e-3)
    assert (made.epochs, made.batch_size, made.flip) == (26, 128, True)
    assert recipe_for("resnet20", "cifar10", optimizer=optimizer, lr=0.5).lr == 0.5
    assert recipe_for("resnet20", "cifar10", optimizer="sgd").lr == 0.2
    assert recipe_for("lenet5", "mnist", optimizer="sgd").lr == 0.05
    assert recipe_for("lenet5", "mnist", optimizer="adamw").lr == 4e-3
    with pytest.raises(ValueError, match="nesterov is only used with the optimizer sgd"):
        recipe_for("resnet20", "cifar10", optimizer=optimizer, nesterov=True)
    with pytest.raises(ValueError, match="optimizer must be one of sgd, adam, adamw, got 'lion'"):
        recipe_for("resnet20", "cifar10", optimizer="lion")

"""Solutions of lesson 6: deep networks and the residual."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed
from minicnn import models, nn


def exercise_1() -> None:
    """The first loss is about log 10, and the line is flat within a stage: each block begins as the
    identity, so backward hands on the gradient that it is given.
    """
    lesson = changed(6, until="## Experiment 2")
    classes = len(lesson["train"].classes)
    model = models.cifar_resnet(
        56, classes, in_channels=1, zero_init_residual=True, rng=np.random.default_rng(0)
    )
    norms = lesson["gradient_norms"](model)
    x, labels = lesson["images"], lesson["labels"]
    loss, _ = lesson["loss_function"].forward(model.forward(x, training=True)[0], labels)
    course.claim("the first loss is about log 10", abs(loss - np.log(10)) < 0.3, f"{loss:.2f}")
    stage = norms[:9]  # the blocks of one stage keep the shape
    course.claim("the line is flat", max(stage) / min(stage) < 1.0001, np.round(stage, 4))


def exercise_2() -> None:
    """By 1.03 in place of 1.18. Without ReLU there is hardly a mean that batch norm subtracts, so
    it does not scale up what is left.
    """
    lesson = changed(6, until="## Experiment 2")
    model = lesson["network"](56, "plain")
    for stage in (model.layer1, model.layer2, model.layer3):
        for name, block in list(stage.named_children()):
            rest = [layer for layer in block if not isinstance(layer, nn.ReLU)]
            setattr(stage, name, nn.Sequential(*rest))
    norms = lesson["gradient_norms"](model)
    growth = (norms[0] / norms[-1]) ** (1 / lesson["layers"])
    course.claim("it grows by about 1.03", 1.0 < growth < 1.08, f"{growth:.3f}")
    course.claim("that is less than with ReLU", growth < lesson["growth"] - 0.08, lesson["growth"])


def exercise_3() -> None:
    """It rises while the loss is still high: so far the network has learnt to be one that can
    learn. (Here 20 layers and 30 steps, which take seconds; take more of both.)
    """
    lesson = changed(
        6,
        {
            "steps = 30 if options.quick": "steps = 1 if options.quick",
            "depths = (8, 56) if": "depths = (8,) if",
        },
        without=("## Experiment 1:",),
    )
    fresh = lesson["network"](20, "plain")
    trained = lesson["network"](20, "plain")
    lesson["learn"](trained, 30)
    before, after = lesson["alignment"](fresh), lesson["alignment"](trained)
    course.claim("neighbouring gradients agree more", after > before, f"{before:.2f}, {after:.2f}")

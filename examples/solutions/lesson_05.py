"""Solutions of lesson 5: LeNet-5 on digits."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed


def exercise_1() -> None:
    """On the digits nothing is lost. A good accuracy does not prove that every layer has learnt:
    the later layers read whatever the first layer gives them.
    """
    frozen = "loss_function = nn.CrossEntropyLoss(label_smoothing=smoothing)"
    lesson = changed(5, {frozen: f"model.conv1.freeze()\n{frozen}"}, until="## What it sees")
    same = np.array_equal(lesson["drawn"], lesson["model"].conv1.weight.data)
    course.claim("the first layer did not change", same)
    course.claim("little is lost", lesson["result"] > 0.93, f"{lesson['result']:.1%}")


def exercise_2() -> None:
    """Convolutions move with the image, and the linear layers do not: without augmentation only
    about half of the shifted digits are right. With it the network has seen shifted digits.
    """
    shifted = "_, logits = evaluate(test)"
    moved = (
        "test = data.Dataset(test.name, np.roll(test.images, 4, axis=2), test.labels, test.classes)"
    )
    without = changed(5, {shifted: f"{moved}\n{shifted}"}, until="## What it sees")
    augment = "shuffle=True, seed=0)\nprint"
    learnt = changed(
        5,
        {
            shifted: f"{moved}\n{shifted}",
            augment: "shuffle=True, seed=0, augment=data.Augment(shift=4))\nprint",
            "epochs = epochs // 3 if quick else epochs": "epochs = 8",
        },
        until="## What it sees",
    )
    course.claim("shifted digits are hard", without["result"] < 0.8, f"{without['result']:.1%}")
    course.claim("augmentation helps", learnt["result"] > 0.9, f"{learnt['result']:.1%}")


def exercise_3() -> None:
    """It descends along the sum of all gradients so far, however old they are. It does not get far:
    on the digits below 30 %.
    """
    line = "        optimizer.zero_grad()\n"
    lesson = changed(5, {line: ""}, until="## What it sees")
    course.claim("it does not learn", lesson["result"] < 0.5, f"{lesson['result']:.1%}")

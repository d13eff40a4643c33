"""Solutions of lesson 9: transfer learning."""

from __future__ import annotations

import copy
from functools import cache

import course
import numpy as np

from examples.solutions import changed
from minicnn import nn, optim

COMPETITORS = {"for i, size in enumerate(sizes):\n    for seed": "for i, size in ():\n    for seed"}


@cache
def _prepared() -> dict:
    """Return the lesson's variables up to its competitors, without their training."""
    return changed(9, COMPETITORS, until="## What came out")


def _accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    return float((model(images).argmax(axis=1) == labels).mean())


def exercise_1() -> None:
    """The accuracy is the same up to rounding, because the frozen layers give the same numbers in
    every step. A step is several times faster: the two convolutions do most of the work. How many
    times depends on the machine, so it is printed.
    """
    lesson = _prepared()
    rng = np.random.default_rng(0)
    model = lesson["competitor"](lesson["knowing"], 2, True, rng)
    (images, labels), (test, truth) = lesson["draw"](100, rng), lesson["new_test"]
    layers = list(copy.deepcopy(model))  # an equal competitor
    front, rest = nn.Sequential(*layers[:6]), nn.Sequential(*layers[6:])
    features = front(images)

    loss_function = nn.CrossEntropyLoss()
    optimizers = {
        network: optim.Adam([p for p in network.parameters() if p.trainable], lr=2e-3)
        for network in (model, rest)
    }

    def step(network: nn.Module, x: np.ndarray) -> None:
        optimizers[network].zero_grad()
        logits, cache = network.forward(x, training=True)
        _, loss_cache = loss_function.forward(logits, labels)
        network.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizers[network].step()

    for _ in range(60):
        step(model, images)
        step(rest, features)
    whole, cached = _accuracy(model, test, truth), _accuracy(rest, front(test), truth)
    course.claim("the accuracy is the same", abs(whole - cached) < 0.01, (whole, cached))
    times = course.seconds(
        {"all": lambda: step(model, images), "rest": lambda: step(rest, features)}
    )
    print(f"a step is {times['all'] / times['rest']:.1f} times faster")


def exercise_2() -> None:
    """Around half of 0 to 4 is forgotten when all layers learn. Nothing is forgotten with four
    frozen layers: with the old fc3 the network is the old one.
    """
    lesson = _prepared()
    knowing, (test, truth) = lesson["knowing"], lesson["old_test"]
    before = _accuracy(knowing, test, truth)
    left = {}
    for frozen in (False, True):
        model = lesson["competitor"](knowing, 4, frozen, np.random.default_rng(0))
        lesson["learn"](model, lesson["new_train"], 120, np.random.default_rng(0))
        model.fc3.weight.data[...] = knowing.fc3.weight.data
        model.fc3.bias.data[...] = knowing.fc3.bias.data
        left[frozen] = _accuracy(model, test, truth)
    course.claim("all layers: a good part is forgotten", left[False] < before - 0.1, left)
    course.claim("four frozen layers: nothing is forgotten", left[True] == before, left)


def exercise_3() -> None:
    """The lead is smaller: 0 to 4 are easier, so a network that starts from scratch learns them
    better from ten images than it learns 5 to 9.
    """
    lesson = _prepared()
    scratch = {}
    for task in ("old", "new"):  # 0 to 4, and 5 to 9
        results = []
        (images, labels), (test, truth) = lesson[f"{task}_train"], lesson[f"{task}_test"]
        for seed in range(3):
            rng = np.random.default_rng(seed)
            pairs = [rng.choice(np.flatnonzero(labels == k), 2, replace=False) for k in range(5)]
            ten = np.concatenate(pairs)
            model = lesson["competitor"](lesson["knowing"], 0, False, rng)
            lesson["learn"](model, (images[ten], labels[ten]), 120, rng)
            results.append(_accuracy(model, test, truth))
        scratch[task] = float(np.mean(results))
    course.claim("from scratch, 0 to 4 are easier", scratch["old"] > scratch["new"], scratch)

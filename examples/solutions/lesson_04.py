"""Solutions of lesson 4: cross-entropy."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed
from minicnn.ops import cross_entropy


def exercise_1() -> None:
    """-KL(p, q) is the sum of p log(q/p). With log x <= x - 1 this is at most the sum of
    p (q/p - 1) = sum of q - sum of p = 0. So KL is at least 0, and 0 only where q = p.
    """
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), (2, 1000))
    kl = (p * np.log(p / q)).sum(axis=1)
    course.claim("KL is never negative", kl.min() >= 0, kl.min())


def exercise_2() -> None:
    """Smoothing of 0.1 spreads over all 1000 classes: the target is 0.9001 for the right class and
    0.0001 for each of the others. The best gap is log(0.9001 / 0.0001) = 9.11.
    """
    gap = np.log(0.9001 / 0.0001)
    logits = np.zeros((1, 1000))
    logits[0, 0] = gap
    _, cache = cross_entropy.forward(logits, np.array([0]), label_smoothing=0.1)
    slope = np.abs(cross_entropy.backward(1.0, cache)).max()
    course.claim("the gap is 9.11", round(float(gap), 2) == 9.11, gap)
    course.claim("the gradient is 0 there", slope < 1e-12, slope)


def exercise_3() -> None:
    """Cross-entropy, above 85 % with all three rates. The others stay below 50 %: three times
    surer, the gradient of a believed lie is smaller by a power of three.
    """
    few = {"train.labels, 200, lr) for lr in (0.3, 1, 3)": "train.labels, 2, lr) for lr in (1,)"}
    lesson = changed(4, few, until="## First trick", without=("## Entropy",))
    ends: dict[str, list[float]] = {}
    for loss in ("absolute", "squared", "cross-entropy"):
        rates = (0.3, 1, 3) if loss == "cross-entropy" else (3,)
        for lr in rates:
            weight, labels = 3 * lesson["misled"], lesson["train"].labels
            _, accuracy = lesson["unlearn"](loss, weight, labels, 200, lr)
            ends.setdefault(loss, []).append(accuracy[-1])
    course.claim("cross-entropy gets there", min(ends["cross-entropy"]) > 0.85, ends)
    others = max(*ends["absolute"], *ends["squared"])
    course.claim("the others do not", others < 0.7, ends)

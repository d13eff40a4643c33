"""Losses: what exp and log do to large and to small numbers, and how often one divides."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from examples.bug_zoo.animal import Animal
from minicnn.testing import causes
from minicnn.testing import strategies as mst


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p, p


def softmax_backward(dy, p):
    return p * (dy - (dy * p).sum(axis=1, keepdims=True))


def softmax_without_the_maximum(x):
    e = np.exp(x)
    p = e / e.sum(axis=1, keepdims=True)
    return p, p


def normaliser_as_a_constant(dy, p):
    return p * dy


def cross_entropy(logits, target):
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    rows = np.arange(len(target))
    return -log_p[rows, target].mean(), (np.exp(log_p), target)


def cross_entropy_backward(dy, cache):
    p, target = cache
    one_hot = np.arange(p.shape[1]) == target[:, None]
    return dy * (p - one_hot) / len(target)


def log_of_p_plus_eps(logits, target):
    p, _ = softmax(logits)
    rows = np.arange(len(target))
    return -np.log(p[rows, target] + 1e-12).mean(dtype=p.dtype), (p, target)


def averaged_twice(dy, cache):
    return cross_entropy_backward(dy, cache) / len(cache[1])


def upstream_ignored(dy, cache):
    p, target = cache
    one_hot = np.arange(p.shape[1]) == target[:, None]
    return ((p - one_hot) / len(target)).astype(p.dtype)


@st.composite
def logits(draw: st.DrawFn, scale: float = 1.0) -> np.ndarray:
    n, classes = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    return scale * draw(mst.digits())(n, classes)


@st.composite
def logits_and_targets(draw: st.DrawFn, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    x = draw(logits(scale))
    n, classes = x.shape
    return x, np.array([draw(st.integers(0, classes - 1)) for _ in range(n)])


LOSS = (cross_entropy, cross_entropy_backward)

ANIMALS = [
    Animal(
        "softmax without the row maximum",
        "This is the formula of the textbook. It is right until a logit reaches 710, or 89 in "
        "float32. Then exp is infinite, and infinity divided by infinity is not a number.",
        (softmax, softmax_backward), (softmax_without_the_maximum, softmax_backward),
        logits(scale=1000.0), causes.OVERFLOW,
    ),
    Animal(
        "normaliser treated as a constant",
        "exp is its own derivative, so dx = p * dy looks complete. But the sum in the "
        "denominator changes with every logit.",
        (softmax, softmax_backward), (softmax, normaliser_as_a_constant), logits(),
        "a mean, a maximum or a normaliser",
    ),
    Animal(
        "log(p + eps)",
        "The eps keeps log from infinity when p is 0. It also makes the loss flat there, "
        "where the network is most wrong. Forward no longer changes, but backward still gives "
        "p - onehot.",
        LOSS, (log_of_p_plus_eps, cross_entropy_backward), logits_and_targets(scale=100.0),
        causes.FLAT,
    ),
    Animal(
        "cross-entropy averaged twice",
        "The loss is a mean, so backward divides by n. Then the trainer, or the layer below, "
        "divides by n again. Training still works, with a learning rate n times smaller than "
        "the chosen one.",
        LOSS, (cross_entropy, averaged_twice), logits_and_targets(),
        "1 / (the size of axis 0 of logits)",
    ),
    Animal(
        "upstream gradient ignored",
        "A loss comes last, so its dy is 1, and multiplying by it seems unnecessary. Then "
        "someone scales the loss, or adds another one to it.",
        LOSS, (cross_entropy, upstream_ignored), logits_and_targets(), causes.UPSTREAM_IGNORED,
    ),
]  # fmt: skip

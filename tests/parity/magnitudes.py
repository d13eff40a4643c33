"""What errors are relative to.

An error is a difference divided by a magnitude. Of a sum that is the sum of the magnitudes of its
terms, element by element, so that an element without terms has to be exactly right. Of functions
linear in each argument, and of those made of straight lines, torch tells it, when it is asked with
the magnitudes of all numbers; for gradients of other functions the formulas stand here. For the
rest it is the greatest magnitude in the array.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from minicnn.testing.strategies import Call
from tests import oracle
from tests.arrays import MULTILINEAR

Arrays = dict[str, np.ndarray | None]

STRAIGHT = {"dropout", "leaky_relu", "max_pool2d", "relu"}  # functions made of straight lines


def named(y: np.ndarray, gradients: tuple[np.ndarray | None, ...]) -> Arrays:
    return {"y": y} | dict(zip(("dx", "dweight", "dbias"), gradients, strict=False))


def magnitudes(call: Call, dy: np.ndarray, expected: Arrays) -> Arrays:
    """Return what the errors of each result are relative to."""
    sizes: Arrays = {
        name: None if a is None else np.full(a.shape, np.abs(a[np.isfinite(a)]).max(initial=0))
        for name, a in expected.items()
    }
    if call.name in MULTILINEAR | STRAIGHT:
        arrays = [
            np.abs(a, out=np.empty_like(a)) if a is not None and a.dtype.kind == "f" else a
            for a in call.arrays
        ]
        y, _, gradients = oracle.value_and_gradients(
            oracle.function_of(call),
            arrays if call.name in MULTILINEAR else call.arrays,
            lambda shape: np.abs(dy, out=np.empty_like(dy)),
            call.differentiable,
        )
        sizes |= {k: None if a is None else np.abs(a) for k, a in named(y, gradients).items()}
    elif call.name == "batch_norm":
        sizes |= of_batch_norm(dy, *call.arrays, **call.options)
    elif call.name == "cross_entropy":
        sizes["dx"] = of_cross_entropy(dy, *call.arrays, **call.options)
    elif call.name in CURVED:
        sizes["dx"] = CURVED[call.name](expected["y"], np.abs(dy), **call.options)
    return sizes


CURVED: dict[str, Callable[..., np.ndarray]] = {
    "sigmoid": lambda y, dy: dy * y + dy * y * y,
    "tanh": lambda y, dy: dy + dy * y * y,
    "softmax": lambda y, dy, dim: y * dy + y * (y * dy).sum(dim, keepdims=True),
    "log_softmax": lambda y, dy, dim: dy + np.exp(y) * dy.sum(dim, keepdims=True),
}


def of_batch_norm(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    mean: np.ndarray | None,
    var: np.ndarray | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Arrays:
    """Return the formulas of batch normalisation with the magnitudes of all their terms."""
    axes, dy = (0, *range(2, x.ndim)), np.abs(dy)

    def along(v: np.ndarray | float) -> np.ndarray:
        return np.reshape(v, (-1, *[1] * (x.ndim - 2)))

    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        if training:
            means, variances = np.abs(x).mean(axes), x.var(axes)
        else:
            means, variances = np.abs(mean), var
        s = 1 / np.sqrt(variances + eps)
        xhat = (np.abs(x) + along(means)) * along(s)
        w = np.abs(1.0 if weight is None else weight)
        pulls = dy.mean(axes), (dy * xhat).mean(axes)
        moved = along(pulls[0]) + xhat * along(pulls[1]) if training else 0
        sizes = {
            "y": along(w) * xhat + along(np.abs(0.0 if bias is None else bias)),
            "dx": along(w * s) * (dy + moved),
            "dweight": (dy * xhat).sum(axes),
            "dbias": dy.sum(axes),
        }
        if mean is not None:
            kept = abs(1 - momentum)
            sizes["running_mean"] = kept * np.abs(mean) + abs(momentum) * means
            sizes["running_var"] = kept * var + 2 * abs(momentum) * variances
    return sizes


def of_cross_entropy(
    dy: np.ndarray,
    logits: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Return the magnitudes of dy * (p * sum(q) + q), where q are the weights of the targets."""
    classes = logits.shape[1]
    weights = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        chosen, counts, total = np.moveaxis(target, 1, -1), True, logits.size / classes
    else:
        chosen = target[..., None] == np.arange(classes)
        counts = (target != ignore_index)[..., None]
        total = (chosen * counts * weights).sum()
    q = ((1 - label_smoothing) * chosen + label_smoothing / classes) * weights * counts
    pull = np.abs(dy if reduction == "none" else np.broadcast_to(dy, q.shape[:-1]))
    with np.errstate(all="ignore"):
        pull = pull / total if reduction == "mean" else pull
        p = np.exp(np.moveaxis(logits, 1, -1))
        p /= p.sum(-1, keepdims=True)
        return np.moveaxis(pull[..., None] * (p * q.sum(-1, keepdims=True) + q), -1, 1)

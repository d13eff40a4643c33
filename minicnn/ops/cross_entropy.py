"""Cross-entropy between target distributions and softmax(logits).

Shapes
    logits, dlogits  (n, classes, ...)
    target           (n, ...) integers, or (n, classes, ...) probabilities
    weight           (classes,) or None
    y, dy            (), or (n, ...) with reduction="none"
Derivation
    Every option is a choice of the target weights q_k of a sample. With e = label_smoothing and K
    classes,

        class t        q_k = weight_k * ((1 - e) * [k = t] + e / K),   0 if t is ignore_index
        probability p  q_k = weight_k * ((1 - e) * p_k     + e / K)

    Then, with log p_k = z_k - log(sum_m exp(z_m)) from the logits z,

        y    = -sum_k q_k * log p_k
        dz_m = dy * (p_m * sum_k q_k - q_m),   since d(log p_k)/dz_m = [k = m] - p_m

    which for a class without further options is the well-known p - onehot(t). "mean" divides by the
    sum of weight[t] over the samples that count, for probabilities by the number of samples.
Conventions
    The greatest logit is subtracted before exp, so that nothing overflows; q_k = 0 counts nothing
    even where log p_k is -inf. If no sample counts, the mean is 0/0 = NaN and the gradient 0, as in
    torch; so it is where those that count all weigh 0, and there torch's gradient is NaN. The
    target is data: it has no gradient.
Source
    Szegedy et al. (2016), Rethinking the Inception architecture (label smoothing).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from minicnn.backend import IMPLS, Impl, dim_last, kernel
from minicnn.reduction import (
    Reduction,
    check_classes,
    check_reduction,
    class_weights,
    not_classes,
    reduce,
    spread,
)
from minicnn.shapes import ShapeError, check_choice, check_float


class Cache(NamedTuple):
    log_p: np.ndarray  # (n, ..., classes)
    q: np.ndarray  # (n, ..., classes)
    total: float
    reduction: Reduction


def forward(
    logits: Float[np.ndarray, "n classes *spatial"],
    target: Integer[np.ndarray, "n *spatial"] | Float[np.ndarray, "n classes *spatial"],
    weight: Float[np.ndarray, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    *,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "*loss"], Cache]:
    """Return ``(y, cache)``. Raises ValueError naming the first target that is no class."""
    check_choice("cross_entropy", "impl", impl, IMPLS)
    check_reduction("cross_entropy", reduction)
    check_float("cross_entropy", logits=logits, weight=weight)
    if logits.ndim < 2 or not logits.shape[1]:
        raise ShapeError(
            f"cross_entropy: logits must have shape (n, classes, ...), got {logits.shape}."
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}."
        )
    q, total = _target_weights(logits, target, weight, ignore_index, label_smoothing)
    if impl == "textbook":
        z = np.moveaxis(logits, 1, -1)
        z = z - z.max(axis=-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        with np.errstate(invalid="ignore"):  # 0 * inf, which np.where leaves out
            losses = -np.where(q == 0, 0, q * log_p).sum(axis=-1)
    else:
        log_p, losses = np.empty_like(q), np.empty(q.shape[:-1], q.dtype)
        z = dim_last(logits, 1)
        k = z.shape[-1]
        _forward(z.reshape(-1, k), q.reshape(-1, k), log_p.reshape(-1, k), losses.reshape(-1))
    return reduce(losses, total, reduction), Cache(log_p, q, total, reduction)


def backward(
    dy: Float[np.ndarray, "*loss"] | float, cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "n classes *spatial"]:
    """Return ``dlogits``. For a reduced loss, ``dy`` is a number, usually 1.0."""
    check_choice("cross_entropy", "impl", impl, IMPLS)
    log_p, q, total, reduction = cache
    grad = spread("cross_entropy", dy, q.shape[:-1], q.dtype, total, reduction)
    if impl == "textbook":
        dz = grad[..., None] * (np.exp(log_p) * q.sum(axis=-1, keepdims=True) - q)
    else:
        dz, k = np.empty_like(q), q.shape[-1]
        grad = np.require(grad, requirements=["C", "W"]).reshape(-1)
        _backward(grad, log_p.reshape(-1, k), q.reshape(-1, k), dz.reshape(-1, k))
    return np.moveaxis(dz, -1, 1)


def _target_weights(
    logits: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    ignore_index: int,
    smoothing: float,
) -> tuple[np.ndarray, float]:
    """Return q (n, ..., classes) and the total that "mean" divides by."""
    op, dtype = "cross_entropy", logits.dtype
    classes, shape = logits.shape[1], (logits.shape[0], *logits.shape[2:])
    weights = class_weights(op, weight, classes, dtype)
    if isinstance(target, np.ndarray) and target.dtype.kind == "f":
        if target.shape == shape or target.ndim < logits.ndim:
            raise not_classes(op, target)
        check_float(op, logits=logits, target=target)
        if target.shape != logits.shape:
            raise ShapeError(
                f"{op}: target probabilities have shape {target.shape} where that of the logits, "
                f"{logits.shape}, is needed."
            )
        if ignore_index >= 0:
            raise ValueError(
                f"{op}: ignore_index={ignore_index} needs targets of classes, "
                "but these are probabilities."
            )
        q = np.moveaxis(target, 1, -1) * dtype.type(1 - smoothing)
        counts, total = np.ones(shape, bool), float(np.prod(shape))
    else:
        counts = check_classes(op, target, shape, classes, ignore_index)
        classes_that_count = np.where(counts, target, 0)
        q = np.zeros((*shape, classes), dtype)
        rows = q.reshape(-1, classes)
        rows[np.arange(len(rows)), classes_that_count.reshape(-1)] = 1 - smoothing
        total = float(np.where(counts, weights[classes_that_count], 0).sum())
    q = (q + dtype.type(smoothing / classes)) * weights
    q[~counts] = 0
    return np.ascontiguousarray(q), total


# On one thread: logits are few, and another thread would take longer to wake than to help.
@kernel(reorder=False)
def _forward(z, q, log_p, losses):
    for n in range(z.shape[0]):
        row, target, out = z[n], q[n], log_p[n]
        top = row[0]
        for k in range(row.size):
            top = max(top, row[k])
        total = z.dtype.type(0)
        for k in range(row.size):
            out[k] = row[k] - top
            total += math.exp(out[k])
        log_total = math.log(total)
        loss = z.dtype.type(0)
        for k in range(row.size):
            out[k] -= log_total
            if target[k] != 0:
                loss -= target[k] * out[k]
        losses[n] = loss


@kernel(reorder=False)
def _backward(grad, log_p, q, dz):
    for n in range(dz.shape[0]):
        row, target, out = log_p[n], q[n], dz[n]
        mass = q.dtype.type(0)
        for k in range(target.size):
            mass += target[k]
        for k in range(out.size):
            out[k] = grad[n] * (math.exp(row[k]) * mass - target[k])

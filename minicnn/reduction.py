"""What losses share: class targets, class weights, and what becomes of the losses of samples.

With ``reduction="none"`` the losses are returned as they are, with ``"sum"`` added, with
``"mean"`` added and divided by the sum of the samples' weights.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from minicnn.shapes import ShapeError, check_choice, check_shape

Reduction = Literal["mean", "sum", "none"]


def class_weights(op: str, weight: np.ndarray | None, classes: int, dtype: np.dtype) -> np.ndarray:
    """Return ``weight`` after a check, or ones."""
    if weight is None:
        return np.ones(classes, dtype)
    check_shape(op, "weight", weight, "classes", classes)
    return weight


def not_classes(op: str, target: object) -> TypeError:
    """Return the error for a target that should be the numbers of classes, and is not."""
    got = target.dtype if isinstance(target, np.ndarray) else type(target).__name__
    remedy = "Use np.asarray(target, dtype=np.int64)."
    if isinstance(target, np.ndarray) and target.dtype.kind in "US":
        remedy = "Number the classes: np.unique(target, return_inverse=True)[1]."
    return TypeError(
        f"{op}: target must be an integer array of classes (labels are integers), got {got}. "
        f"{remedy}"
    )


def check_classes(
    op: str, target: np.ndarray, shape: tuple[int, ...], classes: int, ignore_index: int
) -> np.ndarray:
    """Return which targets count; raise unless each is ``ignore_index`` or a class."""
    if not isinstance(target, np.ndarray) or target.dtype.kind not in "iu":
        raise not_classes(op, target)
    if target.shape != shape:
        remedy = ""
        if target.shape == (shape[0], classes, *shape[1:]):
            remedy = " It looks one-hot: use target.argmax(axis=1)."
        elif target.size == math.prod(shape):
            remedy = f" Use target.reshape({shape})."
        raise ShapeError(
            f"{op}: target has shape {target.shape} where {shape} is needed: "
            f"that of the input without its class axis.{remedy}"
        )
    counts = target != ignore_index
    wrong = counts & ((target < 0) | (target >= classes))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{op}: target {target[where]} at index {where} is not a class: there are {classes}, "
            f"0 to {classes - 1}. Correct the label, or leave it out with "
            f"ignore_index={target[where]}."
        )
    return counts


def reduce(losses: np.ndarray, total: float, reduction: Reduction) -> np.ndarray:
    """Return the losses, their sum, or their sum over ``total``, as an array of the same dtype."""
    if reduction == "none":
        return losses
    y = losses.sum()
    if reduction == "mean":
        y = y / losses.dtype.type(total) if total else np.nan  # nothing counts: 0/0, as in torch
    return np.asarray(y, losses.dtype)


def spread(
    op: str,
    dy: np.ndarray | float,
    shape: tuple[int, ...],
    dtype: np.dtype,
    total: float,
    reduction: Reduction,
) -> np.ndarray:
    """Return the gradient with respect to the losses: the transpose of ``reduce``."""
    dy = np.asarray(dy, dtype)
    expected = shape if reduction == "none" else ()
    if dy.shape != expected:
        raise ShapeError(
            f"{op}: dy must have the shape of the loss, {expected} for reduction={reduction!r}, "
            f"got {dy.shape}."
        )
    if reduction == "mean":
        dy = dy / dtype.type(total) if total else np.zeros((), dtype)
    return np.broadcast_to(dy, shape)


def check_reduction(op: str, reduction: str) -> None:
    check_choice(op, "reduction", reduction, ("mean", "sum", "none"))

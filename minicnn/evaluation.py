"""Scores of a trained network: loss, accuracy, top-k, confusions; and where NaN appears."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn import checkpoint, data
from minicnn.backend import Impl
from minicnn.fused.inference import Inference
from minicnn.nn import Module, Sequential
from minicnn.ops import cross_entropy
from minicnn.pace import Pace

EVALUATION_BATCH = 500
TOP_K = 5


class Scores(NamedTuple):
    """The scores of a model on a data set."""

    loss: float
    accuracy: float
    top_k: float  # part of the images whose class is among the TOP_K most probable
    predictions: np.ndarray  # (n,) classes


def evaluate(
    model: Module,
    dataset: data.Dataset,
    normalization: data.Normalization,
    *,
    impl: Impl = "fast",
    pace: Pace | None = None,
) -> Scores:
    """Return the scores of ``model`` on ``dataset``. Raises ValueError for weights with NaN.

    ``pace`` has measured earlier evaluations, and chooses the number of threads.
    """
    if not isinstance(model, Inference):  # it hides its parameters; load_model has checked them
        _check_weights(model)
    loader = data.Loader(dataset, EVALUATION_BATCH, normalization=normalization)
    losses, hits, predictions = 0.0, 0, []
    with pace or Pace() as pace:
        for x, target in loader.batches():
            logits = model(x)
            losses += float(cross_entropy.forward(logits, target, reduction="sum", impl=impl)[0])
            # Where logits are equal, the lower class comes first, as in argmax.
            own = np.take_along_axis(logits, target[:, None], axis=1)
            before = np.arange(logits.shape[1]) < target[:, None]
            rank = ((logits > own) | ((logits == own) & before)).sum(axis=1)
            hits += int((rank < TOP_K).sum())
            predictions.append(logits.argmax(axis=1))
            pace.lap(len(target))
    predicted = np.concatenate(predictions)
    n = len(dataset)
    return Scores(losses / n, float((predicted == dataset.labels).mean()), hits / n, predicted)


def _check_weights(model: Module) -> None:
    name = checkpoint.first_nonfinite(model.state_dict().items())  # running statistics too
    if name is not None:
        raise ValueError(
            f"evaluate: {name} holds numbers that are not finite, so there is nothing to score. "
            "Load other weights, or train anew with a lower learning rate."
        )


def first_nonfinite(model: Module, x: np.ndarray) -> str:
    """Return where in a forward pass the first number that is not finite appears."""
    if not np.isfinite(x).all():
        return "the input"
    return _first_nonfinite(model, x, "") or "the loss"


def _first_nonfinite(model: Module, x: np.ndarray, path: str) -> str:
    if isinstance(model, Sequential):
        for name, child in model.named_children():
            found = _first_nonfinite(child, x, f"{path}.{name}" if path else name)
            if found:
                return found
            x = child.forward(x, training=True)[0]
        return ""
    for name, param in model.named_parameters():
        if not np.isfinite(param.data).all():
            return f"{name} of layer {path or type(model).__name__}"
    with np.errstate(all="ignore"):
        y = model.forward(x, training=True)[0]
    return "" if np.isfinite(y).all() else f"the output of layer {path or type(model).__name__}"


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return (classes, classes) counts: a row for each true class, a column for each predicted."""
    pairs = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.reshape(classes, classes)

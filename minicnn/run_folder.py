"""The folder that a run leaves: how it is made, and what is written into it at the end.

``minicnn.train`` says which files there are.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minicnn import checkpoint, schemas
from minicnn.checkpoint import CheckpointError
from minicnn.evaluation import TOP_K, Scores, confusion_matrix

History = list[dict[str, float]]  # one row of metrics an epoch


class TrainError(Exception):
    """A run that cannot begin or go on; the message says where it stopped and what to do."""


def folder_name(model: str, data: str) -> str:
    """Return what a run's folder is called."""
    kind, _, path = data.partition(":")
    made = model.rpartition(":")[2].partition("(")[0]  # Net of net.py:Net(width=8)
    model = made if made.isidentifier() else "network" if ":" in model else model
    return f"{model}-{Path(path).name.removesuffix('.zip') if path else kind}"


def make(folder: Path, numbered: bool) -> Path:
    """Make the folder and return it; with ``numbered``, folder-2, folder-3, ... if it exists.

    Of two runs that ask at once, each gets its own number. Raises TrainError where it cannot be
    made.
    """
    try:
        return _make(folder, numbered)
    except OSError as error:
        raise TrainError(
            f"{folder}: cannot be made ({error.strerror}). Choose another folder with --out."
        ) from error


def _make(folder: Path, numbered: bool) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    made, number = folder, 1
    while True:
        try:
            made.mkdir(exist_ok=not numbered)
            return made
        except FileExistsError:
            if not numbered:
                raise
            number += 1
            made = folder.with_name(f"{folder.name}-{number}")


def best(history: History) -> dict[str, float]:
    """Return the epoch with the best validation: the highest accuracy, then the lowest loss."""
    return max(history, key=lambda row: (row["validation_accuracy"], -_loss(row)))


def best_weights(folder: Path, expected: int | None = None) -> dict[str, np.ndarray]:
    """Return the weights of the best epoch, whose number is ``expected`` where that is known.

    Raises CheckpointError where the folder holds those of another epoch, or none that are whole.
    """
    path = folder / "model.safetensors"
    tensors, note = checkpoint.load(path, finite=True)
    epoch = schemas.check(path, note, schemas.Best).epoch
    if expected is not None and epoch != expected:
        raise CheckpointError(
            f"{path}: epoch: these are the weights of epoch {epoch}, and the best of this run is "
            f"epoch {expected}; something else has written there. Put the file of this run back, "
            "or train anew."
        )
    return tensors


def _loss(row: dict[str, float]) -> float:
    loss = row["validation_loss"]
    return math.inf if math.isnan(loss) else loss


def metrics(
    epoch: int,
    train: tuple[float, int, int],
    validation: Scores,
    rate: float,
    seconds: float,
) -> dict[str, float]:
    """Return the row of an epoch; ``train`` is (sum of losses, right answers, images)."""
    loss_sum, correct, images = train
    return {
        "epoch": epoch,
        "train_loss": loss_sum / images,
        "train_accuracy": correct / images,
        "validation_loss": validation.loss,
        "validation_accuracy": validation.accuracy,
        f"validation_top{TOP_K}": validation.top_k,
        "learning_rate": rate,
        "images_per_second": images / seconds,
        "seconds": seconds,
    }


def write_metrics(folder: Path, history: History) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    checkpoint.write_whole(folder / "metrics.csv", text.getvalue().encode())


def write_outcome(
    folder: Path,
    history: History,
    scores: Scores,
    labels: np.ndarray,
    classes: Sequence[str],
    kernels: np.ndarray | None,
    label_smoothing: float,
) -> None:
    """Leave the result on the test images, whose ``labels`` these are, and the pictures.

    ``kernels`` are the weights (o, c, kh, kw) of the first convolution, if there is one.
    ``label_smoothing`` is that of the training loss.
    """
    from minicnn import viz

    checkpoint.write_json(
        folder / "result.json",
        {
            "epoch": best(history)["epoch"],
            "test_images": len(labels),
            "test_loss": scores.loss,
            "test_accuracy": scores.accuracy,
            f"test_top{TOP_K}": scores.top_k,
        },
    )
    columns = {name: [row[name] for row in history] for name in history[0]}
    figures = {"curves.png": viz.curves(columns, label_smoothing=label_smoothing)}
    matrix = confusion_matrix(labels, scores.predictions, len(classes))
    figures["confusion.png"] = viz.confusion(matrix, classes)
    if kernels is not None:
        figures["filters.png"] = viz.filters(kernels)
    for name, figure in figures.items():
        viz.save(figure, folder / name)

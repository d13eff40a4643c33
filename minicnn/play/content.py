"""The data of a run for the page: nodes, weights, some test images, derivations and words."""

from __future__ import annotations

import base64
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import data, schemas
from minicnn.data.prepare import FORMS
from minicnn.fused import fuse
from minicnn.models import own
from minicnn.nn import Module
from minicnn.play.graph import Node, PlayError, build
from minicnn.train import Config
from minicnn.version import __version__

EXAMPLES = 60  # test images that the page holds
MISTAKES = 20  # at most so many of them are mistakes of the network
LOOKED_AT = 2000  # so many test images are searched for mistakes
BATCH = 200

# Modules with the derivation of an operation, if it is not in minicnn.ops.<its name>.
_ELSEWHERE = {
    "add": "minicnn.nn.residual",
    "concat": "minicnn.nn.concat",
    "flatten": "minicnn.nn.flatten",
    "zero_pad_shortcut": "minicnn.nn.residual",
}


def content(
    model: Module, config: Config, test: data.Dataset, folder: Path, accuracy: float | None = None
) -> dict[str, Any]:
    """Return all data of the page, ready for JSON.

    ``test`` are the run's test images. ``accuracy`` is the accuracy on the whole test split, if
    known. Raises PlayError for a network or weights that the page cannot show.
    """
    nodes = build(model, config.image)
    arrays, weights = _arrays(model)
    images = _examples(model, config, test)
    return {
        "version": __version__,
        "model": own.short(config.recipe.model),
        "data": _short(config.recipe.data),
        "form": form_of(config),
        "shorterSide": config.content["data"].get("shorter_side"),
        "folder": folder.resolve().name,
        "accuracy": accuracy,
        "tested": len(test),
        "classes": list(config.classes),
        "image": list(config.image),
        "mean": list(config.normalization.mean),
        "std": list(config.normalization.std),
        "nodes": nodes,
        "arrays": arrays,
        "weights": _base64(weights),
        "examples": images,
        "derivations": _derivations(nodes),
        "words": _words(),
    }


def _arrays(model: Module) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the name and shape of every array of floats, and all numbers in this order."""
    floats = {name: array for name, array in model.state_dict().items() if array.dtype.kind == "f"}
    for name, array in floats.items():
        if not np.isfinite(array).all():
            raise PlayError(
                f"{name} holds NaN or infinity, so the network has no answer. Train anew with a "
                "lower learning rate."
            )
    table = [{"name": name, "shape": list(array.shape)} for name, array in floats.items()]
    numbers = [array.ravel().astype("<f4") for array in floats.values()]
    return table, np.concatenate(numbers) if numbers else np.zeros(0, "<f4")


def _examples(model: Module, config: Config, test: data.Dataset) -> dict[str, Any]:
    """Return sixty test images: the worst mistakes, then images of all classes in turn."""
    some = test.subset(np.arange(min(len(test), LOOKED_AT)))
    network = fuse(model, inference=True)
    outputs = [
        network(data.normalize(some.images[i : i + BATCH], config.normalization))
        for i in range(0, len(some), BATCH)
    ]
    scores = np.concatenate(outputs)
    answers = scores.argmax(axis=1)
    rows = np.arange(len(some))
    margin = scores[rows, answers] - scores[rows, some.labels]  # 0 if the answer is right
    wrong = np.flatnonzero(answers != some.labels)
    mistakes = wrong[np.argsort(-margin[wrong], kind="stable")][:MISTAKES]
    rest = np.setdiff1d(rows, mistakes)
    turn = np.zeros(len(rest), np.int64)  # the number of earlier images of the same class
    for k in range(len(some.classes)):
        of_class = some.labels[rest] == k
        turn[of_class] = np.arange(of_class.sum())
    others = rest[np.lexsort((some.labels[rest], turn))][: EXAMPLES - len(mistakes)]
    chosen = np.concatenate([others, mistakes])
    return {
        "pixels": _base64(some.images[chosen]),
        "labels": some.labels[chosen].tolist(),
        "answers": answers[chosen].tolist(),
        "numbers": chosen.tolist(),
        "lookedAt": len(some),
        "wrong": len(wrong),
    }


def _derivations(nodes: list[Node]) -> dict[str, dict[str, str]]:
    """Return the docstring with the derivation for each operation of the network."""
    derivations = {}
    for op in sorted({node["op"] for node in nodes[1:]} | {"cross_entropy"}):
        module = _ELSEWHERE.get(op, f"minicnn.ops.{op}")
        text = importlib.import_module(module).__doc__ or ""
        derivations[op] = {"module": module, "text": text.strip()}
    return derivations


def _words() -> dict[str, str]:
    """Return the Korean terms of the glossary's words that the page uses."""
    path = Path(__file__).parent / "page" / "words.json"
    return json.loads(path.read_text(encoding="utf-8"))


def form_of(config: Config) -> str | None:
    """Return the data set whose form pictures are prepared in, as for ``predict``."""
    family = config.recipe.data
    return family if family in FORMS and config.image == (1, 28, 28) else None


def _short(data_set: str) -> str:
    """Return the name of a data set without the folders above it."""
    kind, _, path = data_set.partition(":")
    return Path(path).name if path else kind


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def accuracy(folder: Path) -> float | None:
    """Return the accuracy on the test split that a finished run has stored.

    None for a run of another library, which has only weights. Raises PlayError if the run is not
    finished, CheckpointError for a damaged file.
    """
    if not (folder / "result.json").exists():
        if not (folder / "last.safetensors").exists():
            return None
        raise PlayError(
            f"{folder}: this run is not finished. Continue it by: minicnn train --resume {folder}"
        )
    return schemas.read_result(folder).test_accuracy

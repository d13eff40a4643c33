"""``minicnn evaluate``: the scores of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minicnn.commands.options import (
    Help,
    add_data_dir,
    add_own,
    add_zip_encoding,
    path_option,
    some,
)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate", help="score a run's best weights on a data set", formatter_class=Help
    )
    parser.add_argument("folder", type=path_option, metavar="RUN", help="the folder of a run")
    parser.add_argument("--data", metavar="NAME", help="a data set other than the run's own")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which part"
    )
    add_data_dir(parser)
    add_zip_encoding(parser)
    add_own(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn import data, evaluation, fuse, train
    from minicnn.models import own

    model, config = train.load_model(args.folder, args.model)
    name = config.recipe.data if args.data is None else data.whole_name(args.data)
    cut = config.content["data"].get("cut")
    if cut and name == config.recipe.data:
        raise train.TrainError(
            f"{args.folder}: its images were {cut}, which minicnn does not do. Give images that "
            "are cut already by --data, or compare both sides on the run's own images by: python "
            "-m reference.exchange RUN --check"
        )
    c, h, w = config.image
    options: dict[str, Any] = {}
    if name.startswith("imagefolder:"):
        options = {"channels": c, "size": h if h == w else None}
    if name == config.recipe.data:
        options |= {"size": config.recipe.size, "zip_encoding": config.recipe.zip_encoding}
        options["validation"] = config.recipe.validation
    if hasattr(args, "zip_encoding"):
        options["zip_encoding"] = args.zip_encoding
    splits = data.load(name, args.data_dir or config.data_dir, **options)
    for note in splits.train.notes:
        print(note)
    dataset = getattr(splits, args.split)
    if dataset.classes != tuple(config.classes):
        raise train.TrainError(
            f"{name} has the classes {some(dataset.classes)}, the run {args.folder} learned "
            f"{some(config.classes)}. Evaluate it on data of the same classes."
        )
    _check_image(name, dataset.images.shape[1:], args.folder, config.image)
    network = fuse(model, inference=True)
    scores = evaluation.evaluate(network, dataset, config.normalization)
    print(
        f"{own.short(config.recipe.model)} on the {args.split} split of {name}, "
        f"{len(dataset):,} images: accuracy {scores.accuracy:.2%}, top-{evaluation.TOP_K} "
        f"{scores.top_k:.2%}, loss {scores.loss:.4f}"
    )
    worst = _confusions(dataset.labels, scores.predictions, config.classes)
    if worst:
        print(f"most often confused: {worst}")


def _check_image(
    name: str, image: tuple[int, ...], folder: Path, learned: tuple[int, int, int]
) -> None:
    """Raise TrainError if images (h, w, c) differ from those (c, h, w) that a run learned."""
    from minicnn.train import TrainError

    h, w, c = image
    if (c, h, w) == learned:
        return
    remedy = "Resize them first."
    if (h, w) == learned[1:]:
        kinds = {1: "grey", 3: "coloured"}
        remedy = (
            f"They are {kinds.get(c, f'of {c} channels')}, those of the run "
            f"{kinds.get(learned[0], f'of {learned[0]} channels')}: give the same kind by --data."
        )
    raise TrainError(
        f"{name} has images of (channels, height, width) {(c, h, w)}, the run {folder} learned on "
        f"{learned}. {remedy}"
    )


def _confusions(labels: Any, predictions: Any, classes: Sequence[str]) -> str:
    """Return the three most frequent mistakes as text."""
    from collections import Counter

    wrong = labels != predictions
    pairs = Counter(zip(labels[wrong].tolist(), predictions[wrong].tolist(), strict=True))
    return ", ".join(
        f"{classes[true]} taken for {classes[predicted]} ({count})"
        for (true, predicted), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[
            :3
        ]
    )

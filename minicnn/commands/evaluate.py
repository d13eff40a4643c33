"""``minicnn evaluate``: the scores of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from minicnn.commands.options import Help, add_data_dir, add_own, path_option, some


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate", help="scores of a run's best weights on a data set", formatter_class=Help
    )
    parser.add_argument(
        "folder", type=path_option, metavar="RUN", help="folder that a training left"
    )
    parser.add_argument("--data", metavar="NAME", help="another data set than the run's own")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which part"
    )
    add_data_dir(parser)
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
            "are cut so by --data, or compare what both say of the run's own by: python -m "
            "reference.exchange RUN --check"
        )
    fraction = config.recipe.validation if name == config.recipe.data else None
    splits = data.load(name, args.data_dir or config.data_dir, validation=fraction)
    dataset = getattr(splits, args.split)
    if dataset.classes != tuple(config.classes):
        raise train.TrainError(
            f"{name} has the classes {some(dataset.classes)}, the run {args.folder} learned "
            f"{some(config.classes)}. Evaluate it on data of the same classes."
        )
    h, w, c = dataset.images.shape[1:]
    if (c, h, w) != config.image:
        raise train.TrainError(
            f"{name} has images of (channels, height, width) {(c, h, w)}, the run {args.folder} "
            f"learned on {config.image}. Resize them first."
        )
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

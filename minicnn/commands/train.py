"""``minicnn train``: train a network, or go on with a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minicnn.commands.options import (
    Help,
    add_data_dir,
    add_plan_options,
    folder_name,
    model_names,
    path_option,
    whole_model,
    whole_name,
)

_NOT_OF_THE_RECIPE = (
    "command",
    "run",
    "model",
    "data",
    "data_dir",
    "out",
    "resume",
    "quiet",
    "threads",
)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network",
        formatter_class=Help,
        description="Train a network and leave a folder with weights, metrics and pictures.",
        epilog="Options that are not given come from the recipe of the model and the data set.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="lenet5, resnet20, ... (a wrong one lists all), or of your own FILE.py:OBJECT",
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="digits (the default, no download), mnist, fashion-mnist, kmnist, cifar10, "
        "imagefolder:PATH (of a folder or a zip)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--out", type=path_option, metavar="RUN", help="a new folder for the run (else under runs/)"
    )
    parser.add_argument(
        "--resume", type=path_option, metavar="RUN", help="go on with this run instead"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")

    add_plan_options(parser)
    parser.add_argument(
        "--impl", default=argparse.SUPPRESS, help="fast, or textbook to run the formulas"
    )
    for flag, text in [
        ("--drop-last", "leave out the last, incomplete batch of an epoch"),
        ("--fuse", "run neighbouring layers as one operation (so it is unless --no-fuse)"),
    ]:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from minicnn import evaluation, train
    from minicnn.models import own
    from minicnn.recipes import recipe_for

    options = {k: v for k, v in vars(args).items() if k not in _NOT_OF_THE_RECIPE}
    if "milestones" in options:
        options["milestones"] = tuple(options["milestones"])
    if args.resume is not None:
        _refuse_with_resume(args, options)
        run = train.resume(args.resume, args.data_dir, model=args.model)
    else:
        if args.model is None:
            raise ValueError(f"which model? Known: {model_names()}.")
        name, model = whole_name(args.data or "digits"), whole_model(args.model)
        recipe = recipe_for(model, name, **options)
        folder = args.out or Path("runs", folder_name(model, name))
        run = train.start(recipe, folder, args.data_dir, numbered=args.out is None)
    recipe = run.recipe
    train_n, validation_n, test_n = (len(part) for part in run.splits)
    parameters = sum(param.data.size for param in run.model.parameters())
    print(
        f"{own.short(recipe.model)} ({parameters:,} parameters) on {recipe.data}: "
        f"{train_n:,} images to train, {validation_n:,} to validate, {test_n:,} to test\n"
        f"{recipe.optimizer}, lr {recipe.lr:g} ({recipe.schedule}), epochs: {recipe.epochs}, "
        f"images a batch: {recipe.batch_size}, seed {recipe.seed}; run folder: {run.folder}"
    )
    if run.done:
        print("all epochs are done; here is the result again")
    elif run.epoch or run.batch:
        print(f"going on in epoch {min(run.epoch + 1, recipe.epochs)} after batch {run.batch}")
    # The bar counts images over the whole run, so its rate is images a second and its estimate
    # the time left until the end.
    bar = tqdm(
        total=train_n * recipe.epochs,
        initial=train_n * run.epoch + run.seen,
        unit=" images",
        disable=True if args.quiet else None,
        dynamic_ncols=True,
        leave=False,
        mininterval=0.2,
    )

    def on_batch(now: train.Progress) -> None:
        bar.update(now.images)
        bar.set_postfix_str(f"loss {now.loss:.4f}, accuracy {now.accuracy:.2%}", refresh=False)

    def on_epoch(row: dict[str, float]) -> None:
        epoch = int(row["epoch"])
        best = "  best" if run.best["epoch"] == epoch else ""
        bar.set_description(f"epoch {min(epoch + 1, recipe.epochs)}/{recipe.epochs}", refresh=False)
        bar.write(epoch_line(row, recipe.epochs) + best, file=sys.stdout)

    bar.set_description(f"epoch {min(run.epoch + 1, recipe.epochs)}/{recipe.epochs}")
    try:
        run.fit(on_batch, on_epoch)
    finally:
        bar.close()
    if run.epoch < recipe.epochs:
        print(f"stopped early: {recipe.patience} epochs without a better validation")
    scores = run.finish()
    seconds = sum(row["seconds"] for row in run.history)
    print(
        f"test accuracy {scores.accuracy:.2%} (top-{evaluation.TOP_K} {scores.top_k:.2%}, loss "
        f"{scores.loss:.4f}) on {test_n:,} images, with the weights of epoch "
        f"{int(run.best['epoch'])}; {seconds:.1f} s of training"
    )
    pictures = sorted(path.name for path in run.folder.glob("*.png"))
    print(f"pictures in {run.folder}: {', '.join(pictures)}")


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """Return what is printed of an epoch."""
    return (
        f"epoch {int(row['epoch']):>3}/{epochs}  loss {row['train_loss']:.4f}  accuracy "
        f"{row['train_accuracy']:7.2%}  validation loss {row['validation_loss']:.4f}  accuracy "
        f"{row['validation_accuracy']:7.2%}  {row['images_per_second']:,.0f} images/s"
    )


def _refuse_with_resume(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Raise where an option would be ignored because the run has its own."""
    from minicnn.models import own
    from minicnn.train import TrainError, read_config

    config = read_config(args.resume)
    recipe, network = config.recipe, config.network
    moved = network is not None and args.model is not None and own.is_own(args.model)
    if not moved and args.model not in (None, recipe.model):
        raise TrainError(
            f"{args.resume} is a run of {recipe.model}, not of {args.model}. Leave the model out, "
            f"or start a run of {args.model} in another folder."
        )
    if args.data is not None and whole_name(args.data) != recipe.data:
        raise TrainError(f"{args.resume} is a run on {recipe.data}, not on {args.data}.")
    if args.out is not None:
        raise TrainError("--out names a new run, --resume an old one. Give one of them.")
    different = [name for name, value in options.items() if getattr(recipe, name) != value]
    if different:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in different)
        raise TrainError(
            f"{args.resume} has its own recipe, which {names} would change. Leave it out, or "
            "start a new run."
        )

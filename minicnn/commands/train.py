"""``minicnn train``: train a network, or go on with a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minicnn.commands.options import (
    HelpWithTables,
    add_data_dir,
    add_plan_options,
    add_zip_encoding,
    model_names,
    path_option,
    whole_model,
)

# As minicnn.models and minicnn.recipes have them; a test holds them equal. To import these would
# take seconds.
NETWORKS = """\
networks:
  28x28    lenet5, lenet5-1998, cnn3, convnet, inception_mnist
  32x32    resnet20, resnet32, resnet44, resnet56, resnet110, resnet20-preact, resnet110-preact
  224x224  alexnet, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, googlenet,
           googlenet-2014, resnet18, resnet34, resnet50, resnet101, resnet152, densenet121,
           squeezenet1_1
"""
RECIPES = """\
defaults by network (for all: --schedule onecycle, --seed 0):
                       epochs  batch  optimizer  lr
  lenet5, lenet5-1998      12     64  adam       0.004
  cnn3                      3     64  adam       0.002
  convnet                  10     64  adam       0.004
  resnet20 ... preact      26    128  sgd        0.2    weight decay 0.0005, nesterov, shift 4, flip
  others                   10     64  adam       0.001
  any, on digits           20     32  as above   0.002  label smoothing 0.1
"""
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
        formatter_class=HelpWithTables,
        description="Train a network, and write a folder with weights, metrics and pictures.",
        epilog=f"{NETWORKS}\n{RECIPES}",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a network of the list below, or one of your own, FILE.py:OBJECT",
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="digits (the default, no download), mnist, fashion-mnist, kmnist, cifar10, "
        "imagefolder:PATH (a folder or a zip)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--out",
        type=path_option,
        metavar="RUN",
        help="the run's new folder (else under runs/)",
    )
    parser.add_argument("--resume", type=path_option, metavar="RUN", help="continue this run")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")

    add_plan_options(parser)
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", default=argparse.SUPPRESS,
        help="of imagefolder: resize images of any size, and cut out the middle, PIXELS x PIXELS",
    )  # fmt: skip
    add_zip_encoding(parser)
    parser.add_argument(
        "--impl", default=argparse.SUPPRESS, help="fast, or textbook, which runs the formulas"
    )
    for flag, text in [
        ("--drop-last", "leave out the last, incomplete batch of an epoch"),
        ("--fuse", "run neighbouring layers as one operation (the default)"),
    ]:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn import train
    from minicnn.data import whole_name
    from minicnn.recipes import recipe_for
    from minicnn.run_folder import folder_name

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
    train.follow(run, bar=not args.quiet)


def _refuse_with_resume(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Raise where an option would be ignored because the run has its own."""
    from minicnn.data import whole_name
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
            f"{args.resume} has its own recipe, which {names} would change. Leave that out, or "
            "start a new run."
        )

"""``minicnn summary``: a network's layers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from minicnn.commands.options import Help, add_own


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "summary",
        help="show a network's layers, shapes and parameters",
        formatter_class=Help,
    )
    parser.add_argument(
        "what", metavar="MODEL",
        help="lenet5, resnet20, ... (a wrong one lists all), your own FILE.py:OBJECT, or the "
        "folder of a run",
    )  # fmt: skip
    parser.add_argument("--classes", type=int, help="number of classes, if not the usual one")
    parser.add_argument(
        "--image", metavar="C,H,W",
        help="channels, height and width of the image (1,28,28 for your own network)",
    )  # fmt: skip
    add_own(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn import models, nn
    from minicnn.models import own, trial
    from minicnn.nn.summary import as_text
    from minicnn.shapes import ShapeError

    if args.classes is not None and args.classes < 1:
        raise ValueError(f"--classes must be at least 1, got {args.classes}.")
    asked = None if args.image is None else _image(args.image)
    if args.what not in models.MODELS and Path(args.what).is_dir():
        model, usual = _of_run(args)
    elif args.model is not None:
        raise ValueError("--model names the network of a run; leave it out, or give a run.")
    elif args.what not in models.MODELS and _names_a_folder(args.what):
        raise ValueError(
            f"{args.what}: there is no such run. Give the folder of a run, the name of a model, or "
            "FILE.py:OBJECT."
        )
    elif own.is_own(args.what):
        model, usual = models.create(args.what, args.classes), models.MNIST
    else:
        model, usual = models.create(args.what, args.classes), models.MODELS[args.what].image
    image = asked or usual
    try:
        if own.is_own(args.what):
            trial.check_forward(own.short(args.what), model, image)
        rows = nn.summarize(model, image)
    except TypeError as error:
        raise ValueError(str(error)) from error
    except ShapeError as error:
        if asked or not own.is_own(args.what):
            raise
        raise ValueError(f"{error} Give the size of its images by --image C,H,W.") from error
    print(as_text(rows, image))


def _names_a_folder(text: str) -> bool:
    """True if it looks like the path of a folder; no model's name does."""
    return not text.endswith(".py") and ":" not in text and ("/" in text or os.sep in text)


def _of_run(args: argparse.Namespace) -> tuple[Any, tuple[int, int, int]]:
    """Return the network of a run, and its image."""
    from minicnn import train

    if args.classes is not None:
        raise ValueError(f"{args.what} is a run and has its classes; leave --classes out.")
    model, config = train.load_model(Path(args.what), args.model)
    return model, config.image


def _image(text: str) -> tuple[int, int, int]:
    try:
        c, h, w = map(int, text.split(","))
        if min(c, h, w) < 1:
            raise ValueError
    except ValueError as error:
        raise ValueError(f"--image {text}: give channels, height and width, 1,28,28.") from error
    return c, h, w

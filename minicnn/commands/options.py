"""Options that several commands share, and the names of data sets and models in them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except those that the recipe decides."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


class OneLineEach(argparse.RawDescriptionHelpFormatter):
    """Gives every command one line, and keeps the line breaks of the epilog."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        # argparse does not count the indentation of commands, and breaks the longest line.
        self._action_max_length = max(self._action_max_length, 4 + len("gradcheck"))


class HelpWithTables(Help, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and keeps the line breaks of the epilog."""


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder of data sets."""
    parser.add_argument(
        "--data-dir",
        type=path_option,
        metavar="DIR",
        help="folder of data sets, also for downloads (else $MINICNN_DATA, else the user's cache)",
    )


def path_option(text: str) -> Path:
    """Return a path from the command line. An empty one, as of an unset $OUT, is an error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a path, or leave the option out")
    return Path(text)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of threads."""
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="compute on N threads (default: all, or fewer while other programs need the cores); "
        "the results are the same",
    )


def add_own(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a run's own network if the run cannot."""
    parser.add_argument(
        "--model",
        metavar="FILE.py:OBJECT",
        help="the run's own network, if its file has moved or the run has no name for it",
    )


def add_zip_encoding(parser: argparse._ActionsContainer) -> None:
    """Add the option for the encoding of names in a zip; if not given, it is absent."""
    parser.add_argument(
        "--zip-encoding",
        metavar="CODE",
        default=argparse.SUPPRESS,
        help="of imagefolder: encoding of the names in a zip that does not say (cp949, cp932, ...)",
    )


def add_plan_options(parser: argparse._ActionsContainer) -> None:
    """Add an option for each field of ``minicnn.recipes.Plan``; if not given, it is absent."""

    def add(name: str, kind: Any, help: str, **more: Any) -> None:
        parser.add_argument(name, type=kind, help=help, default=argparse.SUPPRESS, **more)

    add("--epochs", int, "passes over the training images")
    add("--batch-size", int, "images per step")
    add("--optimizer", str, "sgd, adam or adamw")
    add("--lr", float, "learning rate; with onecycle, the highest one")
    add("--momentum", float, "momentum of sgd (0.9)")
    add("--weight-decay", float, "how strongly weights shrink towards 0")
    add("--schedule", str, "constant, step, multistep, cosine or onecycle")
    add("--warmup-epochs", int, "epochs in which the rate rises to its full value")
    add("--step-epochs", int, "schedule step: epochs between drops (a third of the run)")
    add("--milestones", int, "schedule multistep: epochs of the drops", nargs="+", metavar="EPOCH")
    add("--gamma", float, "schedules step and multistep: factor of each drop (0.1)")
    add("--label-smoothing", float, "share of the target that is spread over all classes")
    add("--init", str, "default, {kaiming,xavier}_{uniform,normal}")
    parser.add_argument(
        "--shift", "--crop", type=int, metavar="PIXELS", default=argparse.SUPPRESS,
        help="augmentation: random shift by up to PIXELS pixels; the same as a random crop of the "
        "image padded by PIXELS",
    )  # fmt: skip
    add("--rotate", float, "augmentation: random rotation by up to so many degrees")
    add("--validation", float, "share of the training images that is kept for validation (1/12)")
    add("--patience", int, "stop after so many epochs without a better validation")
    add("--seed", int, "seed of the weights, the order and the augmentation")
    for flag, text in [
        ("--nesterov", "Nesterov's momentum in sgd"),
        ("--flip", "augmentation: mirror left and right, with probability 1/2"),
    ]:
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, help=text, default=argparse.SUPPRESS
        )


def whole_model(model: str) -> str:
    """Return the name of a model; FILE.py:OBJECT gets the absolute path and its options."""
    from minicnn.models import own

    return own.describe(model).name if own.is_own(model) else model


def model_names() -> str:
    from minicnn.models import MODELS

    return ", ".join(MODELS)


def some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (f", ... ({len(classes)})" if len(classes) > 4 else "")

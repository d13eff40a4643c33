"""``minicnn summary``: a network's layers."""

from __future__ import annotations

import argparse
from typing import Any

from minicnn.commands.options import Help


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "summary", help="a network's layers, shapes, parameters, fields", formatter_class=Help
    )
    parser.add_argument(
        "model", metavar="MODEL", help="lenet5, resnet20, ...; a wrong one lists all"
    )
    parser.add_argument("--classes", type=int, help="how many it tells apart, if not as usual")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn import models, nn
    from minicnn.nn.summary import as_text

    if args.classes is not None and args.classes < 1:
        raise ValueError(f"--classes must be at least 1, got {args.classes}.")
    model = models.create(args.model, args.classes)
    image = models.MODELS[args.model].image
    print(as_text(nn.summarize(model, image), image))

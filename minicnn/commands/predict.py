"""``minicnn predict``: the most probable classes of images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minicnn.commands.options import Help, path_option


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "predict", help="the most probable classes of images", formatter_class=Help
    )
    parser.add_argument(
        "folder", type=path_option, metavar="RUN", help="folder that a training left"
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG or JPEG files")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes to show")
    parser.add_argument(
        "--invert",
        action="store_true",
        help="exchange dark and light, for digits written dark on light",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    import numpy as np

    from minicnn import data, train
    from minicnn.ops import softmax

    if args.top < 1:
        raise ValueError(f"--top must be at least 1, got {args.top}.")
    model, config = train.load_model(args.folder)
    c, h, w = config.image
    images = np.stack([data.read_image(path, (h, w), c) for path in args.images])
    if args.invert:
        images = 255 - images
    probabilities, _ = softmax.forward(model(data.normalize(images, config.normalization)))
    width = max(len(str(path)) for path in args.images)
    for path, row in zip(args.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: args.top]
        answer = "   ".join(f"{config.classes[k]} {row[k]:6.2%}" for k in best)
        print(f"{path!s:<{width}}  {answer}")

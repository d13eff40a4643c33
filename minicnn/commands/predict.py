"""``minicnn predict``: the most probable classes of images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minicnn.commands.options import Help, add_own, path_option

SHOWN = 20  # at most so many pictures in one drawing
BATCH = 32  # images that are read and classified before their lines are printed


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="show the most probable classes of images",
        formatter_class=Help,
        description="Classify images of any size. Digits on paper are found and prepared like "
        "those of the run's data set. Other images are resized and cut like the run's.",
        epilog="exit code: 0, or 2 if an image could not be read or shows no digit or several",
    )
    parser.add_argument("folder", type=path_option, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "images", nargs="+", type=path_option, metavar="IMAGE",
        help="files (PNG, JPEG, BMP, GIF, WebP, TIFF, PPM), or folders of them",
    )  # fmt: skip
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes to show")
    parser.add_argument(
        "--as-is",
        action="store_true",
        help="prepare nothing: the images have the run's size and form already",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="exchange dark and light first (not needed for digits)",
    )
    parser.add_argument(
        "--show", type=path_option, metavar="FILE.png",
        help=f"draw images, what the network saw, and bars of the classes (at most {SHOWN} images)",
    )  # fmt: skip
    add_own(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import numpy as np

    from minicnn import data, predict, train, viz
    from minicnn.data.class_folders import readable

    if args.top < 1:
        raise ValueError(f"--top must be at least 1, got {args.top}.")
    if args.show is not None and args.show.suffix.lower() != ".png":
        raise ValueError(f"--show {args.show} must end in .png.")
    model, config = train.load_model(args.folder, args.model)
    files = predict.files_of(args.images)
    width = max(len(readable(str(path))) for path in files)
    shown: list[tuple[str, predict.Seen, np.ndarray]] = []
    done = failed = 0
    for start in range(0, len(files), BATCH):
        batch: list[tuple[str, predict.Seen]] = []
        for path in files[start : start + BATCH]:
            try:
                seen = predict.see(path, config, as_is=args.as_is, invert=args.invert)
            except data.DataError as error:
                print(f"minicnn predict: {error}", file=sys.stderr)
                failed += 1
                continue
            if args.show is None or len(shown) + len(batch) >= SHOWN:
                seen = seen._replace(picture=seen.image)  # a photo needs much memory
            batch.append((readable(str(path)), seen))
        if not batch:
            continue
        shares = predict.probabilities(model, config, [seen.image for _, seen in batch])
        for (name, seen), row in zip(batch, shares, strict=True):
            best = np.argsort(-row, kind="stable")[: args.top]
            answer = "   ".join(f"{config.classes[k]} {row[k]:6.2%}" for k in best)
            print(f"{name:<{width}}  {answer}" + (f"   ({seen.done})" if seen.done else ""))
            if args.show is not None and len(shown) < SHOWN:
                shown.append((name, seen, row))
        done += len(batch)
    if shown:
        figure = viz.predictions(
            [seen.picture for _, seen, _ in shown],
            [seen.image for _, seen, _ in shown],
            np.stack([row for _, _, row in shown]),
            config.classes,
            [Path(name).name for name, _, _ in shown],
        )
        viz.save(figure, args.show)
        more = f" (the first {SHOWN} of {done})" if done > SHOWN else ""
        print(f"drawn in {args.show}{more}", file=sys.stderr)
    return 2 if failed else 0

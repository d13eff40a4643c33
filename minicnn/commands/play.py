"""``minicnn play``: a page to draw for a run's network, to watch it and to teach it."""

from __future__ import annotations

import argparse
from typing import Any

from minicnn.commands.options import Help, add_data_dir, add_own, path_option, some


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "play",
        help="draw for a run's network, watch it and teach it, in the browser",
        formatter_class=Help,
        description="Write one HTML file with a run's network, its weights, sixty test images and "
        "an engine in JavaScript, and open it in the browser. The file works offline.",
    )
    parser.add_argument("folder", type=path_option, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        type=path_option,
        metavar="FILE.html",
        help="the file to write (else RUN/play.html)",
    )
    parser.add_argument("--no-browser", action="store_true", help="write the file, do not open it")
    add_data_dir(parser)
    add_own(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    import webbrowser

    from minicnn import data, play, train

    out = args.out or args.folder / "play.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise play.PlayError(
            f"--out must end in .html, got {out}. Use for example {out.with_suffix('.html')}."
        )
    model, config = train.load_model(args.folder, args.model)
    accuracy = play.accuracy(args.folder)
    cut = config.content["data"].get("cut")
    if cut:
        raise play.PlayError(
            f"{args.folder}: its images were {cut}, which minicnn does not do, so the page has no "
            "test images. Play with a run that minicnn trained."
        )
    try:
        play.build(model, config.image)  # before the data are read, which may take long
        splits = data.load(
            config.recipe.data,
            args.data_dir or config.data_dir,
            validation=config.recipe.validation,
        )
        h, w, c = splits.test.images.shape[1:]
        if splits.test.classes != tuple(config.classes) or (c, h, w) != config.image:
            raise play.PlayError(
                f"{config.recipe.data} has the classes {some(splits.test.classes)} and images of "
                f"{(c, h, w)}, the run learned {some(config.classes)} on {config.image}. Give the "
                "data that it was trained on."
            )
        page = play.page(play.content(model, config, splits.test, args.folder, accuracy))
    except play.PlayError as error:
        raise play.PlayError(f"{args.folder}: {error}") from error
    play.write(out, page)
    print(f"{out} ({len(page.encode()) / 1e6:.1f} MB): open it in a browser, also offline")
    if not args.no_browser:
        webbrowser.open(out.resolve().as_uri())

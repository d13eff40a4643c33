"""``minicnn export``: a run's network as an ONNX file."""

from __future__ import annotations

import argparse
from typing import Any

from minicnn.commands.options import Help, add_own, path_option


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a run's network as an ONNX file, for other programs",
        formatter_class=Help,
        description="Write a run's network, with its best weights, as an ONNX file. onnxruntime "
        "and browsers run it, Netron shows it. It takes pixels from 0 to 255, (n, channels, "
        "height, width) as float32, and any number of images.",
        epilog='It needs the package onnx: pip install "minicnn[onnx]"',
    )
    parser.add_argument("folder", type=path_option, metavar="RUN", help="the folder of a run")
    parser.add_argument("file", type=path_option, metavar="FILE.onnx", help="the file to write")
    parser.add_argument(
        "--no-normalize", action="store_true",
        help="leave the normalization out: the file then takes normalised images",
    )  # fmt: skip
    add_own(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn import export, train

    if args.file.suffix != ".onnx":
        raise ValueError(f"{args.file}: the name of an ONNX file ends with .onnx.")
    if not args.file.parent.is_dir():
        raise ValueError(f"{args.file.parent}: there is no such folder to write into.")
    model, config = train.load_model(args.folder, args.model)
    normalization = None if args.no_normalize else config.normalization
    proto = export.to_onnx(model, config.image, normalization, config.classes)
    export.write(proto, args.file)
    name, size = proto.graph.input[0].name, " x ".join(map(str, config.image))
    what = "normalised already" if args.no_normalize else "from 0 to 255"
    print(
        f"{args.file}: {len(proto.graph.node)} nodes, {args.file.stat().st_size:,} bytes; takes "
        f"{name} (n x {size}, float32, {what}), gives {proto.graph.output[0].name} "
        f"(n x {len(config.classes)})"
    )

"""``minicnn doctor``: what is installed, found and compiled."""

from __future__ import annotations

import argparse
from typing import Any

from minicnn.commands.options import add_data_dir


def add(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="show what is installed, found and compiled")
    add_data_dir(parser)
    parser.add_argument(
        "--warm", action="store_true", help="compile all kernels first, so that no run has to wait"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from minicnn.doctor import report

    if args.warm:
        from minicnn.warm import warm

        for part in warm():
            print(f"compiling: {part}", flush=True)
    print(report(args.data_dir))

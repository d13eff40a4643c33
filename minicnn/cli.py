"""The command ``minicnn``: train, evaluate, predict, play, summary, export, gradcheck, doctor.

An error that can be foreseen gives one line on stderr and exit code 2. Ctrl-C gives exit code 130.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

# All else is imported within main, where Ctrl-C ends the command with one line.
if TYPE_CHECKING:
    import argparse


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    name = "minicnn"
    try:
        from contextlib import nullcontext

        from minicnn.interruption import hear_interrupts

        open_streams()
        hear_interrupts()
        commands = parser()
        args = commands.parse_args(argv)
        if args.command is None:
            commands.print_help(sys.stderr)
            return 2
        name = f"minicnn {args.command}"
        with args.waiting if "waiting" in args else nullcontext():
            return _run(args)
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the program that read our output has ended
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def open_streams() -> None:
    """Connect input, output and errors to nothing where the shell has closed them (``>&-``).

    Otherwise the next file that is opened gets the free number, and printed text goes into it.
    """
    import io
    import os

    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # unknown letters must not end a run
            stream.reconfigure(errors="backslashreplace")


def _run(args: argparse.Namespace) -> int:
    import warnings

    from minicnn.checkpoint import CheckpointError
    from minicnn.data import DataError
    from minicnn.models.own import NetworkChanged
    from minicnn.models.trial import NotLearnt
    from minicnn.pool import set_threads
    from minicnn.train import Interrupted, TrainError

    def tell(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"minicnn {args.command}: {message}", file=sys.stderr)

    try:
        if args.threads is not None:
            set_threads(args.threads)
        with warnings.catch_warnings():
            for told in (NetworkChanged, NotLearnt):
                warnings.simplefilter("always", told)
            warnings.showwarning = tell  # one line, without our file and line number
            code = args.run(args) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except MemoryError as error:
        print(
            f"minicnn {args.command}: there is not enough memory{f' ({error})' * bool(str(error))}"
            ". Use a smaller network, fewer or smaller images, or a smaller --batch-size.",
            file=sys.stderr,
        )
        return 2
    except (CheckpointError, DataError, TrainError, ValueError, OSError) as error:
        print(f"minicnn {args.command}: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"minicnn {args.command}: {error}", file=sys.stderr)
        return 130
    finally:
        if args.threads is not None:
            set_threads(None)
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; without a command, ``command`` is None."""
    import argparse

    from minicnn.commands import doctor, evaluate, export, gradcheck, play, predict, summary, train
    from minicnn.commands.options import OneLineEach, add_threads
    from minicnn.version import __version__

    parser = argparse.ArgumentParser(
        prog="minicnn",
        formatter_class=OneLineEach,
        description="Train and use small convolutional networks, written from scratch.",
        epilog="Begin with: minicnn train lenet5\nOptions of a command: minicnn train --help",
    )
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for command in (train, evaluate, predict, play, summary, export, gradcheck, doctor):
        command.add(commands)
    for one in commands.choices.values():
        add_threads(one)
    return parser


if __name__ == "__main__":
    sys.exit(main())

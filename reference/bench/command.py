"""The command: its options, and the order in which things are done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from minicnn.shapes import did_you_mean
from reference.bench import environment, measure, memory, report
from reference.bench.machine import Peak
from reference.bench.machine import measure as measure_peak
from reference.bench.measure import Disagreement, OtherLoad
from reference.bench.report import Result
from reference.bench.sides import peers, pytorch
from reference.bench.workloads import DEZERO_NETWORKS, WORKLOADS, Unknown, chosen

ROUNDS, QUICK = 30, 5


class Report:
    """What has been measured so far; it survives a disagreement and an interruption."""

    def __init__(self) -> None:
        self.environment: dict[str, Any] = {}
        self.peaks: list[Peak] = []
        self.results: list[Result] = []
        self.footnotes: list[str] = []
        self.disagreements: list[str] = []

    def as_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "peaks": [peak._asdict() for peak in self.peaks],
            "results": [result.as_dict() for result in self.results],
            "footnotes": self.footnotes,
            "disagreements": self.disagreements,
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        names = chosen(args.workloads)
    except Unknown as error:
        parser.error(_unknown(str(error)))
    if args.list:
        _list(names)
        return 0
    _check(parser, args)

    about, code = Report(), 0
    try:
        _run(names, args, about)
    except KeyboardInterrupt:
        print("reference.bench: stopped", file=sys.stderr)
        code = 130
    if len(about.results) > 1:
        print("\n" + report.summary(about.results))
    for note in about.footnotes:
        print(f"\n{note}")
    if about.results:
        try:
            _write(args, about)
        except OSError as error:
            print(f"reference.bench: {error}", file=sys.stderr)
            return 2
    return code or (1 if about.disagreements else 0)


def _run(names: Sequence[str], args: argparse.Namespace, about: Report) -> None:
    """Measure and print everything, and put it down in ``about``."""
    about.footnotes += _footnotes(names, args)
    for name in names:
        workload = WORKLOADS[name]
        batches = args.batch or (workload.batches[:1] if args.quick else workload.batches)
        for batch in dict.fromkeys(batches):
            for threads in dict.fromkeys(args.threads):
                try:
                    result = _result(name, batch, threads, args, about)
                except Disagreement as error:
                    about.disagreements.append(f"{name}, batch {batch}: {error}")
                    print(f"reference.bench: not timed: {about.disagreements[-1]}", file=sys.stderr)
                    continue
                print("\n" + report.text(result), flush=True)
                about.results.append(result)


def _result(name: str, batch: int, threads: int, args: argparse.Namespace, about: Report) -> Result:
    """Measure one workload. The first that works also tells the settings, and the peaks."""
    workload = WORKLOADS[name]
    kinds = workload.all_sides(args.compile, args.peers)
    if peers.Dezero in kinds.values() and not peers.dezero_works():
        kinds = {side: kind for side, kind in kinds.items() if kind is not peers.Dezero}
    with measure.threads(dict.fromkeys(kinds.values()), threads):
        problem = workload.problem(batch)
        sides = {side: kind(problem) for side, kind in kinds.items()}
        agreement = measure.check_agreement(sides, workload.check)
        if not about.environment:
            about.environment = environment.describe()
            about.peaks = [measure_peak(count) for count in dict.fromkeys(args.threads)]
            print(report.settings(about.environment, about.peaks), flush=True)
        load = OtherLoad()
        timing = measure.time_in_turns(sides, args.repeat or (QUICK if args.quick else ROUNDS))
        busy = load.cores()
    peaks = {}
    if workload.is_network and not args.quick:
        peaks = {side: memory.of_a_new_process(name, side, batch, threads) for side in kinds}
    return Result(
        name, workload, batch, threads, agreement, timing, busy, peaks, workload.work(batch)
    )


def _footnotes(names: Sequence[str], args: argparse.Namespace) -> list[str]:
    """Return what has to be known of a side that is asked for and not as it should be."""
    asked = args.peers and any(f"{network}/train" in names for network in DEZERO_NETWORKS)
    note = peers.dezero_note() if asked else None
    return [note] if note else []


def _write(args: argparse.Namespace, about: Report) -> None:
    if args.json:
        args.json.write_text(json.dumps(about.as_dict(), indent=1) + "\n", encoding="utf-8")
    if args.chart:
        from reference.bench import chart

        chart.draw(about.results, about.peaks, args.chart)


# ---------------------------------------------------------------------------------------- options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with one line and code 2; the usage is for those who ask for it."""
        self.exit(2, f"reference.bench: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m reference.bench",
        description="Time minicnn against PyTorch, taking turns in one process, after checking "
        "that all compute\nthe same. Prints medians with quartiles, their ratio, peak memory, the "
        "rate beside the\nmachine's peak, and every setting that matters.",
        epilog="Examples:\n"
        "  python -m reference.bench --list               what there is\n"
        "  python -m reference.bench lenet5/train         one, at each of its batch sizes\n"
        "  python -m reference.bench 'resnet20/*' --threads 1 2 --json scaling.json\n"
        "  python -m reference.bench 'op/conv2d/*/backward' --quick --chart conv2d.png\n"
        "  python -m reference.bench lenet5/train --batch 64 --peers --compile\n\n"
        "Exit code 1: two sides did not compute the same. 2: the options are wrong.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD",
        help="names, or patterns with * in quotes; all networks unless given. "
        "'op/*' are the single operations, '*' is everything.",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the workloads, and time nothing")
    parser.add_argument(
        "--quick", action="store_true",
        help=f"a first impression: {QUICK} rounds, the first batch size of each workload, "
        "no memory",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=_positive, nargs="+", metavar="N",
        help="batch sizes; each workload has its own unless given",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=_positive, nargs="+", metavar="N",
        help="threads of each side, one number or several (default: 2, or 1 where there are no "
        "more)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=_positive, metavar="N",
        help="rounds, in each of which every side runs one block of steps "
        f"(default: {ROUNDS}, with --quick {QUICK})",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true",
        help="torch.compile takes part as well. It needs a C++ compiler, and up to a minute to "
        "start for each network and batch size",
    )  # fmt: skip
    parser.add_argument(
        "--peers", action="store_true",
        help="what is taught in NumPy takes part as well: im2col and a matrix product, and, where "
        "it is installed, DeZero (lenet5/train and cnn3/train)",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything, with each round, to FILE"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE.png", help="draw the results")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Leave with a line that says what is wrong, before anything is built or timed."""
    if find_spec("torch") is None or find_spec("torchvision") is None:
        parser.error('PyTorch is not installed. Install it with: pip install -e ".[reference]"')
    from numba import config

    most = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    args.threads = args.threads or [min(2, environment.cores(), most)]
    if max(args.threads) > most:
        parser.error(
            f"--threads {max(args.threads)} is more than Numba has: {most}, the number of cores "
            "unless NUMBA_NUM_THREADS says otherwise."
        )
    if args.compile and pytorch.compiler() is None:
        parser.error(
            "--compile: torch.compile needs a C++ compiler, and none is found. Install g++, or "
            "name one by the environment variable CXX."
        )
    for option, path in (("--json", args.json), ("--chart", args.chart)):
        if path and not path.parent.is_dir():
            parser.error(f"{option} {path}: there is no folder {path.parent}.")
        if path and path.is_dir():
            parser.error(f"{option} {path}: this is a folder. Add a file name.")
    if args.chart and args.chart.suffix.lower() != ".png":
        parser.error(f"--chart {args.chart}: the name of the picture must end in .png.")


def _unknown(pattern: str) -> str:
    return f"there is no workload {pattern!r}.{did_you_mean(pattern, WORKLOADS)} --list shows all."


def _list(names: Sequence[str]) -> None:
    width = max(map(len, names))
    for name in names:
        workload = WORKLOADS[name]
        sizes = ", ".join(map(str, workload.batches))
        print(f"{name:<{width}}  {workload.title}; batch {sizes}")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")

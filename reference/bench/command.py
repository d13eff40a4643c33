"""The command: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reference.bench import environment, measure, memory
from reference.bench.measure import Agreement, Disagreement, OtherLoad, Quartiles, Timing
from reference.bench.memory import Memory
from reference.bench.workloads import WORKLOADS

WIDTH = 96
BUSY = 0.1  # cores kept busy by others from which on the times are not to be trusted


@dataclass(frozen=True)
class Result:
    """What was measured of one workload at one batch size."""

    workload: str
    batch: int
    agreement: Agreement
    timing: Timing
    other_load: float | None  # cores that other processes kept busy meanwhile
    memory: dict[str, Memory]

    @property
    def sides(self) -> list[str]:
        return list(self.timing.seconds)

    @property
    def best(self) -> str:
        """The fastest side of PyTorch."""
        return self.timing.best(self.sides[1:])

    @property
    def ratio(self) -> Quartiles:
        return self.timing.ratio(self.sides[0], self.best)

    def as_dict(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "batch": self.batch,
            "agreement": self.agreement._asdict(),
            "steps_per_block": self.timing.steps,
            "sides": {
                side: {
                    "seconds": self.timing.quartiles(side)._asdict(),
                    "seconds_by_round": self.timing.seconds[side],
                    "bytes": self.memory[side]._asdict(),
                }
                for side in self.sides
            },
            "best_of_torch": self.best,
            "ratio": self.ratio._asdict(),
            "cores_busy_with_others": self.other_load,
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    names = args.workloads or list(WORKLOADS)
    for name in names:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name!r}. Known: {', '.join(WORKLOADS)}.")
    if find_spec("torch") is None:
        parser.error('PyTorch is not installed. Install it with: pip install -e ".[reference]"')
    from numba import config

    most = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if args.threads > most:
        parser.error(
            f"--threads {args.threads} is more than Numba has: {most}, the number of cores "
            "unless NUMBA_NUM_THREADS says otherwise."
        )
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: there is no folder {args.json.parent}.")
    if args.json and args.json.is_dir():
        parser.error(f"--json {args.json}: this is a folder. Add a file name.")

    try:
        document = _run(names, args)
    except Disagreement as error:
        print(f"reference.bench: nothing more is timed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("reference.bench: stopped", file=sys.stderr)
        return 130
    if args.json:
        try:
            args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"reference.bench: {args.json} cannot be written: {error}", file=sys.stderr)
            return 2
    return 0


def _run(names: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print everything; return the same as a document for JSON."""
    document: dict[str, Any] = {}
    kinds = {kind for name in names for kind in WORKLOADS[name].sides.values()}
    with measure.threads(kinds, args.threads):
        for name in dict.fromkeys(names):
            workload = WORKLOADS[name]
            for batch in dict.fromkeys(args.batch or workload.batches):
                problem = workload.problem(batch)
                sides = {side: kind(problem) for side, kind in workload.sides.items()}
                try:
                    agreement = measure.check_agreement(sides)
                except Disagreement as error:
                    raise Disagreement(f"{name}, batch {batch}: {error}") from None
                if not document:  # not earlier: only what has worked can tell its settings
                    document = {"environment": environment.describe(), "results": []}
                    print(_settings(document["environment"]), flush=True)
                load = OtherLoad()
                timing = measure.time_in_turns(sides, args.repeat)
                result = Result(
                    name,
                    batch,
                    agreement,
                    timing,
                    load.cores(),
                    {s: memory.of_a_new_process(name, s, batch, args.threads) for s in sides},
                )
                print("\n" + _text(result), flush=True)
                document["results"].append(result.as_dict())
    return document


# ------------------------------------------------------------------------------------------- text


def _settings(settings: dict[str, Any]) -> str:
    ours, torch, variables = settings["minicnn"], settings["torch"], settings["variables"]
    blas = [
        f"{pool['library'].partition('-')[0]} {pool['version']} ({pool['architecture']}) "
        f"of {pool['of'].removesuffix('.libs')} on {pool['threads']}"
        for pool in settings["pools"]
        if pool["kind"] == "blas"
    ]
    unset = [name for name, value in variables.items() if value is None]
    lines = {
        "machine": f"{settings['processor']}, {settings['cores']} cores, {settings['system']}",
        "versions": ", ".join(f"{name} {v}" for name, v in settings["versions"].items()),
        "minicnn": f"{ours['threads']} threads of Numba ({ours['threading_layer']})",
        "torch": f"{torch['threads']} threads, {torch['vectors']}, "
        f"oneDNN {_switch(torch['mkldnn'])}, MKL {_switch(torch['mkl'])}",
        "BLAS": "; ".join(blas) + " threads; minicnn holds it to 1 while it works",
        "variables": ", ".join(f"{n}={v}" for n, v in variables.items() if v is not None) or "none",
        "not set": ", ".join(unset),
    }
    return "\n".join(
        textwrap.fill(
            text, WIDTH, initial_indent=f"{title:<10}", subsequent_indent=" " * 10,
            break_on_hyphens=False,
        )
        for title, text in lines.items()
    )  # fmt: skip


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _text(result: Result) -> str:
    workload, timing, agreement = WORKLOADS[result.workload], result.timing, result.agreement
    ours = result.sides[0]
    lines = [
        f"{workload.title}, batch {result.batch}    ({result.workload})",
        f"  checked: over {agreement.steps} steps the losses agree to {agreement.loss:.0e}, "
        f"the parameters' ways to {agreement.way:.0e}",
        f"  {'ms a step':<20}{'median':>9}{'quartiles':>18}{'images/s':>11}"
        f"{'peak MB':>10}{'1 image':>9}{'imports':>9}",
    ]
    for side in result.sides:
        median, lower, upper = (1e3 * seconds for seconds in timing.quartiles(side))
        peak = result.memory[side]
        lines.append(
            f"  {side:<20}{median:>9.3f}{f'{lower:.3f} - {upper:.3f}':>18}"
            f"{1e3 * result.batch / median:>11,.0f}"
            f"{peak.peak / 1e6:>10.0f}{peak.one_image / 1e6:>9.0f}{peak.imports / 1e6:>9.0f}"
        )
    ratio = result.ratio
    lines.append(
        f"  {ours} / {result.best}: {ratio.median:.3f}  ({ratio.lower:.3f} - {ratio.upper:.3f}), "
        f"{len(timing.seconds[ours])} rounds in blocks of {timing.steps} steps"
    )
    if result.other_load is not None and result.other_load >= BUSY:
        lines.append(
            f"  BEWARE: other processes kept {result.other_load:.2f} cores busy meanwhile. "
            "Measure again on an idle machine."
        )
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------- options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference.bench",
        description="Time minicnn against PyTorch eager, taking turns in one process, and print "
        "medians with quartiles, their ratio, peak memory, and every setting that matters.",
        epilog="Known workloads: "
        + "; ".join(f"{name} ({workload.title})" for name, workload in WORKLOADS.items())
        + ". Exit code 1: the sides do not compute the same. 2: the options are wrong.",
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="what to time; all of them unless given"
    )
    parser.add_argument(
        "--batch", type=_positive, nargs="+", metavar="N",
        help="batch sizes; each workload has its own unless given",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=_positive, default=30, metavar="N",
        help="rounds, in each of which every side runs one block of steps (default: 30)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=_positive, default=min(2, environment.cores()), metavar="N",
        help="threads of each side (default: 2, or 1 where there is one core)",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything, with each round, to FILE"
    )
    return parser


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")

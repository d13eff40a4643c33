"""The parity table: every operation against torch over all small configurations, in minutes.

    python -m tests.parity.table --output PARITY.md

prints progress and writes the table as Markdown; ``--op`` and ``--sample`` take a part of it. The
exit code is 1 if minicnn and torch disagree anywhere, and the first disagreements are named.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minicnn import ops
from minicnn.backend import IMPLS
from tests import oracle
from tests.parity.comparison import DTYPES, Outcome, compare
from tests.parity.enumeration import GRIDS, Case, cases

CHUNK = 200  # cases that a process is handed at a time
NAMED = 20  # disagreements that are named

WAYS = [(dtype, impl) for dtype in DTYPES for impl in IMPLS]


@dataclass
class Row:
    """What came of the cases of one operation."""

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: dict[tuple[type, str], float] = field(default_factory=lambda: dict.fromkeys(WAYS, 0.0))
    faults: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.verdict] += 1
        self.reasons[outcome.reason] += outcome.verdict == "apart"
        self.faults += outcome.faults
        for way, error in outcome.errors.items():
            self.errors[way] = max(self.errors[way], error)

    def merge(self, other: Row) -> None:
        self.verdicts += other.verdicts
        self.reasons += other.reasons
        self.faults += other.faults
        self.errors = {way: max(self.errors[way], other.errors[way]) for way in WAYS}


def sampled(op: str, size: int | None) -> list[Case]:
    """Return all cases of an operation, or the same sample of them each time."""
    every = cases(op)
    return every if size is None or size >= len(every) else random.Random(op).sample(every, size)


def row_of(some: Iterable[Case]) -> Row:
    row = Row()
    for case in some:
        row.add(compare(case))
    return row


def rows(wanted: Sequence[str], sample: int | None, processes: int) -> Iterator[tuple[str, Row]]:
    """Yield a row for each operation, computed by several processes."""
    os.environ["NUMBA_NUM_THREADS"] = "1"  # read by the processes that start now
    context = multiprocessing.get_context("spawn")  # a card does not survive a fork
    with ProcessPoolExecutor(processes, context, prepare) as pool:
        for op in wanted:
            every = sampled(op, sample)
            chunks = [every[i : i + CHUNK] for i in range(0, len(every), CHUNK)]
            row = Row()
            for part in pool.map(row_of, chunks):
                row.merge(part)
            yield op, row


def prepare() -> None:
    oracle.prepare()
    warnings.simplefilter("error")


# --------------------------------------------------------------------------------------- Markdown

HEAD = [
    "operation", "compared", "rejected by both", "apart on purpose",
    "float64 fast", "float64 textbook", "float32 fast", "float32 textbook",
]  # fmt: skip

NOTES = """\
A configuration is an operation with its options and the sizes of its arrays. It counts once, \
whatever the dtypes and the implementations that it is run with.

Compared are those that torch computes and differentiates: the value, the gradient of every \
differentiable argument for a random upstream gradient, the dtype of both, the winners of max \
pooling (exactly), and the running arrays of batch normalisation. minicnn in float64 and in \
float32 is held against torch in float64 on the same numbers; NaN and infinities have to stand at \
the same places. What torch rejects, minicnn has to reject with a ValueError or a TypeError, and \
the other way round. Dropout is compared where nothing is random: torch draws other masks.

The last four columns give the greatest relative error, a difference divided by a magnitude. For \
numbers that are sums (convolution, linear, fold, unfold, the pools, ReLU, leaky ReLU, dropout, \
nll_loss, batch normalisation, and the gradients of sigmoid, tanh, softmax, log_softmax and \
cross_entropy) it is the sum of the magnitudes of the terms, number by number. For the rest \
(local_response_norm, gelu, and the values of sigmoid, tanh, softmax, log_softmax and \
cross_entropy) it is the greatest magnitude in the array.
"""


def cells(name: str, row: Row) -> list[str]:
    counts = [f"{row.verdicts[v]:,}" for v in ("compared", "rejected", "apart")]
    return [name, *counts, *[f"{row.errors[way]:.1e}" if row.errors[way] else "0" for way in WAYS]]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(table: dict[str, Row], command: str) -> str:
    total = Row()
    for row in table.values():
        total.merge(row)
    lines = [
        "# Parity with PyTorch",
        "",
        f"Written by `{command}`. Oracle: {oracle.description()}; NumPy {np.__version__}.",
        "",
        NOTES,
        line(HEAD),
        line(["---"] + ["---:"] * (len(HEAD) - 1)),
        *[line(cells(f"`{op}`", row)) for op, row in table.items()],
        line(cells("all", total)),
        "",
        f"Disagreements: {len(total.faults)}.",
    ]
    if total.reasons:
        lines += ["", "Configurations on which the two sides part on purpose:", ""]
        lines += [f"- {count:,}: {reason}" for reason, count in total.reasons.most_common()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.table", description=__doc__)
    parser.add_argument("--op", action="append", choices=GRIDS, help="only this operation")
    parser.add_argument("--sample", type=int, metavar="N", help="N configurations an operation")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the table goes")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), metavar="P")
    options = parser.parse_args(arguments)
    wanted = options.op or [op for op in GRIDS if op in ops.__all__]
    print(f"oracle: {oracle.description()}", flush=True)
    table, begin = {}, time.perf_counter()
    for op, row in rows(wanted, options.sample, options.processes):
        table[op] = row
        print(
            f"{time.perf_counter() - begin:6.0f} s  {op}: {row.verdicts['compared']:,} compared, "
            f"{row.verdicts['rejected']:,} rejected by both, {row.verdicts['apart']:,} apart on "
            f"purpose, {len(row.faults)} disagreements",
            flush=True,
        )
    part = [f"--op {op}" for op in options.op or []]
    part += [f"--sample {options.sample}"] if options.sample else []
    command = " ".join(["python -m tests.parity.table", *part])
    text = markdown(table, command)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    faults = [fault for row in table.values() for fault in row.faults]
    for fault in faults[:NAMED]:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

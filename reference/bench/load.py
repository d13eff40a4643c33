"""A training step on a machine that is busy: ``python -m reference.bench.load``.

    python -m reference.bench.load --seconds 6          # some 5 minutes; nothing else may run
    python -m reference.bench.load --loads 0 2 --workload resnet20/train --batch 128

For each load, so many processes that never rest run beside. minicnn on one thread, on all, and with
the number that it chooses itself (``minicnn.pace``), and PyTorch on one thread and on all take
turns, for a second each, in an order drawn anew in each round. What is printed is the mean time of
a step in milliseconds: the median of a busy machine hides the steps that wait.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from minicnn.pace import Pace
from minicnn.pool import most_threads
from reference.bench.sides import Side
from reference.bench.workloads import WORKLOADS

LOADS = (0, 2, 4, 8, 16)
BLOCK = 1.0  # seconds
BUSY = "while True: pass"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Have so many processes compute beside, in the block."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


class Way:
    """A side on a number of threads, or on those that a pace chooses."""

    def __init__(self, name: str, side: Side, threads: int, pace: Pace | None = None) -> None:
        self.name, self.side, self.threads, self.pace = name, side, threads, pace
        self.steps, self.seconds = 0, 0.0

    def block(self, seconds: float) -> None:
        """Take steps for so long, and count them."""
        before = self.side.use_threads(self.threads)
        try:
            self.side.step()  # the pools of the others fall asleep
            if self.pace is None:
                self._run(seconds, lambda: None)
            else:
                with self.pace:
                    self._run(seconds, self.pace.lap)
        finally:
            self.side.use_threads(before)

    def _run(self, seconds: float, lap: Callable[[], None]) -> None:
        start = time.perf_counter()
        while True:
            self.side.step()
            lap()
            self.steps += 1
            now = time.perf_counter() - start
            if now >= seconds:
                self.seconds += now
                return

    @property
    def milliseconds(self) -> float:
        return 1000 * self.seconds / self.steps


def ways(workload: str, batch: int) -> list[Way]:
    """Return the ways that take turns, each with a network of its own."""
    chosen = WORKLOADS[workload]
    problem = chosen.problem(batch)
    sides = chosen.all_sides(compile=False, peers=False)
    theirs = next(name for name in sides if "torch" in name.lower())
    most = most_threads()
    found = [
        Way(f"{name}, {threads}", sides[name](problem), threads)
        for name in ("minicnn", theirs)
        for threads in dict.fromkeys((1, most))
    ]
    return [*found, Way("minicnn, chosen", sides["minicnn"](problem), most, Pace())]


def measure(workload: str, batch: int, load: int, seconds: float) -> dict[str, float]:
    """Return the mean milliseconds of a step of each way, with so many processes beside."""
    taking = ways(workload, batch)
    for way in taking:  # compiles
        way.block(0.0)
        way.steps, way.seconds = 0, 0.0
    rng = np.random.default_rng(load)
    with busy(load):
        time.sleep(0.5)
        for _ in range(math.ceil(seconds / BLOCK)):
            for number in rng.permutation(len(taking)).tolist():
                taking[number].block(min(BLOCK, seconds))
    return {way.name: way.milliseconds for way in taking}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reference.bench.load",
        description="Times of a training step while other processes keep the cores busy.",
    )
    parser.add_argument("--workload", default="lenet5/train", metavar="NAME")
    parser.add_argument("--batch", type=int, default=64, metavar="IMAGES")
    parser.add_argument("--loads", type=int, nargs="+", default=LOADS, metavar="PROCESSES")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="for each way and load (%(default)s)"
    )
    args = parser.parse_args(argv)
    if args.workload not in WORKLOADS or not WORKLOADS[args.workload].is_network:
        parser.error(f"--workload: there is no network {args.workload}")
    if args.seconds <= 0 or min(args.loads) < 0 or args.batch < 1:
        parser.error("--seconds and --batch must be greater than 0, and --loads at least 0")
    names: list[str] = []
    for load in args.loads:
        times = measure(args.workload, args.batch, load, args.seconds)
        if not names:
            names = list(times)
            print(f"{args.workload}, {args.batch} images: mean milliseconds of a step, on threads:")
            print("busy beside | " + " | ".join(names) + " | chosen / better of the fixed")
        ours = [ms for name, ms in times.items() if name.startswith("minicnn, ")]
        ratio = times["minicnn, chosen"] / min(ours[:-1])
        print(
            f"{load:11} | "
            + " | ".join(f"{times[name]:{len(name)}.2f}" for name in names)
            + f" | {ratio:.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

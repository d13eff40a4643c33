"""Does the checker raise an alarm where nothing is wrong?

    python -m tests.testing.alarms --seeds 10 --examples 1000
    python -m tests.testing.alarms --only networks --seeds 10 --examples 200    # 2,000 networks

checks the gradients of every operation on that many drawn calls for each seed, those of the
strategies' small networks too, and lists each alarm. It is strict: bad manners count. Each call is
checked as drawn and at one other point. ``--only NAME`` picks one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from multiprocessing import Pool
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from minicnn import ops
from minicnn.testing import GradientError, gradcheck
from minicnn.testing import strategies as mst
from minicnn.testing.points import KINDS

NETWORKS = "networks"


def check_call(call: mst.Call, impl: str) -> None:
    """Check one call of an operation; at kinks it has to choose one side, as torch does."""
    gradcheck(
        getattr(ops, call.name), *call.arrays, options={**call.options, "impl": impl},
        kinks="one side", updates=call.updates, elements=12, strict=True,
        points=[KINDS[call.fill.seed % len(KINDS)]],
    )  # fmt: skip


def check_network(drawn: tuple[Any, Any]) -> None:
    model, x = drawn
    gradcheck(model, x, elements=12, strict=True)


def alarms(strategy: Any, check: Callable[[Any], None], seed_: int, examples: int) -> list[str]:
    """Return what the checker said against what was drawn."""
    said = []

    @seed(seed_)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def draw(drawn: Any) -> None:
        try:
            check(drawn)
        except GradientError as error:
            said.append(f"{drawn!r}\n{error}")

    draw()
    return said


def _job(job: tuple[str, int, int]) -> tuple[str, list[str], float]:
    name, seed_, examples = job
    begun, said = time.perf_counter(), []
    if name == NETWORKS:
        said = alarms(mst.networks(), check_network, seed_, examples)
    else:
        for impl in ("fast", "textbook"):
            check = lambda call, impl=impl: check_call(call, impl)  # noqa: E731
            said += alarms(mst.OPERATIONS[name](), check, seed_, examples)
    return name, said, time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--only", choices=[*mst.OPERATIONS, NETWORKS])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    names = [args.only] if args.only else [*mst.OPERATIONS, NETWORKS]
    jobs = [(name, s, args.examples) for name in names for s in range(args.seeds)]
    total, took = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    with Pool(args.processes) as pool:
        for name, said, seconds in pool.imap_unordered(_job, jobs):
            total[name] += len(said)
            took[name] += seconds
            for text in said[:3]:
                print(f"ALARM in {text}\n", flush=True)
    for name in names:
        print(f"{name:22} {total[name]:5} alarms   {took[name]:7.1f} s")
    return 1 if any(total.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())

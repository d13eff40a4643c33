"""The command ``python -m tests.faults``; see the package."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import campaign
from tests.faults.outcomes import Count

# What is done, and its share of the time.
PARTS: dict[str, tuple[Callable[..., None], float]] = {
    "files": (campaign.damaged_files, 0.6),
    "writes": (campaign.failing_writes, 0.15),
    "kills": (campaign.kills, 0.15),
    "resumes": (campaign.resumes_at_once, 0.1),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="minicnn-faults-"))
    count = Count(folder / "kept")
    share = sum(PARTS[name][1] for name in args.parts)
    for name in args.parts:
        run, part = PARTS[name]
        end = time.monotonic() + 60 * args.minutes * part / share
        print(f"{name} ...", file=sys.stderr, flush=True)
        run(count, folder / name, random.Random(args.seed), lambda end=end: time.monotonic() < end)
        shutil.rmtree(folder / name)
    print(count.table())
    for report in count.reports:
        print(f"\n{report}")
    if not count.bad:
        shutil.rmtree(folder)
    return 1 if count.bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Write down what torch computes on a CUDA card, for the test suite to replay on any machine.

    python -m tests.parity.record

computes a fixed set of cases (a sample of every operation's configurations, a training pass of
LeNet-5 and of a residual block) with TF32 off and cuDNN deterministic, and writes them to
tests/parity/recordings/ with the card, the driver and all versions. Without a card it writes
nothing: what a processor computed must not stand under CUDA's name.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tests import oracle
from tests.parity import recording


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output", type=Path, default=recording.FOLDER, help="folder (tests/parity/recordings)"
    )
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print(
            f"record: torch {torch.__version__} finds no CUDA card here. Nothing was written; run "
            "this on a machine with one.",
            file=sys.stderr,
        )
        return 2
    oracle.prepare()
    written = recording.record(args.output, torch.device("cuda"))
    size = sum(path.stat().st_size for path in written)
    print(f"{len(written)} files, {size / 1e6:.1f} MB, in {args.output}: {oracle.description()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

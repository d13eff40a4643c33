"""A run that is killed again and again ends with the weights of one that is left alone.

    python -m tests.reference.kills --times 10 FOLDER lenet5-mnist --epochs 2

trains twice with the same options, once killed (SIGKILL) at random moments and resumed each time,
and compares all that both runs keep. Exit code 0 if every bit is the same.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minicnn import checkpoint
from reference.train.command import main as train

FILES = ("last.safetensors", "model.safetensors")


def start(arguments: Sequence[str]) -> int:
    """Train in a process of its own, which has nothing to import any more; return its number."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = train([*arguments, "--quiet"])
        finally:
            sys.stdout.flush()
            os._exit(code)
    return process


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed(arguments: Sequence[str], seconds: float) -> bool:
    """Train for so long, then kill; return whether it had not come to its end before."""
    process = start(arguments)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    return wait(process) == -signal.SIGKILL


def same(one: Path, other: Path) -> list[str]:
    """Return the names of what two runs keep that is not the same in every bit."""
    different = []
    for file in FILES:
        (a, note_a), (b, note_b) = checkpoint.load(one / file), checkpoint.load(other / file)
        if a.keys() != b.keys():
            different.append(f"{file}: the names")
            continue
        different += [f"{file}: {n}" for n in a if a[n].tobytes() != b[n].tobytes()]
        for note in (note_a, note_b):
            for row in note.get("history", ()):
                del row["seconds"], row["images_per_second"]
        if note_a != note_b:
            different.append(f"{file}: the note")
    return different


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reference.kills")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the moments")
    parser.add_argument("folder", type=Path)
    args, options = parser.parse_known_args(argv)
    quiet, hurt = args.folder / "undisturbed", args.folder / "killed"
    process, begun = start([*options, "--out", str(quiet)]), time.monotonic()
    ready, code = 0.0, None
    while code is None:
        time.sleep(0.001)
        if not ready and (quiet / "config.json").exists():
            ready = time.monotonic() - begun
        ended, status = os.waitpid(process, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
    if code:
        return code
    whole = time.monotonic() - begun - ready
    draw, kills, behind = random.Random(args.seed), 0, []
    arguments = [*options, "--out", str(hurt), "--continue"]
    while kills < args.times:
        # From the first moment on; most of them while it trains, too early to come to the end.
        if not killed(arguments, draw.uniform(0, ready + whole / args.times / 2)):
            print("it came to its end before the last kill: give it more to do", file=sys.stderr)
            return 2
        kills += 1
        behind.append(_stands(hurt))
    print(f"killed {kills} times; steps then done: {', '.join(map(str, behind))}")
    if code := wait(start(arguments)):
        return code
    different = same(quiet, hurt)
    print(f"different: {', '.join(different)}" if different else "every bit is the same")
    return 1 if different else 0


def _stands(folder: Path) -> str:
    try:
        _, note = checkpoint.load(folder / "last.safetensors")
    except checkpoint.CheckpointError as error:
        return "none" if "no such file" in str(error) else f"DAMAGED ({error})"
    return f"{note['epoch']}+{note['batch']}"


if __name__ == "__main__":
    sys.exit(main())

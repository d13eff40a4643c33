"""A reader of the fast side does not have to walk further than now."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

# Files, changes between them and parameters at most. To lower a number is an improvement.
MOST = {
    "textbook forward": (4, 7, 8),
    "textbook backward": (4, 6, 5),
    "direct forward": (11, 22, 8),
    "direct backward": (11, 22, 10),
    "winograd forward": (12, 30, 10),
    "winograd backward": (12, 31, 10),
    "block forward": (21, 49, 10),
    "block backward": (21, 43, 10),
}


@pytest.mark.slow
def test_the_walk_through_a_pass_becomes_no_longer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.trace"], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    line = r"(.+): (\d+) files, (\d+) changes; (\d+) parameters in .+"
    found = {name: tuple(map(int, rest)) for name, *rest in re.findall(line, done.stdout)}
    assert found.keys() == MOST.keys()
    for name, numbers in found.items():
        assert all(a <= b for a, b in zip(numbers, MOST[name], strict=True)), (name, numbers)


def test_kernels_that_are_compiled_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.trace", "direct"], capture_output=True, text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "0"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "compiled kernels cannot be followed. Set NUMBA_DISABLE_JIT=1." in done.stderr

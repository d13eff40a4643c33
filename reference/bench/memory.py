"""The peak memory of one side, in a process that holds nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

SECONDS = 2.0  # of steps, but at least
STEPS = 3


class Memory(NamedTuple):
    """The most bytes that were in memory up to three moments.

    Both libraries import and load much more when they first work, so the imports alone say little:
    what the images cost is rather ``peak - one_image``.
    """

    imports: int  # after the imports
    one_image: int  # after a step on one image
    peak: int  # after some steps on whole batches


def of_a_new_process(workload: str, side: str, batch: int, threads: int) -> Memory:
    """Return the peak of a process that imports one side and lets it step."""
    command = [sys.executable, "-m", __name__, workload, side, str(batch), str(threads)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Memory(*json.loads(done.stdout))


def _peak() -> int:
    """Return the most bytes that this process ever had in memory.

    On Linux not getrusage's ru_maxrss: that passes from the parent to its child, which would then
    report the parent's peak where its own is lower.
    """
    if sys.platform == "linux":
        for line in (
            Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _measure(workload: str, side_name: str, batch: int, threads: int) -> Memory:
    from reference.bench.workloads import WORKLOADS

    kind = WORKLOADS[workload].all_sides()[side_name]
    for name in kind.imports:
        import_module(name)
    imports = _peak()
    kind.use_threads(threads)
    kind(WORKLOADS[workload].problem(1)).step()
    one_image = _peak()
    side = kind(WORKLOADS[workload].problem(batch))
    end, steps = time.perf_counter() + SECONDS, 0
    while steps < STEPS or time.perf_counter() < end:
        side.step()
        steps += 1
    return Memory(imports, one_image, _peak())


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))

"""``reference.train`` in which one process dies: ``python -m tests.reference.dying``.

DYING_RANK is killed before step DYING_STEP, once: then the file DYING_ONCE is there. With
DYING_FITS its memory is out from that step on instead, in the middle of the backward pass of more
images than that; with DYING_DISK it can write no file longer than so many bytes any more.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from reference.train import command, loop
from reference.train.run import Run

_step = loop._step


def step(run: Run, parts):
    here, once = (str(run.machine.rank), str(run.step_number)), Path(os.environ["DYING_ONCE"])
    if here == (os.environ["DYING_RANK"], os.environ["DYING_STEP"]) and not once.exists():
        once.touch()
        if "DYING_DISK" in os.environ:
            limit = int(os.environ["DYING_DISK"])
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        elif "DYING_FITS" in os.environ:
            next(run.model.children()).register_forward_hook(fill)
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return _step(run, parts)


def fill(module, inputs, outputs) -> None:
    def is_out(gradient):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    if len(outputs) > int(os.environ["DYING_FITS"]):
        outputs.register_hook(is_out)


def main(argv: Sequence[str] | None = None) -> int:
    loop._step = step
    return command.main(argv)


if __name__ == "__main__":
    sys.exit(main())

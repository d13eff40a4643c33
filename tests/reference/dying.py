"""``reference.train`` in which one process is killed once: ``python -m tests.reference.dying``.

DYING_RANK is killed before step DYING_STEP, the first time that torchrun has started it.
"""

from __future__ import annotations

import os
import signal
import sys

from reference.train.command import main
from reference.train.machine import restarted
from reference.train.run import Run

_step = Run._step


def step(run: Run, parts):
    here = (str(run.machine.rank), str(run.step_number))
    if here == (os.environ["DYING_RANK"], os.environ["DYING_STEP"]) and not restarted():
        os.kill(os.getpid(), signal.SIGKILL)
    return _step(run, parts)


if __name__ == "__main__":
    Run._step = step  # type: ignore[method-assign]
    sys.exit(main())

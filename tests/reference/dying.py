"""``reference.train`` in which one process is killed once: ``python -m tests.reference.dying``.

DYING_RANK is killed before step DYING_STEP, once: then the file DYING_ONCE is there.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from reference.train.command import main
from reference.train.run import Run

_step = Run._step


def step(run: Run, parts):
    here, once = (str(run.machine.rank), str(run.step_number)), Path(os.environ["DYING_ONCE"])
    if here == (os.environ["DYING_RANK"], os.environ["DYING_STEP"]) and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return _step(run, parts)


if __name__ == "__main__":
    Run._step = step  # type: ignore[method-assign]
    sys.exit(main())

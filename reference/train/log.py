"""What is written of every step: ``steps.csv``, and TensorBoard's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.checkpoint import write_whole
from minicnn.run_folder import TrainError
from reference.train.loop import Step
from reference.train.run import Run

_HEAD = "step,loss,accuracy,learning_rate\n"


class Log:
    """The logs that are asked for. What a resumed run does again, it logs in its place."""

    def __init__(self, run: Run, *, steps: bool, tensorboard: bool) -> None:
        self._file = _opened(run.folder / "steps.csv", run.step_number) if steps else None
        self._writer = _writer(run) if tensorboard else None
        self._steps = run.steps

    def step(self, step: Step) -> None:
        if self._file is not None:
            self._file.write(f"{step.number},{step.loss!r},{step.accuracy!r},{step.rate!r}\n")
            self._file.flush()
        if self._writer is not None:
            self._writer.add_scalar("step/loss", step.loss, step.number)
            self._writer.add_scalar("step/accuracy", step.accuracy, step.number)
            self._writer.add_scalar("step/learning_rate", step.rate, step.number)

    def epoch(self, row: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(f"epoch/{name}", value, int(row["epoch"]) * self._steps)

    def close(self) -> None:
        for log in (self._file, self._writer):
            if log is not None:
                log.close()


def _opened(path: Path, first: int) -> Any:
    """Open the file behind its lines of the steps before ``first``."""
    kept = _HEAD
    if first and path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        kept += "".join(line for line in lines if int(line.partition(",")[0]) < first)
    write_whole(path, kept.encode())
    return path.open("a", encoding="utf-8")


def _writer(run: Run) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainError(
            "TensorBoard is not installed. Use: pip install tensorboard, or leave --tensorboard out"
        ) from error
    return SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step_number)

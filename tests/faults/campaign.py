"""The parts of the campaign: damaged files, writes that fail, kills, and two resumes at once."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from minicnn import checkpoint, files
from minicnn.cli import main
from tests.faults import damage, formats
from tests.faults.formats import Format, command, end_of
from tests.faults.outcomes import Count, Told, equal, judge

TRAINING = ("train", "lenet5", "--epochs", "2", "--batch-size", "128", "--quiet")


# ------------------------------------------------------------------------------------ damaged files


def damaged_files(
    count: Count, folder: Path, draw: random.Random, more: Callable[[], bool]
) -> None:
    """Damage a file of each format in turn, as long as there is ``more``."""
    folder.mkdir(parents=True, exist_ok=True)
    with formats.without_pictures():
        run = formats.whole_run(folder / "run")
        kinds = [
            *formats.of_a_run(run, folder / "work"),
            *formats.of_data(folder / "data"),
            *formats.of_pytorch(folder),
        ]
        good = {kind.name: kind.read(kind.content) for kind in kinds}
        while True:
            for kind in kinds:
                if not more():
                    return
                content, checked = _damaged(kind, draw)
                outcome, detail = judge(
                    lambda kind=kind, content=content: kind.read(content),  # type: ignore[misc]
                    good[kind.name], kind.file, checked,
                )  # fmt: skip
                count.add(kind.name, outcome, detail, content)


def _damaged(kind: Format, draw: random.Random) -> tuple[bytes, bool]:
    """Return damaged content, and whether a checksum covers it still."""
    if kind.file.endswith(".safetensors") and draw.random() < 0.3:
        return _with_other_note(kind.content, draw), False
    content = damage.damaged(kind.content, draw)
    if kind.file.endswith(".gz") or kind.name == "CIFAR's archive":
        return content, kind.checked and content[:10] == kind.content[:10]
    return content, kind.checked and b"sha256" in content


def _with_other_note(content: bytes, draw: random.Random) -> bytes:
    """Return a checkpoint with an edited note and without a checksum."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    meta = header["__metadata__"]
    note = json.loads(meta["note"])
    if not isinstance(note, dict):
        return damage.cut(content, draw)
    header["__metadata__"] = {"note": json.dumps(damage.edited_note(note, draw))}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


# ----------------------------------------------------------------------------------- failing writes


class _Fails:
    """Lets the n-th call of what writes fail."""

    def __init__(self, at: int, code: int) -> None:
        self.calls, self._at, self._code = 0, at, code

    def wrap(self, function: Callable) -> Callable:
        def called(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                raise OSError(self._code, os.strerror(self._code))
            return function(*arguments, **options)

        return called


@contextlib.contextmanager
def _failing(at: int, code: int) -> Iterator[_Fails]:
    """Let the n-th open, sync or rename of what is written fail."""
    fails = _Fails(at, code)
    with (
        mock.patch.object(files, "open_part", fails.wrap(files.open_part)),
        mock.patch.object(files.os, "fsync", fails.wrap(os.fsync)),
        mock.patch.object(Path, "replace", fails.wrap(Path.replace)),
        mock.patch.object(Path, "mkdir", fails.wrap(Path.mkdir)),
        mock.patch.object(Path, "touch", fails.wrap(Path.touch)),
    ):
        yield fails


def failing_writes(
    count: Count, folder: Path, draw: random.Random, more: Callable[[], bool], every: int = 1
) -> None:
    """Let each write of a run fail in turn, then go on: the end must be the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with formats.without_pictures():
        command(*TRAINING, "--out", str(folder / "whole"))
        whole, at = end_of(folder / "whole"), 1
        while more():
            run = folder / "hurt"
            shutil.rmtree(run, ignore_errors=True)
            code = draw.choice([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT])
            with _failing(at, code) as fails:
                outcome, detail = judge(
                    lambda run=run: command(*TRAINING, "--out", str(run)), "", "", False
                )  # type: ignore[misc]
            if fails.calls < at:
                return  # there are no more writes
            outcome = "told" if outcome in ("unseen", "same") else outcome  # one that may fail
            if outcome == "told":
                outcome, detail = _gone_on(run, whole, f"write {at}, {errno.errorcode[code]}")
            count.add("a write fails", outcome, detail)
            at += every


def _gone_on(run: Path, whole: dict[str, Any], what: str) -> tuple[str, str]:
    """Go on with a run; return what came of it, and no ``told`` where its end is another one."""
    left = [path.name for path in run.glob(".*.part")] if run.exists() else []
    if left:
        return "SILENT", f"{what}: left {left}"
    try:
        command(*_going_on(run))
    except Told as told:
        return "TRACEBACK", f"{what}: cannot be gone on with: {told}"
    except Exception as error:
        return "TRACEBACK", f"{what}: going on: {error!r}"
    if not equal(end_of(run), whole):
        return "SILENT", f"{what}: another end"
    return "told", ""


# -------------------------------------------------------------------------------------------- kills


def kills(
    count: Count, folder: Path, draw: random.Random, more: Callable[[], bool], each: int = 10
) -> None:
    """Kill a run at random moments, ``each`` times, and go on: the end must be the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with formats.without_pictures():
        begun = time.monotonic()
        command(*TRAINING, "--out", str(folder / "whole"))
        whole = end_of(folder / "whole")
        _wait(_start((*TRAINING, "--out", str(folder / "fork"))))
        begun = time.monotonic()
        shutil.rmtree(folder / "fork")
        _wait(_start((*TRAINING, "--out", str(folder / "fork"))))
        lasts = time.monotonic() - begun
        while more():
            run = folder / "killed"
            shutil.rmtree(run, ignore_errors=True)
            for _ in range(each):
                _kill_after(_start(_going_on(run)), draw.uniform(0, lasts / 2))
                for path in (run / "last.safetensors", run / "model.safetensors"):
                    if path.exists():
                        try:
                            checkpoint.load(path, finite=True)
                        except checkpoint.CheckpointError as error:
                            count.add("a kill", "SILENT", f"half a file: {error}")
                count.add("a kill", "told")
            code = _wait(_start(_going_on(run)))
            left = [path.name for path in run.iterdir() if path.name.endswith(".part")]
            same = not code and not left and equal(end_of(run), whole)
            count.add(
                "the end after kills", "same" if same else "SILENT", f"exit code {code} {left}"
            )


def _going_on(run: Path) -> tuple[str, ...]:
    if (run / "config.json").exists():
        return ("train", "--quiet", "--resume", str(run))
    return (*TRAINING, "--out", str(run))


def resumes_at_once(
    count: Count, folder: Path, draw: random.Random, more: Callable[[], bool]
) -> None:
    """Let two processes take up one run at once: one does, the other one says why not."""
    folder.mkdir(parents=True, exist_ok=True)
    with formats.without_pictures():
        command(*TRAINING, "--out", str(folder / "whole"))
        whole = end_of(folder / "whole")
        while more():
            run = folder / "shared"
            shutil.rmtree(run, ignore_errors=True)
            _kill_when(_start((*TRAINING, "--out", str(run))), run / "last.safetensors")
            said = [folder / "one", folder / "other"]
            ready, go = os.pipe()
            both = [_start(_going_on(run), say=file, wait_for=ready, close=go) for file in said]
            os.close(ready)
            os.close(go)  # both begin
            codes = sorted(map(_wait, both))
            texts = "".join(file.read_text(encoding="utf-8") for file in said)
            refused = codes == [0, 2] and texts.count("is writing this run") == 1
            if refused and equal(end_of(run), whole):
                count.add("two resumes at once", "told")
            else:
                count.add("two resumes at once", "SILENT", f"exit codes {codes}: {texts}")


def _start(
    arguments: Sequence[str],
    say: Path | None = None,
    wait_for: int | None = None,
    close: int | None = None,
) -> int:
    """Run the command in a process of its own, which has nothing to import any more."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        if wait_for is not None and close is not None:
            os.close(close)
            os.read(wait_for, 1)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(arguments)
        if say is not None:
            say.write_text(out.getvalue(), encoding="utf-8")
    except BaseException as error:
        print(f"{arguments}: {error!r}", file=sys.stderr)
    finally:
        os._exit(code)


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _kill_after(process: int, seconds: float) -> None:
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _wait(process)


def _kill_when(process: int, exists: Path) -> None:
    """Kill a process once a file is there, or wait for its end."""
    while not exists.exists():
        if os.waitpid(process, os.WNOHANG)[0]:
            return
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    _wait(process)

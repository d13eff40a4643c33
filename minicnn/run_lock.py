"""One process writes a run.

The right to write is a lock of the system on the file ``.lock`` in the folder of the run. It ends
with its process, however that ends, so a killed run never blocks the next one. Beside it the file
``.writer`` says in words who holds it, for the message that another process gets.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from minicnn import files
from minicnn.run_folder import TrainError

LOCK, WRITER = ".lock", ".writer"
_PATIENCE = 10  # seconds, for what a dead process started and that has not noticed its death yet


class Writer(msgspec.Struct):
    """Who writes a run."""

    process: int
    machine: str
    since: str

    @property
    def dead(self) -> bool:
        return self.machine == socket.gethostname() and not files.is_alive(self.process)


class RunLock:
    """The right of one object of this process to write the run in ``folder``.

    Another object of this process that asks takes the right over: the first one may not write any
    more. Raises TrainError where another process has the right, or nobody may write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._process = folder, os.getpid()
        key = str(folder.resolve())
        before = _held.get(key)
        if before is not None and before.held:
            self._lock = before._hand_over()
        else:
            self._lock = _acquired(folder)
        _held[key] = self
        self._end = weakref.finalize(self, _release, self._lock, folder, self._process)

    @property
    def held(self) -> bool:
        return self._end.alive and os.getpid() == self._process

    def check(self) -> None:
        """Raise TrainError where this object may not write any more, or the folder cannot be."""
        if not self.held:
            raise TrainError(
                f"{self.folder}: another run was begun or taken up in this folder, which writes it "
                "now. Use that one."
            )
        check_writable(self.folder)

    def release(self) -> None:
        """Give the right back; to give it back twice does nothing."""
        if self.held:
            self._end()

    def _hand_over(self) -> Any:
        self._end.detach()
        return self._lock


_held: weakref.WeakValueDictionary[str, RunLock] = weakref.WeakValueDictionary()


def check_writable(folder: Path) -> None:
    """Raise TrainError where nothing can be written into the folder of a run."""
    try:
        files.check_writable(folder)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> TrainError:
    return TrainError(
        f"{folder}: cannot be written to ({error.strerror or error}). Make room there and allow "
        f"this user to write, or copy the folder elsewhere and go on with the copy by --resume."
    )


def _acquired(folder: Path) -> Any:
    """Return the lock of the folder; None where its drive has none, which is said."""
    from filelock import FileLock, Timeout

    check_writable(folder)
    lock: Any = FileLock(folder / LOCK, thread_local=False)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except Timeout as error:
            writer = _writer(folder)
            if writer is not None and writer.dead and time.monotonic() < end:
                time.sleep(0.1)
                continue
            who = "another process"
            if writer is not None:
                who = f"process {writer.process} on {writer.machine}, since {writer.since},"
            raise TrainError(
                f"{folder}: {who} is writing this run. Wait for its end or stop it, then go on by: "
                f"--resume {folder}"
            ) from error
        except PermissionError as error:
            raise _not_writable(folder, error) from error
        except (OSError, NotImplementedError) as error:  # some network drives know no locks
            print(
                f"minicnn: {folder}: this drive has no locks ({error}), so a second process would "
                "not be noticed. Take care to start one alone.",
                file=sys.stderr,
            )
            lock = None
            break
    files.sweep(folder, alone=lock is not None)
    me = Writer(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"))
    try:
        files.write_whole(folder / WRITER, msgspec.json.encode(me))
    except OSError as error:
        if lock is not None:
            lock.release()
        raise _not_writable(folder, error) from error
    return lock


def _writer(folder: Path) -> Writer | None:
    try:
        return msgspec.json.decode(
            files.read_bounded(folder / WRITER, 2**12, "the name of a process"), type=Writer
        )
    except (OSError, ValueError):
        return None


def _release(lock: Any, folder: Path, process: int) -> None:
    if os.getpid() != process:  # a fork of it, which has not the right
        return
    with suppress(OSError):
        (folder / WRITER).unlink(missing_ok=True)
    if lock is not None:
        lock.release()

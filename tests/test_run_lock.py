"""One process writes a run, and what a dead one left does not stay."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from minicnn import files, run_lock
from minicnn.run_folder import TrainError
from minicnn.run_lock import RunLock

HOLDS = """
import sys, time
from pathlib import Path
from minicnn.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process, which holds the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_a_second_process_is_refused_with_the_first_ones_name(tmp_path: Path, other) -> None:
    with pytest.raises(TrainError) as caught:
        RunLock(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}: process {other.pid} on ")
    assert text.endswith(f"go on by: --resume {tmp_path}")


@pytest.mark.slow
def test_the_lock_of_a_killed_process_does_not_hold(tmp_path: Path, other) -> None:
    (tmp_path / f".last.safetensors.{other.pid}.part").write_bytes(b"half")
    other.kill()
    other.wait()
    lock = RunLock(tmp_path)
    assert lock.held
    assert not list(tmp_path.glob("*.part"))


def test_another_object_of_this_process_takes_over(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    second = RunLock(tmp_path)
    second.check()
    with pytest.raises(TrainError, match="was begun or taken up in this folder"):
        first.check()
    first.release()  # which is not its any more
    assert second.held
    second.release()
    assert RunLock(tmp_path).held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_has_not_the_right_and_does_not_give_it_back(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    process = os.fork()
    if process == 0:
        held = lock.held
        lock.release()
        os._exit(int(held))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert (tmp_path / ".writer").exists()
    assert lock.held


def test_a_drive_without_locks_is_said(tmp_path: Path, monkeypatch, capsys) -> None:
    import filelock

    def refuse(self, **_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    lock = RunLock(tmp_path)
    assert lock.held
    assert "this drive has no locks" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_with_a_remedy(tmp_path: Path, monkeypatch) -> None:
    def refuse(folder):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files, "check_writable", refuse)
    with pytest.raises(TrainError) as caught:
        RunLock(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: cannot be written to (Read-only file system). Make room there and allow this "
        "user to write, or copy the folder elsewhere and go on with the copy by --resume."
    )


def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    while files.is_alive(process.pid):  # somebody else may have its number for a moment
        time.sleep(0.1)
    return process.pid


def test_who_writes_a_file_removes_what_dead_processes_left_of_it(tmp_path: Path) -> None:
    left = tmp_path / f".a.json.{dead()}.part"
    of_another_file = tmp_path / f".b.json.{dead()}.part"
    of_the_living = tmp_path / f".a.json.{os.getppid()}.part"
    for part in (left, of_another_file, of_the_living):
        part.write_bytes(b"half")
    files.write_whole(tmp_path / "a.json", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted(
        [tmp_path / "a.json", of_another_file, of_the_living]
    )


def test_a_lock_that_outlives_its_process_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch
) -> None:
    """What a dead process had started may hold its lock until it notices."""
    import filelock

    real, tries = filelock.FileLock.acquire, []

    def acquire(self, **how):
        tries.append(how)
        if len(tries) < 3:
            raise filelock.Timeout(self.lock_file)
        return real(self, **how)

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    writer = run_lock.Writer(dead(), socket.gethostname(), "2020-01-01 00:00:00")
    (tmp_path / run_lock.WRITER).write_bytes(msgspec.json.encode(writer))
    assert RunLock(tmp_path).held
    assert len(tries) == 3


@pytest.mark.parametrize("written", [None, b"", b"no json", b"[1]"])
def test_a_writer_that_cannot_be_read_is_another_process(
    tmp_path: Path, monkeypatch, written: bytes | None
) -> None:
    import filelock

    def refuse(self, **_):
        raise filelock.Timeout(self.lock_file)

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    if written is not None:
        (tmp_path / run_lock.WRITER).write_bytes(written)
    with pytest.raises(TrainError, match=": another process is writing this run"):
        RunLock(tmp_path)


def test_a_writer_on_another_machine_may_be_alive(tmp_path: Path, monkeypatch) -> None:
    import filelock

    def refuse(self, **_):
        raise filelock.Timeout(self.lock_file)

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    writer = run_lock.Writer(dead(), "elsewhere", "2020-01-01 00:00:00")
    (tmp_path / run_lock.WRITER).write_bytes(msgspec.json.encode(writer))
    with pytest.raises(TrainError, match=f"process {writer.process} on elsewhere, since 2020-01"):
        RunLock(tmp_path)

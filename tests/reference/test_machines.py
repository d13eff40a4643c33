"""Several processes, one of which dies; and one process that is killed again and again."""

from __future__ import annotations

import csv
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist

from minicnn import checkpoint
from minicnn.run_folder import TrainError
from reference.data import load
from reference.presets import recipe_for
from reference.train import state
from reference.train.checks import check_machine, check_parts
from reference.train.config import read_config
from reference.train.evaluation import evaluate
from reference.train.machine import Machine, _meet, join
from reference.train.run import Run

OPTIONS = ("lenet5", "--data", "digits", "--batch-size", "64", "--device", "cpu", "--quiet")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


class Done(NamedTuple):
    returncode: int | None
    stdout: str
    stderr: str


def two(command: str, *arguments: str, **environment: str) -> list[Done]:
    """Run two processes that meet by what torchrun would tell them.

    They are forks of one that has imported everything, which takes longer than what they do.
    """
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.reference.dying", "reference.train.command"])
    done = []
    with tempfile.TemporaryDirectory() as place:
        processes = []
        for rank in "01":
            variables = {**environment, **meeting, "RANK": rank, "OMP_NUM_THREADS": "1"}
            streams = [f"{place}/{name}{rank}" for name in ("out", "err")]
            process = context.Process(
                target=_as_command, args=(command, arguments, variables, streams)
            )
            process.start()
            processes.append((process, streams))
        for process, streams in processes:
            process.join(300)
            texts = [Path(stream).read_text(encoding="utf-8") for stream in streams]
            done.append(Done(process.exitcode, *texts))
            process.kill()
    return done


def _as_command(
    command: str, arguments: Sequence[str], variables: dict[str, str], streams: list[str]
) -> None:
    """Be the process of a command, whose streams are files."""
    os.environ.update(variables)
    torch.set_num_threads(1)
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.exit(import_module(command).main(list(arguments)))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return what metrics.csv says of every epoch, the time aside."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == list(range(len(lines)))
    return [float(line["loss"]) for line in lines]


@pytest.mark.slow
def test_two_processes_of_which_one_dies_learn_as_one(tmp_path: Path, train) -> None:
    """100 steps, each process under a torchrun of its own as on two machines.

    One process is killed, and both go on from the checkpoint.
    """
    alone, shared = tmp_path / "one", tmp_path / "two"
    options = (*OPTIONS, "--epochs", "5", "--log-steps")
    assert train(*options[:5], "--epochs", "5", "--log-steps", out=alone)[0] == 0
    place = f"localhost:{free_port()}"
    arguments = (
        "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--monitor-interval",
        "0.1", "-m", "tests.reference.dying", *options, "--save-every", "10", "--out", str(shared),
        "--continue",
    )  # fmt: skip
    dying = {"DYING_RANK": "1", "DYING_STEP": "57", "DYING_ONCE": str(tmp_path / "died")}
    with ThreadPoolExecutor() as pool:
        machines = list(pool.map(lambda _: run(*arguments, **dying), range(2)))
    assert [done.returncode for done in machines] == [0, 0], machines[0].stderr + machines[1].stderr
    said = "".join(done.stdout for done in machines)
    assert "; 2 processes; float32; 32 images at a time" in said
    assert "going on in epoch 3 after batch 10" in said
    expected, got = losses(alone), losses(shared)
    assert len(expected) == len(got) == 100
    assert max(abs(a - b) for a, b in zip(expected, got, strict=True)) < 1e-4
    for row, own in zip(metrics(alone), metrics(shared), strict=True):
        assert own == pytest.approx(row, rel=1e-3)
    best = [checkpoint.load(folder / "model.safetensors")[1] for folder in (alone, shared)]
    assert best[0] == best[1]


@pytest.mark.slow
def test_memory_that_is_out_amid_the_backward_pass_of_one_process(tmp_path: Path) -> None:
    """What fits is found without the other, whose gradients it was to exchange."""
    options = (*OPTIONS, "--epochs", "1", "--out", str(tmp_path / "run"))
    dying = {"DYING_RANK": "0", "DYING_STEP": "2", "DYING_FITS": "9"}
    dying["DYING_ONCE"] = str(tmp_path / "died")
    full, other = two("tests.reference.dying", *options, **dying)
    assert (full.returncode, other.returncode) == (2, 2), full.stderr + other.stderr
    assert "out with 32 images at a time. A batch of 8 would fit: --accumulate 4 " in full.stderr
    assert "another process of this run has died" in other.stderr
    assert full.stderr.count("\n") == other.stderr.count("\n") == 1


@pytest.mark.slow
def test_two_processes_stop_where_a_disk_is_full_or_a_checkpoint_damaged(tmp_path: Path) -> None:
    """Each with one line; what was written before stays whole."""
    folder = tmp_path / "run"
    options = (*OPTIONS, "--epochs", "2", "--save-every", "5", "--out", str(folder))
    dying = {"DYING_RANK": "0", "DYING_STEP": "7", "DYING_DISK": "9000"}
    full, other = two("tests.reference.dying", *options, **dying, DYING_ONCE=str(tmp_path / "died"))
    assert (full.returncode, other.returncode) == (2, 2), full.stderr + other.stderr
    assert "last.safetensors: cannot be written (File too large)" in full.stderr
    assert "The file that was there is unchanged." in full.stderr
    assert f"Go on with: python -m reference.train --resume {folder}" in other.stderr
    assert full.stderr.strip().count("\n") == other.stderr.strip().count("\n") == 0
    assert not list(folder.glob(".*.part"))
    last = folder / "last.safetensors"
    assert checkpoint.load(last)[1]["batch"] == 5
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 64
    last.write_bytes(content)
    for done in two("reference.train.command", "--resume", str(folder)):
        assert done.returncode == 2
        assert "the file is damaged. Take another copy, or train anew." in done.stderr
        assert done.stderr.strip().count("\n") == 0


@pytest.mark.slow
def test_two_processes_report_what_the_weights_they_keep_are_worth(tmp_path: Path) -> None:
    """With batch norm, whose statistics are of each process's own images until they are shared."""
    options = (*OPTIONS, "--head", "mlp-bn", "--epochs", "1", "--lr", "0.01")
    for done in two("reference.train.command", *options, "--out", str(tmp_path)):
        assert done.returncode == 0, done.stderr
    chosen, _ = read_config(tmp_path)
    kept = Run(chosen, tmp_path, Machine(torch.device("cpu")), workers=0)
    state.load_best(kept)
    [said], worth = metrics(tmp_path), evaluate(kept, "validation")
    assert said["validation_loss"] == pytest.approx(worth.loss, rel=1e-5)
    assert said["validation_accuracy"] == worth.accuracy


def test_fewer_images_than_a_batch_for_each_process() -> None:
    parts = load("digits", None, channels=1)
    machine = Machine(torch.device("cpu"), 0, 4)
    with pytest.raises(TrainError) as error:
        check_parts(recipe_for("lenet5", "digits", batch_size=2000), machine, parts)
    assert str(error.value) == (
        "digits: a batch of 2000 (500 in each of 4 processes) is larger than the 1318 training "
        "images. Use --batch-size 1316 or less."
    )


def test_a_batch_that_the_processes_cannot_share() -> None:
    with pytest.raises(TrainError, match=r"into 6 equal parts, 3 for each of 2 processes\."):
        check_machine(
            recipe_for("lenet5", "digits", accumulate=3), Machine(torch.device("cpu"), 0, 2)
        )


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    done = run(
        "tests.reference.kills", "--times", "2", str(tmp_path), *OPTIONS[:-1], "--epochs", "2",
        "--save-every", "2", "--ema", "0.9", "--flip", "--shift", "1", "--workers", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 2 times" in done.stdout
    assert "DAMAGED" not in done.stdout
    assert "every bit is the same" in done.stdout


def test_a_lost_peer_is_told_from_other_errors() -> None:
    error = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer.")
    machine = Machine(torch.device("cpu"), 0, 2)
    assert machine.lost(error)
    assert not machine.lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not Machine(torch.device("cpu")).lost(error)


def test_each_start_has_a_store_of_its_own(monkeypatch) -> None:
    """The store that torchrun keeps is full of what the dead have asked and answered."""
    kept = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    mine = threading.local()
    monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(mine.store, mine.rank, 3)]))

    def start(rank: int) -> tuple[bool, int]:
        mine.store, mine.rank = dist.TCPStore("localhost", kept.port), rank
        store, rank, size = _meet()
        old = store.check([f"from {other}" for other in range(size)])
        store.set(f"from {rank}", "here")
        store.wait([f"from {other}" for other in range(size)])
        return old, rank

    kept.set("asks 1", "the dead")
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            assert list(pool.map(start, (1, 0, 2))) == [(False, 1), (False, 0), (False, 2)]


def test_processes_that_cannot_be_joined(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(TrainError, match=r"cannot be joined \(.*RANK expected.*by torchrun"):
        join("cpu").__enter__()


@pytest.mark.parametrize("local_rank", [0, 1])
def test_the_first_process_of_each_machine_reads_before_the_others(monkeypatch, local_rank) -> None:
    done: list[str] = []
    others: list[Exception | None] = [None]

    def gather(self, value):
        done.append("all wait")
        return [*others, value]

    monkeypatch.setattr(Machine, "gather", gather)
    machine = Machine(torch.device("cpu"), 2 + local_rank, 4, local_rank, 2)
    assert machine.first_here(lambda: done.append("reads") or 7) == 7
    assert done == (["reads", "all wait"] if local_rank == 0 else ["all wait", "reads"])
    others.append(TrainError("elsewhere"))
    with pytest.raises(TrainError, match="elsewhere"):
        machine.first_here(lambda: 7)


def test_what_torchrun_may_start_again_is_told_to_go_on(train, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    code, _, err = train(*OPTIONS[:5], "--epochs", "1")
    assert (code, "Give --out RUN --continue" in err) == (2, True)
    assert train(*OPTIONS[:5], "--epochs", "1", "--continue")[0] == 0
    assert train("--resume", tmp_path / "run")[0] == 0

"""Several processes, one of which dies; and one process that is killed again and again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minicnn import checkpoint
from minicnn.run_folder import TrainError
from reference.data import load
from reference.presets import recipe_for
from reference.train.checks import check_parts
from reference.train.machine import Machine

OPTIONS = ("lenet5", "--data", "digits", "--batch-size", "64", "--device", "cpu", "--quiet")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == list(range(len(lines)))
    return [float(line["loss"]) for line in lines]


def test_two_processes_of_which_one_dies_learn_as_one(tmp_path: Path, train) -> None:
    """100 steps under torchrun; one process is killed, and both go on from the checkpoint."""
    one, two = tmp_path / "one", tmp_path / "two"
    options = (*OPTIONS, "--epochs", "5", "--log-steps")
    assert train(*options[:5], "--epochs", "5", "--log-steps", out=one)[0] == 0
    done = run(
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
        "--monitor-interval", "0.1", "-m", "tests.reference.dying", *options,
        "--save-every", "10", "--out", str(two), DYING_RANK="1", DYING_STEP="57",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "; 2 processes; float32; 32 images at a time" in done.stdout
    assert "going on in epoch 3 after batch 10" in done.stdout
    expected, got = losses(one), losses(two)
    assert len(expected) == len(got) == 100
    assert max(abs(a - b) for a, b in zip(expected, got, strict=True)) < 1e-4
    best = [checkpoint.load(folder / "model.safetensors")[1] for folder in (one, two)]
    assert best[0] == best[1]


def test_fewer_images_than_a_batch_for_each_process() -> None:
    parts = load("digits", None, channels=1)
    machine = Machine(torch.device("cpu"), 0, 4)
    with pytest.raises(TrainError) as error:
        check_parts(recipe_for("lenet5", "digits", batch_size=2000), machine, parts)
    assert str(error.value) == (
        "digits: a batch of 2000 (500 in each of 4 processes) is larger than the 1318 training "
        "images. Use --batch-size 1316 or less."
    )


def test_killed_again_and_again_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    done = run(
        "tests.reference.kills", "--times", "4", str(tmp_path), *OPTIONS[:-1], "--epochs", "2",
        "--save-every", "2", "--ema", "0.9", "--flip", "--shift", "1", "--workers", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 4 times" in done.stdout
    assert "DAMAGED" not in done.stdout
    assert "every bit is the same" in done.stdout


def test_a_lost_peer_is_told_from_other_errors() -> None:
    error = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer.")
    machine = Machine(torch.device("cpu"), 0, 2)
    assert machine.lost(error)
    assert not machine.lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not Machine(torch.device("cpu")).lost(error)

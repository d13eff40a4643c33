"""The trainer: what a run leaves, how it goes on, and what it says of what is wrong."""

from __future__ import annotations

import copy
import csv
import json
import os
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minicnn import checkpoint
from minicnn.evaluation import Scores
from minicnn.interruption import Interrupted
from reference import exchange
from reference.data import Pictures
from reference.presets import PRESETS, Recipe, recipe_for
from reference.train import state
from reference.train.loop import fit
from reference.train.machine import Machine
from reference.train.run import Run
from tests.arrays import whole_networks
from tests.reference import kills
from tests.reference.conftest import write_images

pytestmark = pytest.mark.slow

CPU = Machine(torch.device("cpu"))
SHORT = ("--data", "digits", "--epochs", "2", "--epoch-steps", "4", "--batch-size", "32")


def recipe(**options) -> Recipe:
    """A short run of the small network in which everything that has state takes part."""
    options = {"model": "tiny", "data": "digits", "epochs": 2, "epoch_steps": 4} | options
    return Recipe(**{"batch_size": 32, "shift": 1, "flip": True, "ema": 0.9} | options)


def run_of(folder: Path, **options) -> Run:
    """A new run in ``folder``, which reads in this process."""
    folder.mkdir()
    run = Run(recipe(**options), folder, CPU, workers=0)
    checkpoint.write_json(folder / "config.json", run.config())
    return run


# ------------------------------------------------------------------------------ what a run leaves


@whole_networks
def test_a_run_leaves_what_minicnns_leaves(tmp_path: Path, pictures, train) -> None:
    from minicnn.cli import main as minicnn

    code, out, err = train("lenet5", *SHORT)
    assert (code, err) == (0, "")
    assert "on the CPU, 1 thread" in out
    options = ["--data", "digits", "--epochs", "1", "--batch-size", "600", "--quiet"]
    assert minicnn(["train", "lenet5", *options, "--out", str(tmp_path / "ours")]) == 0
    files, columns = {}, {}
    for name in ("run", "ours"):
        files[name] = {path.name for path in (tmp_path / name).iterdir()}
        with (tmp_path / name / "metrics.csv").open(encoding="utf-8") as file:
            columns[name] = csv.DictReader(file).fieldnames
    assert files["run"] == files["ours"]
    assert columns["run"] == columns["ours"]
    keys = [
        json.loads((tmp_path / n / "result.json").read_text(encoding="utf-8")).keys() for n in files
    ]
    assert keys[0] == keys[1]


@whole_networks
@pytest.mark.parametrize("model", ["lenet5", "inception_mnist"])
def test_minicnn_evaluates_the_run_to_the_same_classes(tmp_path: Path, train, capsys, model):
    from minicnn.cli import main as minicnn

    assert train(model, *SHORT, "--ema", "0.5")[0] == 0
    run = str(tmp_path / "run")
    assert exchange.main([run, "--check"]) == 0
    assert "359 of 359 test images are taken for the same class" in capsys.readouterr().out
    assert minicnn(["evaluate", f"{run}/minicnn"]) == 0
    accuracy = json.loads((tmp_path / "run/result.json").read_text(encoding="utf-8"))[
        "test_accuracy"
    ]
    assert f"accuracy {accuracy:.2%}" in capsys.readouterr().out


@whole_networks
def test_a_run_of_cut_images_is_compared_on_them_and_not_on_others(
    tmp_path: Path, train, capsys
) -> None:
    """Though the images are of one size, minicnn would see others than those that were cut."""
    from minicnn.cli import main as minicnn

    folder, run = write_images(tmp_path / "images", {"a": 12, "b": 12}, more=0), tmp_path / "run"
    data = ("--data", f"imagefolder:{folder}", "--size", "28", "--batch-size", "8")
    assert "for minicnn: python -m reference.exchange" in train("lenet5", *data, *SHORT[2:4])[1]
    assert exchange.main([str(run), "--check"]) == 0
    out = capsys.readouterr().out
    assert "resized to 32 pixels along their shorter side and cut to the 28 x 28 in the" in out
    assert f"minicnn evaluate {run}/minicnn --data imagefolder:FOLDER_OF_SUCH_IMAGES\n" in out
    assert "5 of 5 test images are taken for the same class" in out
    assert minicnn(["evaluate", f"{run}/minicnn"]) == 2
    assert "and cut to the 28 x 28 in the middle, which minicnn" in capsys.readouterr().err
    assert minicnn(["evaluate", f"{run}/minicnn", "--data", f"imagefolder:{folder}"]) == 2
    (tmp_path / "cut").mkdir()
    for path in folder.rglob("*.png"):
        target = tmp_path / "cut" / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        Image.open(path).convert("L").resize((28, 28)).save(target)
    capsys.readouterr()
    assert minicnn(["evaluate", f"{run}/minicnn", "--data", f"imagefolder:{tmp_path / 'cut'}"]) == 0


def test_a_run_of_the_reference_is_told_from_one_of_minicnn(tmp_path, tiny, train, capsys) -> None:
    from minicnn.cli import main as minicnn

    assert train("tiny", *SHORT)[0] == 0
    run = str(tmp_path / "run")
    for command in (["evaluate", run], ["predict", run, "x.png"], ["train", "--resume", run]):
        assert minicnn(command) == 2
        assert f"python -m reference.exchange {run} " in capsys.readouterr().err


def test_a_run_that_minicnn_has_not_is_said_to_be_so(tmp_path: Path, tiny, train, capsys) -> None:
    _, out, _ = train("tiny", *SHORT, "--head", "mlp-bn")
    assert "minicnn has no tiny with the head mlp-bn\n" in out
    assert "reference.exchange" not in out
    assert exchange.main([str(tmp_path / "run")]) == 2
    assert "minicnn has no tiny with the head mlp-bn" in capsys.readouterr().err
    assert exchange.main([str(tmp_path)]) == 2
    assert "config.json: there is no such file" in capsys.readouterr().err


def test_the_weights_of_the_best_epoch_are_those_that_are_tested(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run", ema=None, epochs=3)
    kept = []
    fit(run, on_epoch=lambda row: kept.append(copy.deepcopy(state.arrays(run.model.state_dict()))))
    run.history[0]["validation_accuracy"] = 2.0  # had it been the first
    best, note = checkpoint.load(run.folder / "model.safetensors")
    epoch = note["epoch"]
    assert all((best[name] == kept[epoch - 1][name]).all() for name in best)
    state.load_best(run)
    assert all((best[n] == a).all() for n, a in state.arrays(run.model.state_dict()).items())


# --------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("stop", [1, 4, 6])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_that_is_stopped_goes_on_with_the_same_bits(
    tmp_path, tiny, scaled, optimizer, stop
) -> None:
    whole = run_of(tmp_path / "whole", optimizer=optimizer)
    fit(whole)
    run = run_of(tmp_path / "run", optimizer=optimizer)

    def on_step(step) -> None:
        if step.number + 1 == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"Go on with: python -m reference\.train --resume"):
        fit(run, on_step)
    torch.manual_seed(99)  # no state is taken over from the process
    again = Run(recipe(optimizer=optimizer), run.folder, CPU, workers=0, resumed=True)
    state.load(again)
    assert again.step_number == stop + 1  # the signal is heard at the next step
    assert again.scaler.get_scale() == (1024 * 2 ** ((stop + 1) // 3) if scaled else 1)
    fit(again)
    assert kills.same(whole.folder, again.folder) == []


@pytest.mark.parametrize("killed_at", range(1, 7))
def test_a_kill_between_two_files_leaves_the_best_weights(
    tmp_path, tiny, monkeypatch, killed_at
) -> None:
    """The second epoch is the best the first time; done again, as a GPU might, it is the worst."""
    run = run_of(tmp_path / "run", epochs=3)
    worth, written, write = [0.5, 0.9, 0.3], [], checkpoint.write_whole

    def write_and_die(path: Path, content: bytes) -> None:
        if len(written) == killed_at:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    def evaluate(run: Run, part: str) -> Scores:
        return Scores(1.0, worth[run.epoch], 1.0, np.zeros(len(run.parts.test), np.int64))

    monkeypatch.setattr("reference.train.evaluation.evaluate", evaluate)
    monkeypatch.setattr(checkpoint, "write_whole", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    monkeypatch.setattr(checkpoint, "write_whole", write)
    worth[1] = 0.1
    again = Run(recipe(epochs=3), run.folder, CPU, workers=0, resumed=True)
    if (run.folder / "last.safetensors").exists():
        state.load(again)
    fit(again)
    _, note = checkpoint.load(run.folder / "model.safetensors")
    assert note["epoch"] == again.best["epoch"]
    with (run.folder / "metrics.csv").open(encoding="utf-8") as file:
        kept = [float(line["validation_accuracy"]) for line in csv.DictReader(file)]
    assert kept == [row["validation_accuracy"] for row in again.history]


def test_the_bits_do_not_depend_on_how_many_processes_read_ahead(tmp_path: Path, tiny) -> None:
    runs = [run_of(tmp_path / str(workers)) for workers in (0, 2)]
    runs[1].workers = 2
    for run in runs:
        fit(run)
    assert kills.same(runs[0].folder, runs[1].folder) == []


def test_a_mean_of_the_weights_is_what_is_kept(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run", epochs=1, epoch_steps=2, ema=0.75)
    weights = []
    fit(run, on_step=lambda step: weights.append(run.model.conv.weight.detach().clone()))
    expected = 0.75 * weights[0] + 0.25 * weights[1]
    best, _ = checkpoint.load(run.folder / "model.safetensors")
    np.testing.assert_allclose(best["conv.weight"], expected.numpy(), rtol=1e-5)


def test_a_mean_counts_batches_as_the_network_does(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run", epochs=1, epoch_steps=4, ema=0.75)
    fit(run)
    assert run.used.bn.num_batches_tracked == run.model.bn.num_batches_tracked == 4


def test_continue_goes_on_where_there_is_a_run_and_begins_where_not(tmp_path, tiny, train) -> None:
    assert train("tiny", *SHORT, "--continue", "--log-steps")[0] == 0
    before = (tmp_path / "run/steps.csv").read_text(encoding="utf-8")
    assert before.count("\n") == 9
    code, out, _ = train("tiny", *SHORT, "--continue", "--log-steps")
    assert (code, "all epochs are done" in out) == (0, True)
    assert (tmp_path / "run/steps.csv").read_text(encoding="utf-8") == before


def test_what_a_dead_process_left_half_written_is_removed(tmp_path: Path, tiny, train) -> None:
    assert train("tiny", *SHORT)[0] == 0
    (tmp_path / "run/.last.safetensors.123.part").write_bytes(b"half")
    assert train("--resume", tmp_path / "run", "--accumulate", "2")[0] == 0
    assert not list((tmp_path / "run").glob(".*.part"))


def test_tensorboard_is_told_every_step_and_epoch(tmp_path: Path, tiny, train, monkeypatch) -> None:
    told = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, step))

        def close(self) -> None:
            told.append(("closed", 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert train("tiny", *SHORT, "--tensorboard")[0] == 0
    assert told[0] == (str(tmp_path / "run/tensorboard"), 0)
    assert [step for name, step in told if name == "step/loss"] == list(range(8))
    assert ("epoch/validation_accuracy", 8) in told
    assert told[-1] == ("closed", 0)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = train("tiny", *SHORT, "--tensorboard", out=tmp_path / "other")
    assert (code, "pip install tensorboard" in err) == (2, True)


# ---------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_recipe_that_config_json_keeps(name: str) -> None:
    made = recipe_for(name, "imagefolder:/x", seed=3)
    assert Recipe.from_json(json.loads(json.dumps(made.as_json()))) == made
    assert (made.data, made.seed) == ("imagefolder:/x", 3)
    made.build_schedule(10)


@pytest.mark.parametrize(
    ("name", "rate", "size", "steps"),
    [
        ("vgg16-animals10", 1e-6, 32, 2),
        ("resnet18-animals10", 1e-4, 40, 5),
        ("googlenet-imagenet", 5e-3, 40, 10),
        ("resnet50-imagenet", 1e-4, 64, 10),
    ],
)
def test_a_full_size_preset_learns_photographs(
    tmp_path, photographs, monkeypatch, name, rate, size, steps
) -> None:
    """The network as it is; fewer and smaller images, and the rate that goes with them.

    Crops and dropout make the losses of single steps differ more than learning does, so it is
    measured on the same pixels before and after.
    """
    few = {"size": size, "batch_size": 8, "validation": 0.2, "lr": rate, "warmup_epochs": None}
    few |= {"epochs": steps, "step_epochs": 1 if "step_epochs" in PRESETS[name] else None}
    chosen = recipe_for(name, f"imagefolder:{photographs}", **few)
    monkeypatch.setattr(checkpoint, "save", lambda *_: None)  # a GB for vgg16
    run = Run(chosen, tmp_path, CPU, workers=0)
    assert chosen.model == name.partition("-")[0]
    pictures = Pictures(run.parts.train, chosen, run.parts.image, learn=False)
    images, labels = pictures.__getitems__([(0, i) for i in range(len(pictures))])

    def loss() -> float:
        run.model.train()
        for module in run.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        with torch.no_grad():
            return float(run.loss(run.model(run.normalized(images)), labels)[1])

    before, seen = loss(), []
    fit(run, seen.append)
    assert [step.number for step in seen] == list(range(steps))
    assert loss() < before - 0.01

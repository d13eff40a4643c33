"""What the trainer says of what is wrong: one line, exit code 2, and the last checkpoint whole."""

from __future__ import annotations

import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minicnn import checkpoint
from minicnn.run_folder import TrainError
from reference.presets import recipe_for
from reference.train import loop, memory
from reference.train.command import _settle
from reference.train.config import read_config
from reference.train.loop import fit
from reference.train.machine import join
from reference.train.run import Run
from tests.reference.conftest import write_images
from tests.reference.test_train import CPU, SHORT, run_of
from tests.reference.tiny import Tiny

WRONG = [
    (["no-such"], "There is no model or preset 'no-such'. Presets: lenet5-mnist, "),
    (["lenet5-minst"], "'lenet5-minst'. Did you mean lenet5-mnist or "),
    (["ResNet81", "--data", "digits"], "'ResNet81'. Did you mean resnet"),
    (["lenet5", "--data", "mnits"], "There is no data set 'mnits'. Did you mean mnist"),
    (["resnet20", "--data", "."], "There is no data set '.'. Did you mean imagefolder:.?"),
    (["resnet50-imagenet", "--data", "digits", "--epochs", "1"], "epochs; 0 means no warm-up."),
    (["resnet20-cifar10", "--epochs", "1"], "or another schedule: --schedule constant."),
    (["vgg16-animals10", "--data", "digits", "--epochs", "1"],
     "Use more epochs, or another schedule: --schedule constant."),
    (["resnet18", "--data", "imagefolder:", "--size", "32"], "Did you mean imagefolder:PATH?"),
    (["vgg16-animals10"], "vgg16-animals10: on which data? Give --data imagefolder:PATH"),
    (["lenet5", "--data", "nowhere"], "There is no data set 'nowhere'"),
    (["resnet20-cifar10", "--data", "digits"], "it takes 3 channels, the images have 1"),
    (["lenet5", "--data", "digits", "--batch-size", "2000"],
     "digits: a batch of 2000 is larger than the 1318 training images. Use --batch-size 1318"),
    (["lenet5", "--data", "digits", "--accumulate", "3"],
     "a batch of 64 cannot be divided into 3 equal parts. Use for example --batch-size 66."),
    (["lenet5", "--data", "digits", "--precision", "fp16"], "fp16 needs a GPU. Use --precision"),
    (["lenet5", "--data", "digits", "--sync-bn"], "on GPUs only. Leave it out."),
    (["lenet5", "--data", "digits", "--aux-weight", "0.3"], "aux_weight is only used with googl"),
    (["lenet5", "--data", "digits", "--ema", "1"], "ema must be greater than 0 and less than 1"),
    (["lenet5", "--data", "digits", "--freeze", "features"], "Give weights too."),
    (["lenet5", "--data", "digits", "--continue", "--save-every", "0"], "save_every must be"),
    (["lenet5", "--data", "digits", "--lr", "1e30", "--optimizer", "sgd"], "lower --lr"),
    ([], "which preset or model?"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_is_wrong_is_said_in_one_line(train, arguments, message) -> None:
    code, _, err = train(*arguments)
    assert code == 2
    assert err.startswith("reference.train: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_of_all_processes_the_first_says_that_an_option_is_unknown(
    monkeypatch, train, capsys, rank
) -> None:
    monkeypatch.setenv("RANK", rank or "")
    if rank is None:
        monkeypatch.delenv("RANK")
    with pytest.raises(SystemExit) as ended:
        train("lenet5", "--max-restarts", "3")
    assert ended.value.code == 2
    assert ("unrecognized arguments: --max-restarts" in capsys.readouterr().err) == (rank != "1")


def test_a_gpu_that_is_demanded_and_not_there(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainError, match="a GPU is demanded, and PyTorch finds none"):
        join("cuda").__enter__()


def test_more_processes_than_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(TrainError, match=r"there are 2\. Start torchrun with --nproc-per-node 2"):
        join().__enter__()


def test_out_of_memory_says_the_batch_that_fits(tmp_path: Path, tiny, train, monkeypatch) -> None:
    forward = Tiny.forward

    def small(self, x):
        if len(x) > 9 and self.training:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return forward(self, x)

    assert train("tiny", *SHORT[:3], "1", *SHORT[4:])[0] == 0
    monkeypatch.setattr(Tiny, "forward", small)
    code, _, err = train("tiny", *SHORT, out=tmp_path / "other")
    assert code == 2
    assert "A batch of 8 would fit: --accumulate 4 takes the same steps" in err
    assert "There is no checkpoint yet." in err
    assert train("tiny", *SHORT, "--accumulate", "4", out=tmp_path / "third")[0] == 0


def test_what_is_to_be_the_same_each_time_asks_cublas_for_it(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    for chosen, given, expected in [
        (False, None, None),
        (True, None, ":4096:8"),
        (True, ":16:8", ":16:8"),
    ]:
        # Set first, so that it is put back whatever the command makes of it.
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given or "")
        if given is None:
            monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
        _settle(recipe_for("lenet5", "digits", deterministic=chosen), CPU)
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == expected
    assert asked == [True, True]


def test_largest_that_fits() -> None:
    tried = []
    assert memory.largest(lambda n: tried.append(n) or n <= 10, 64) == 8
    assert tried == [32, 16, 8]
    assert memory.largest(lambda n: False, 64) == 0


def test_a_reader_that_dies_is_named_and_the_checkpoint_is_whole(
    tmp_path: Path, tiny, monkeypatch
) -> None:
    run = run_of(tmp_path / "run", epochs=3)
    run.workers, main = 1, os.getpid()
    pictures = run.loader("train").dataset
    read = pictures._moved

    def dying(key):
        if os.getpid() != main and key[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(key)

    pictures._moved = dying
    with pytest.raises(TrainError, match=r"has died; .* checkpoint is whole\. Go on with"):
        fit(run)
    assert checkpoint.load(run.folder / "last.safetensors")[1]["epoch"] == 1

    def told(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")

    monkeypatch.setattr(loop, "_epoch", told)
    with pytest.raises(TrainError, match=r"was told to stop, .* checkpoint is whole\. Go on with"):
        fit(run)


def test_what_goes_wrong_in_a_reader_is_no_death(tmp_path: Path, tiny) -> None:
    run = run_of(tmp_path / "run")
    run.workers = 1

    def wrong(key):
        raise RuntimeError("stack expects each tensor to be of equal size")

    run.loader("train").dataset._moved = wrong
    with pytest.raises(RuntimeError, match="Caught RuntimeError in DataLoader worker process 0"):
        fit(run)


@pytest.mark.slow
def test_a_checkpoint_of_another_network_or_head(tmp_path: Path, tiny, train) -> None:
    assert train("tiny", *SHORT)[0] == 0
    assert train("tiny", *SHORT, "--head", "mlp-bn", out=tmp_path / "mlp")[0] == 0
    last = tmp_path / "run/last.safetensors"
    last.write_bytes((tmp_path / "mlp/last.safetensors").read_bytes())
    code, _, err = train("--resume", tmp_path / "run")
    assert (code, "holds a run of tiny with the head mlp-bn, this one" in err) == (
        2,
        True,
    )
    last.write_bytes(last.read_bytes()[:1000])
    code, _, err = train("--resume", tmp_path / "run")
    assert (code, "cut off or damaged" in err) == (2, True)


def test_a_run_keeps_its_recipe(tmp_path: Path, tiny, train) -> None:
    run = tmp_path / "run"
    assert train("tiny", *SHORT)[0] == 0
    for arguments, message in [
        (["--resume", run, "--lr", "0.5"], "has its own recipe, which --lr would change"),
        (
            ["--resume", run, "--lr", "0.5"],
            "may change: --accumulate, --channels-last, --compile.)",
        ),
        (["lenet5", "--resume", run], "is a run of tiny on digits"),
        (["--resume", tmp_path], "config.json: there is no such file"),
    ]:
        code, _, err = train(*arguments)
        assert (code, message in err) == (2, True), err
    assert read_config(run)[0].model == "tiny"
    code, _, err = train("tiny", *SHORT)
    assert (code, "there is a run already. Go on with it by --resume" in err) == (2, True)


@pytest.mark.slow
def test_a_run_notices_that_its_images_are_others(tmp_path: Path, tiny, train) -> None:
    """Also one that began with weights, whose mean and std are not those of its images."""
    folder = write_images(tmp_path / "images", {"a": 12, "b": 12})
    options = ("--data", f"imagefolder:{folder}", "--size", "28", "--batch-size", "8",
               "--epochs", "1", "--workers", "0")  # fmt: skip
    first, second = tmp_path / "first", tmp_path / "second"
    assert train("tiny", *options, out=first)[0] == 0
    assert train("tiny", *options, "--weights", first, out=second)[0] == 0
    assert all(train("--resume", run)[0] == 0 for run in (first, second))
    for path in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    for run in (first, second):
        code, _, err = train("--resume", run)
        assert (code, "is not the one this run began with" in err) == (2, True), err


def test_an_image_that_breaks_while_training_is_named(tmp_path: Path, train) -> None:
    folder = write_images(tmp_path / "images", {"a": 12, "b": 12})
    options = ("--data", f"imagefolder:{folder}", "--size", "32", "--batch-size", "4",
               "--epochs", "1", "--lr", "1e-4")  # fmt: skip
    first = Run(recipe_for("resnet20", options[1], size=32, batch_size=4, epochs=1), tmp_path, CPU)
    for path in first.parts.train.images:
        about = path.stat()
        path.write_bytes(b"x" * about.st_size)  # it is broken after it was examined
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    for workers in ("0", "1"):
        out = tmp_path / workers
        code, _, err = train("resnet20", *options, "--workers", workers, out=out)
        assert code == 2
        assert "is not an image of a supported kind" in err
        assert err.count("\n") == 1


def test_a_class_in_test_that_training_has_not(tmp_path: Path, train) -> None:
    write_images(tmp_path / "images/train", {"a": 8, "b": 8})
    write_images(tmp_path / "images/test", {"a": 2, "b": 2, "c": 2})
    arguments = ("resnet18", "--data", f"imagefolder:{tmp_path / 'images'}", "--size", "32")
    code, _, err = train(*arguments)
    assert (code, "only one of them has c. Add images of it to" in err) == (2, True)
    (tmp_path / "images/train/c").mkdir()
    code, _, err = train(*arguments)
    assert (code, "images/train/c has no image" in err) == (2, True)
    for path in (tmp_path / "images/train/b").iterdir():
        path.write_bytes(b"no image")
    write_images(tmp_path / "more", {"c": 8})
    for path in (tmp_path / "more/c").iterdir():
        path.rename(tmp_path / "images/train/c" / path.name)
    code, _, err = train(*arguments)
    assert (code, "images of class b in the train part can be read" in err) == (2, True)
    assert f"reference.data report {tmp_path / 'images'}\n" in err


def test_images_of_other_sizes_are_cut_by_size(tmp_path: Path, train) -> None:
    folder = write_images(tmp_path / "images", {"a": 8, "b": 8})
    (tmp_path / "split.csv").write_text("path,class,part\n", encoding="utf-8")
    for path, message in [(folder, "--size PIXELS resizes and cuts them to it."),
                          (tmp_path / "split.csv", "Give it by --size PIXELS.")]:  # fmt: skip
        code, _, err = train("resnet20", "--data", f"imagefolder:{path}")
        assert (code, message in err) == (2, True), err
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as packed:
        for path in folder.rglob("*.png"):
            packed.write(path, path.relative_to(folder))
    code, _, err = train("resnet20", "--data", f"imagefolder:{tmp_path / 'images.zip'}")
    assert (code, "--size PIXELS resizes and cuts them to it." in err) == (2, True)


@pytest.mark.slow
def test_grey_and_colour_files_become_what_the_network_takes(tmp_path: Path, tiny, train) -> None:
    folder = write_images(tmp_path / "images", {"a": 10, "b": 10})
    for path in (folder / "a").iterdir():
        Image.open(path).convert("L").save(path)
    options = ("--data", f"imagefolder:{folder}", "--batch-size", "4", "--epochs", "1")
    assert train("resnet20", *options, "--size", "32")[0] == 0
    assert train("tiny", *options, "--size", "28", out=tmp_path / "grey")[0] == 0

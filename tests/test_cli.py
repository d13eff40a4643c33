"""The command, as a person meets it: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn import data, models, recipes
from minicnn.cli import main
from tests.arrays import trains

COMMANDS = ("train", "evaluate", "predict", "play", "summary", "export", "gradcheck", "doctor")


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a short run on the digits."""
    if numba.config.DISABLE_JIT:
        pytest.skip("training takes hours where nothing is compiled")
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert run("train", "lenet5", "--epochs", 4, "--batch-size", 64, "--out", folder) == 0
    return folder


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_help_waits_for_no_package_that_loads_slowly():
    code = (
        "import sys, runpy\nsys.argv = ['minicnn', '--help']\n"
        "try: runpy.run_module('minicnn', run_name='__main__')\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'matplotlib', 'PIL', 'onnx'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for command in COMMANDS:
        assert f"\n    {command}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(command, "--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: minicnn {command}" in out
    assert "(default: None)" not in out
    assert "==SUPPRESS==" not in out


def test_the_command_alone_shows_the_commands_with_a_line_each(capsys):
    assert run() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\w.+$", shown.err, re.MULTILINE), command
    assert len(re.findall(r"^     *\S", shown.err, re.MULTILINE)) == len(COMMANDS)


def test_the_help_of_train_lists_the_networks_and_the_recipes(capsys):
    with pytest.raises(SystemExit):
        run("train", "--help")
    out = capsys.readouterr().out
    networks, table = out[out.index("networks:") :].split("defaults by network")
    sizes = {f"{m.image[1]}x{m.image[2]}" for m in models.MODELS.values()}
    words = re.findall(r"[^\s,]+", networks)[1:]
    assert [word for word in words if word not in sizes] == list(models.MODELS)
    rows = re.findall(r"^  (\S.*?)  +(\d+) +(\d+)  (adam|sgd|as above) +([\d.]+)(.*)$", table, re.M)
    told = {name: numbers for names, *numbers in rows for name in names.split(", ")}
    for name in models.MODELS:
        key = "resnet20 ... preact" if models.MODELS[name].image[1] == 32 else name
        row = told.get(key, told["others"])
        recipe = recipes.recipe_for(name, "mnist")
        said = [str(recipe.epochs), str(recipe.batch_size), recipe.optimizer, f"{recipe.lr:g}"]
        assert row[:4] == said, name
        assert ("nesterov, shift 4, flip" in row[4]) == bool(recipe.nesterov), name
        assert ("weight decay 0.0005" in row[4]) == bool(recipe.weight_decay), name
        on_digits = recipes.recipe_for(name, "digits")
        assert told["on digits"][:2] == [str(on_digits.epochs), str(on_digits.batch_size)]
        assert told["on digits"][3] == f"{on_digits.lr:g}"
        assert f"label smoothing {on_digits.label_smoothing}" in told["on digits"][4]
        assert (recipe.schedule, recipe.seed) == ("onecycle", 0)


@pytest.mark.parametrize("module", ["argparse", "minicnn.commands", "numpy", "numba"])
def test_ctrl_c_while_importing_is_one_line(module):
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from minicnn.cli import main\n"
        "sys.exit(main(['summary', 'lenet5']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert re.fullmatch(r"minicnn( summary)?: stopped\n", done.stderr)


def test_importing_brings_no_torch_and_nothing_that_only_a_command_needs():
    code = (
        "import sys; from minicnn import cli, data, insight, nn, optim, ops, train, viz; "
        "print(sorted({'torch', 'sklearn', 'matplotlib.pyplot', 'onnx'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@trains
def test_train_says_what_it_does(tmp_path, capsys):
    assert run("train", "lenet5", "--epochs", 1, "--seed", 3, "--out", tmp_path / "a") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("lenet5 (44,426 parameters) on digits: 1,318 images to train, 120 to")
    assert "adam, lr 0.002 (onecycle), epochs: 1, images a batch: 32, seed 3; run folder:" in out[1]
    assert out[2].startswith("epoch   1/1  loss ")
    assert out[3].startswith("test accuracy ")
    assert out[4] == f"pictures in {tmp_path / 'a'}: confusion.png, curves.png, filters.png"


@pytest.mark.slow
@trains
def test_runs_get_new_folders_by_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("train", "convnet", "--epochs", 1, "--batch-size", 256, "--quiet") == 0
    assert sorted(os.listdir("runs")) == ["convnet-digits", "convnet-digits-2"]


@pytest.mark.slow
@trains
def test_options_reach_the_recipe(tmp_path):
    options = (
        "--epochs 3 --batch-size 512 --optimizer sgd --lr 0.02 --momentum 0.8 --nesterov "
        "--weight-decay 0.001 --schedule multistep --milestones 2 --gamma 0.5 --warmup-epochs 1 "
        "--label-smoothing 0.1 --init xavier_normal --shift 2 --rotate 5 --flip --validation 0.2 "
        "--patience 4 --drop-last --seed 9 --impl textbook --no-fuse"
    )
    folder = tmp_path / "run"
    assert run("train", "lenet5-1998", *options.split(), "--out", folder) == 0
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["recipe"] == {
        "model": "lenet5-1998", "data": "digits", "epochs": 3, "batch_size": 512,
        "optimizer": "sgd", "lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.001,
        "schedule": "multistep", "warmup_epochs": 1, "step_epochs": None, "milestones": [2],
        "gamma": 0.5, "label_smoothing": 0.1, "init": "xavier_normal", "shift": 2, "rotate": 5.0,
        "flip": True, "validation": 0.2, "patience": 4, "drop_last": True, "seed": 9,
        "impl": "textbook", "fuse": False, "size": None, "zip_encoding": None,
    }  # fmt: skip


@pytest.mark.slow
def test_a_crop_is_a_shift(tmp_path):
    words = ("--crop", 3, "--epochs", 1, "--batch-size", 512, "--quiet")
    assert run("train", "lenet5", *words, "--out", tmp_path / "run") == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["recipe"]
    assert (recipe["shift"], recipe["flip"]) == (3, False)


@pytest.mark.slow
def test_evaluate_repeats_the_result_of_the_run(trained, capsys):
    assert run("evaluate", trained) == 0
    out = capsys.readouterr().out
    result = json.loads((trained / "result.json").read_text(encoding="utf-8"))
    assert out.startswith(
        f"lenet5 on the test split of digits, 359 images: accuracy {result['test_accuracy']:.2%}, "
        f"top-5 {result['test_top5']:.2%}, loss {result['test_loss']:.4f}"
    )
    assert "most often confused: " in out


def test_evaluate_on_the_validation_split_repeats_the_metrics(trained, capsys):
    assert run("evaluate", trained, "--split", "validation") == 0
    rows = (trained / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    accuracies = [float(row.split(",")[4]) for row in rows]
    assert f"120 images: accuracy {max(accuracies):.2%}" in capsys.readouterr().out


def test_predict_knows_a_digit_in_png_and_inverted(trained, tmp_path, capsys):
    test = data.load("digits").test
    index = int(np.flatnonzero(test.labels == 0)[0])
    digit = Image.fromarray(test.images[index, :, :, 0])
    digit.save(tmp_path / "zero.png")
    Image.fromarray(255 - test.images[index, :, :, 0]).save(tmp_path / "ink.png")
    assert run("predict", trained, tmp_path / "zero.png", "--top", 2) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{tmp_path / 'zero.png'}  0 ")
    assert line.count("%") == 2
    assert run("predict", trained, tmp_path / "ink.png", "--invert", "--top", 2) == 0
    assert capsys.readouterr().out.split()[1:] == line.split()[1:]


def test_predict_all_classes_adds_up_to_one(trained, tmp_path, capsys):
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "blank.png")
    assert run("predict", trained, tmp_path / "blank.png", "--top", 10, "--as-is") == 0
    percent = [float(word[:-1]) for word in capsys.readouterr().out.split() if word.endswith("%")]
    assert len(percent) == 10
    assert sum(percent) == pytest.approx(100, abs=0.1)
    assert percent == sorted(percent, reverse=True)


def test_summary_is_a_table(capsys):
    assert run("summary", "lenet5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["layer", "kind", "output", "parameters", "multiply-adds",
                                "receptive", "field"]  # fmt: skip
    assert lines[7].split() == ["conv2", "Conv2d", "16", "x", "8", "x", "8", "2,416", "153,600",
                                "14", "x", "14"]  # fmt: skip
    assert lines[-1].split() == ["total", "44,426", "281,640"]


def test_summary_of_a_network_of_blocks(capsys):
    assert run("summary", "resnet18") == 0
    text = capsys.readouterr().out
    assert "layer4.1  BasicBlock" in text
    assert "11,689,512" in text
    assert run("summary", "resnet18", "--classes", 10) == 0
    assert "11,181,642" in capsys.readouterr().out


@pytest.mark.slow
def test_resume_of_a_finished_run_gives_its_result_again(copy, capsys):
    before = (copy / "result.json").read_text(encoding="utf-8")
    (copy / "result.json").unlink()
    assert run("train", "--resume", copy) == 0
    assert (copy / "result.json").read_text(encoding="utf-8") == before
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.slow
@trains
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path, capsys):
    """In a process of its own, as a person would press it."""
    words = [sys.executable, "-m", "minicnn", "train", "lenet5", "--epochs", "200", "--out"]
    process = subprocess.Popen(
        [*words, str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "epoch" not in process.stdout.readline()[:5]:
        assert process.poll() is None
    process.send_signal(2)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Go on with: minicnn train --resume {tmp_path / 'run'}" in stderr
    assert (tmp_path / "run" / "last.safetensors").exists()


# ---- bad input: exit code 2, and one line that says what, where and the remedy


@pytest.fixture
def fails(capsys):
    """Return the message of a command that must fail."""

    def message(*words: object) -> str:
        capsys.readouterr()
        assert run(*words) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        return captured.err

    return message


def test_an_unknown_model_lists_the_known(fails):
    text = fails("train", "lenet6")
    assert "There is no model 'lenet6'. Did you mean lenet5 or " in text
    assert "? Known: lenet5, lenet5-1998, cnn3, convnet, " in text
    assert "which model? Known: lenet5" in fails("train")
    assert "There is no model 'lenet6'" in fails("summary", "lenet6")


def test_an_unknown_data_set_lists_the_known(fails, tmp_path):
    text = fails("train", "lenet5", "--data", "cats", "--out", tmp_path / "run")
    assert "cats" in text
    assert "mnist" in text
    assert not (tmp_path / "run").exists()


def test_options_that_would_be_ignored_are_refused(fails, copy):
    assert "momentum is only used with the optimizer sgd" in fails(
        "train", "lenet5", "--momentum", 0.5
    )
    assert "is a run of lenet5, not of cnn3" in fails("train", "cnn3", "--resume", copy)
    assert "is a run on digits, not on mnist" in fails("train", "--data", "mnist", "--resume", copy)
    assert "which --lr would change" in fails("train", "--lr", 0.5, "--resume", copy)
    assert "--out names a new run" in fails("train", "--resume", copy, "--out", "x")


def test_a_folder_that_is_no_run_is_named(fails, tmp_path):
    for words in (["evaluate"], ["train", "--resume"]):
        text = fails(*words, tmp_path)
        assert f"{tmp_path / 'config.json'}: there is no such file" in text


def test_a_damaged_checkpoint_is_named(fails, copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert "model.safetensors: cannot be read as safetensors" in fails("evaluate", copy)


def test_an_existing_run_is_not_overwritten(fails, copy):
    text = fails("train", "lenet5", "--out", copy)
    assert f"there is a run already. Go on with it by --resume {copy}" in text


def test_images_that_cannot_be_used_are_named(fails, trained, tmp_path):
    Image.fromarray(np.zeros((30, 28), np.uint8)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    text = fails("predict", trained, tmp_path / "large.png", "--as-is")
    assert "large.png is 30x28 pixels (height x width) where 28x28 is needed" in text
    assert "text.png" in fails("predict", trained, tmp_path / "text.png")
    assert "none.png" in fails("predict", trained, tmp_path / "none.png")
    assert "--top must be at least 1" in fails("predict", trained, "x.png", "--top", 0)


def test_evaluating_on_other_classes_is_refused(fails, trained, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(np.full((28, 28), 10 * i, np.uint8)).save(tmp_path / name / f"{i}.png")
    text = fails("evaluate", trained, "--data", f"imagefolder:{tmp_path}")
    assert "has the classes cat, dog, the run" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made_is_named(fails, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be made" in fails("train", "lenet5", "--out", tmp_path / "run")


def test_a_file_in_the_way_of_the_folder_is_named(fails, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "cannot be made" in fails("train", "lenet5", "--out", tmp_path / "file" / "run")


def test_an_unknown_model_is_noticed_before_the_data(fails, tmp_path):
    text = fails("train", "lenet6", "--data", f"imagefolder:{tmp_path / 'nowhere'}")
    assert "There is no model 'lenet6'" in text


def test_a_picture_that_cannot_be_written_is_named(fails, copy):
    (copy / "curves.png").unlink()
    (copy / "curves.png").mkdir()
    assert "curves.png" in fails("train", "--resume", copy)


@pytest.mark.slow
@trains
def test_a_run_on_a_folder_goes_on_from_anywhere(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            picture = np.full((28, 28), 10 * i, np.uint8)
            Image.fromarray(picture).save(tmp_path / "pets" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    words = ("--data", "imagefolder:pets", "--epochs", 1, "--batch-size", 8, "--quiet")
    assert run("train", "lenet5", *words) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("evaluate", tmp_path / "runs" / "lenet5-pets") == 0
    assert run("train", "--resume", tmp_path / "runs" / "lenet5-pets") == 0


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_error():
    command = f"{sys.executable} -m minicnn summary lenet5 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("input 1 x 28 x 28")
    assert done.stderr == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--version")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"minicnn {minicnn.__version__}\n"


def test_ink_on_a_transparent_ground_is_ink_on_paper(trained, tmp_path, capsys):
    test = data.load("digits").test
    digit = test.images[int(np.flatnonzero(test.labels == 0)[0]), :, :, 0]
    clear = np.zeros((28, 28, 4), np.uint8)  # black, and opaque where there is ink
    clear[..., 3] = digit
    Image.fromarray(clear).save(tmp_path / "clear.png")
    Image.fromarray(255 - digit).save(tmp_path / "paper.png")
    answers = []
    for name in ("clear.png", "paper.png"):
        assert run("predict", trained, tmp_path / name, "--invert") == 0
        answers.append(capsys.readouterr().out.split()[1:])
    assert answers[0] == answers[1]
    assert answers[0][0] == "0"


@pytest.mark.slow
@trains
@pytest.mark.parametrize("answer", ["", "no-"])
def test_what_a_recipe_turns_on_can_be_turned_off(tmp_path, monkeypatch, answer):
    other = {name: bool(answer) for name in ("nesterov", "flip", "drop_last")}
    monkeypatch.setitem(recipes._BY_MODEL, "lenet5", {"optimizer": "sgd", **other})
    flags = [f"--{answer}{name}" for name in ("nesterov", "flip", "drop-last")]
    words = ("--epochs", 1, "--batch-size", 512, "--quiet", *flags)
    assert run("train", "lenet5", *words, "--out", tmp_path / "run") == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["recipe"]
    assert [recipe[name] for name in ("nesterov", "flip", "drop_last")] == [not answer] * 3

"""A reader's own network stands wherever the command takes a model's name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from minicnn import models, train
from minicnn.cli import main
from minicnn.models import own
from tests.arrays import trains
from tests.own.network import SOURCE

FAST = ("--epochs", 1, "--batch-size", 128, "--quiet")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the reader's, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def run(*words: object) -> int:
    return main([str(word) for word in words])


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert run(*words) == 2
    return capsys.readouterr().err


@pytest.mark.slow
@trains
@pytest.mark.parametrize(
    ("name", "made", "options"),
    [
        ("net.py:Net", "Net", {}),
        ("net.py:net(6)", "net", {"width": 6}),
        ("net.py:Net(width=3, rng=rng)", "Net", {"width": 3}),
    ],
)
def test_the_run_keeps_file_object_options_and_digest(file, name, made, options, capsys):
    assert run("train", name, *FAST, "--out", "run") == 0
    assert capsys.readouterr().out.startswith(f"net.py:{made}")
    kept = json.loads(Path("run/config.json").read_text(encoding="utf-8"))["network"]
    assert kept == {
        "file": str(file), "object": made, "options": options, "digest": kept["digest"],
    }  # fmt: skip
    assert kept["digest"].startswith("sha256:")
    assert run("evaluate", "run") == 0
    assert run("train", "--resume", "run", "--quiet") == 0
    assert run("train", name, "--resume", "run", "--quiet") == 0
    assert capsys.readouterr().err == ""
    model, config = train.load_model(Path("run"))
    width = options.get("width", 4)
    assert dict(model.named_parameters())[
        "0.weight" if made == "net" else "body.0.weight"
    ].data.shape == (width, 1, 5, 5)
    assert config.network == own.Own(**kept)


@pytest.mark.slow
@trains
def test_a_changed_or_missing_file_is_said(file, capsys):
    run("train", "net.py:net", *FAST, "--out", "run")
    capsys.readouterr()
    file.write_text(SOURCE + "\n# another comment\n", encoding="utf-8")
    assert run("evaluate", "run") == 0
    assert f"{file} has changed since the run run began" in capsys.readouterr().err
    with pytest.warns(own.NetworkChanged, match="has changed since"):
        train.load_model(Path("run"))
    file.write_text(SOURCE.replace("width=4", "width=5"), encoding="utf-8")
    text = fails(capsys, "evaluate", "run")
    assert "has changed since" in text
    assert "mis-shaped" in text
    os.replace(file, "moved.py")
    text = fails(capsys, "evaluate", "run")
    assert f"its network is net of {file}, and there is no such file" in text
    assert "--model FILE.py:net" in text


@trains
def test_a_run_whose_file_has_moved_goes_on(file, capsys):
    """As its message says: with the options that the run keeps."""
    assert run("train", "net.py:net(2)", *FAST, "--out", "run") == 0
    os.replace(file, "moved.py")
    text = fails(capsys, "train", "--resume", "run")
    assert 'To go on: minicnn train "FILE.py:net(width=2)" --resume run; for other' in text
    assert 'by --model "FILE.py:net(width=2)"' in text
    assert run("train", "moved.py:net(width=2)", "--resume", "run", "--quiet") == 0
    assert run("evaluate", "run", "--model", "moved.py:net(width=2)") == 0
    assert "mis-shaped" in fails(capsys, "evaluate", "run", "--model", "moved.py:net")


def test_a_run_evaluates_no_expression(file, tmp_path):
    """To open the run of somebody else calls nothing but a class or function with options."""
    for name in ("net.py:[Net][0]", "net.py:net(width=2 + 2)"):
        kept = own.describe(name)
        assert kept.options is None
        with pytest.raises(ValueError, match="cannot be made again from the run alone"):
            own.check_again(kept, "run")
    bad = own.Own(os.__file__, "system", {"command": "true"}, None)
    with pytest.raises(ValueError, match="does not import minicnn"), pytest.warns():
        own.check_again(bad, "run")


def test_arguments_without_names_are_given_by_their_place(file):
    file.write_text(
        SOURCE
        + "\ndef var(*widths, classes=10, rng):\n    made = net(widths[-1], classes, rng=rng)\n"
        "    made.widths = widths\n    return made\n"
        "\ndef only(width, /, *, classes=10, rng):\n    return net(width, classes, rng=rng)\n"
    )
    for name in ("net.py:var(8, 16)", "net.py:only(3)"):
        kept = own.describe(name)
        assert (kept.options, kept.name) == (None, f"{file.parent}/{name}")
        model = models.create(kept.name, 4)
        assert model[-1].weight.data.shape[0] == 4
    assert models.create("net.py:var(8, 16)").widths == (8, 16)
    assert own.describe("net.py:net(6)").options == {"width": 6}


BAD = [
    ("net.py", "Which object in it is the network? Name it: net.py:Net"),
    ("nets.py:Net", "there is no such file"),
    ("net.py:Nett", "has no Nett. Did you mean Net"),
    ("net.py:pair", "is of type tuple. It must be a class or a function"),
    ("net.py:Net(wide=3)", "unexpected keyword argument 'wide'"),
    ("net.py:net(width=)", "is no name of an object"),
    ("json:loads", "is named by its file, net.py:loads"),
    ("bad.py:tuple_out", "for 3 images it gives (3, 7) in inference, and (3, 10) is needed"),
    ("bad.py:Listed", "layers keeps layers or parameters where they are not found"),
    ("bad.py:Bare", "its forward returned (3, 10) where a pair (y, cache) is needed"),
    ("bad.py:NoKeyword", "its backward fails: TypeError"),
    ("bad.py:Flat", "it has no parameters, so there is nothing to learn"),
    ("bad.py:wide", "does not take images of 1 x 28 x 28: conv2d: "),
    ("bad.py:dies", "ZeroDivisionError: division by zero (bad.py, line "),
]

BAD_SOURCE = """
import numpy as np
from minicnn import nn

def tuple_out(rng):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 7, rng=rng))

class Listed(nn.Module):
    def __init__(self, rng):
        self.layers = [nn.Flatten(), nn.Linear(784, 10, rng=rng)]

class Bare(nn.Module):
    def __init__(self, rng):
        self.last = nn.Linear(784, 10, rng=rng)
    def forward(self, x, *, training):
        return self.last(x.reshape(len(x), -1))

class NoKeyword(nn.Module):
    def __init__(self, rng):
        self.last = nn.Linear(784, 10, rng=rng)
    def forward(self, x, *, training):
        return self.last.forward(x.reshape(len(x), -1), training=training)
    def backward(self, dy, cache):
        return self.last.backward(dy, cache)

class Flat(nn.Module):
    def forward(self, x, *, training):
        return x.reshape(len(x), -1)[:, :10], None

def wide(rng):
    return nn.Sequential(nn.Conv2d(3, 4, 3, rng=rng), nn.Flatten())

def dies(rng):
    return 1 / 0
"""


@pytest.mark.parametrize(("name", "text"), BAD)
def test_what_is_no_network_is_said_at_once(file, name, text, capsys):
    file.with_name("bad.py").write_text(BAD_SOURCE, encoding="utf-8")
    assert text in fails(capsys, "train", name, *FAST, "--out", "run")
    assert not Path("run").exists()


def test_summary_says_what_is_wrong_too(file, capsys):
    file.with_name("bad.py").write_text(
        BAD_SOURCE + "\nclass Raises(nn.Module):\n    def forward(self, x, *, training):\n"
        "        raise KeyError(3)\n", encoding="utf-8",
    )  # fmt: skip
    text = fails(capsys, "summary", "bad.py:Listed")
    assert "layers keeps layers or parameters where they are not found" in text
    assert "--image" not in text
    text = fails(capsys, "summary", "bad.py:Raises")
    assert "bad.py:Raises: its forward fails on images of 1 x 28 x 28: KeyError: 3 (bad.py" in text
    assert "--image" not in text
    assert "by --image C,H,W" in fails(capsys, "summary", "bad.py:wide")
    assert "runs/none: there is no such run" in fails(capsys, "summary", "runs/none")


def test_a_seed_draws_an_own_network(file):
    one, same, other = (
        models.create("net.py:net", rng=np.random.default_rng(seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert all((one[key] == same[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)
    assert all(array.dtype == np.float32 for array in one.values())

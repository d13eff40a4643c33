"""Networks of the zoo as ONNX, and the command that writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from minicnn import data, models, train
from minicnn.cli import main
from tests.arrays import trains
from tests.export.runtime import TOLERANCE, apart, session_of
from tests.export.table import measure

SMALL = [name for name, model in models.MODELS.items() if model.image[1] <= 32]
# One of each kind; the others have the same layers. ``python -m tests.export.table`` measures all.
LARGE = ("alexnet", "vgg11_bn", "resnet18", "resnet50", "googlenet", "squeezenet1_1", "densenet121")
FEW = {"vgg11_bn": {"hidden": 16}}  # not 120 million weights of its linear layers


@pytest.mark.parametrize("name", [name for name in SMALL if "110" not in name])
def test_small_networks(name):
    assert measure(name) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_networks(name):
    assert measure(name, **FEW.get(name, {})) < TOLERANCE


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a short run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    options = ("--epochs", 1, "--batch-size", 128, "--quiet")
    assert run("train", "lenet5", *options, "--out", folder) == 0
    return folder


@pytest.mark.slow
@trains
def test_the_command_writes_what_the_run_computes(trained, tmp_path, capsys):
    file = tmp_path / "lenet5.onnx"
    assert run("export", trained, file) == 0
    assert "takes pixels (n x 1 x 28 x 28, float32, from 0 to 255), gives scores (n x 10)" in (
        capsys.readouterr().out
    )
    model, config = train.load_model(trained)
    images = data.load("digits").test.images[:20]
    session = session_of(onnx.load(file))
    (scores,) = session.run(None, {"pixels": np.moveaxis(images, 3, 1).astype(np.float32)})
    assert apart(scores, model(data.normalize(images, config.normalization))) < TOLERANCE
    assert run("export", trained, file, "--no-normalize") == 0
    x = data.normalize(images, config.normalization)
    (scores,) = session_of(onnx.load(file)).run(None, {"images": x})
    assert apart(scores, model(x)) < TOLERANCE


@trains
def test_what_goes_wrong_is_one_line(trained, tmp_path, monkeypatch, capsys):
    def fails(*words: object) -> str:
        capsys.readouterr()
        assert run("export", *words) == 2
        return capsys.readouterr().err

    assert "ends with .onnx" in fails(trained, tmp_path / "net.pt")
    assert "there is no such folder" in fails(trained, tmp_path / "nowhere" / "net.onnx")
    assert "Is this the folder of a run?" in fails(tmp_path, tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "minicnn[onnx]"' in fails(trained, tmp_path / "net.onnx")
    assert not list(tmp_path.glob("*.onnx"))

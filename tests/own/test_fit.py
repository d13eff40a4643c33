"""``train.fit``: the command as a function, for networks and images that Python has."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minicnn import data, models, nn, optim, train
from minicnn.cli import main
from minicnn.data import DataError
from minicnn.models import own
from minicnn.train import Interrupted, TrainError
from tests.arrays import trains
from tests.own import network

pytestmark = trains

FAST = {"epochs": 1, "batch_size": 128, "progress": False}


def net(classes: int = 10, width: int = 4, *, rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 5, stride=3, rng=rng), nn.ReLU(), nn.Flatten(),
        nn.Linear(width * 64, classes, rng=rng),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(run: train.Run) -> dict:
    return json.loads((run.folder / "config.json").read_text(encoding="utf-8"))["network"]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.slow
def test_a_function_or_class_is_made_again_from_its_file(capsys):
    run = train.fit(net, epochs=1, batch_size=128)
    out = capsys.readouterr().out
    assert run.folder == Path("runs/net-digits")
    assert "epoch   1/1" in out
    assert f"test accuracy {run.scores.accuracy:.2%}" in out
    assert kept(run)["file"] == str(Path(__file__).absolute())
    assert kept(run)["options"] == {}
    loaded, _ = train.load_model(run.folder)
    assert_same(loaded, run.model)
    assert main(["evaluate", str(run.folder)]) == 0
    again = train.fit(partial(net, width=3), **FAST)
    assert again.folder == Path("runs/net-digits-2")
    assert kept(again)["options"] == {"width": 3}
    assert capsys.readouterr().out.count("epoch") == 0
    assert_same(train.load_model(again.folder)[0], again.model)


@pytest.mark.slow
def test_names_are_those_of_the_command():
    run = train.fit(models.lenet5, "digits", out="a", **FAST)
    assert run.recipe.model == "lenet5"
    assert "network" not in json.loads(Path("a/config.json").read_text(encoding="utf-8"))
    other = train.fit("lenet5", "digits", out="b", **FAST)
    assert_same(run.model, other.model)
    Path("net.py").write_text(network.SOURCE, encoding="utf-8")
    assert train.fit("net.py:net", out="c", **FAST).recipe.model == str(
        Path("net.py:net").absolute()
    )


@pytest.mark.slow
def test_a_network_is_trained_itself_and_named_to_go_on(capsys):
    model = net(width=2, rng=np.random.default_rng(0))
    before = model.state_dict()
    run = train.fit(model, out="run", **FAST)
    assert run.model is model
    assert any((before[k] != v).any() for k, v in model.state_dict().items())
    assert kept(run) == {"file": None, "object": "Sequential", "options": None, "digest": None}
    with pytest.raises(ValueError, match=r"cannot be made again from the run alone.*--model"):
        train.load_model(Path("run"))
    assert main(["evaluate", "run"]) == 2
    assert main(["evaluate", "run", "--model", f"{__file__}:net(width=2)"]) == 0
    capsys.readouterr()
    assert main(["summary", "run", "--model", f"{__file__}:net(width=2)"]) == 0
    assert "Conv2d" in capsys.readouterr().out
    done = train.fit(net(width=2, rng=np.random.default_rng(1)), resume="run", progress=False)
    assert_same(done.model, model)


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_to_the_same_weights(monkeypatch):
    whole = train.fit(net, out="whole", **FAST | {"epochs": 2})
    step, done = train.Run._step, 0

    def stopping(self, *batch):
        nonlocal done
        done += 1
        if done == 12:
            self.save_last()
            raise Interrupted("as by Ctrl-C")
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "_step", stopping)
        with pytest.raises(Interrupted):
            train.fit(net, out="cut", **FAST | {"epochs": 2})
    with pytest.raises(TrainError, match="own recipe, which epochs would change"):
        train.fit(net, resume="cut", epochs=5)
    for wrong in ({"model": "lenet5"}, {"data": "mnist"}, {"out": "other"}):
        with pytest.raises(TrainError, match=r"is a run o|Give one of them"):
            train.fit(resume="cut", **wrong)
    assert_same(train.fit(resume="cut", progress=False).model, whole.model)


@pytest.mark.slow
def test_arrays_are_data(here):
    digits = data.load("digits").train
    images, labels = digits.images[..., 0], digits.labels
    run = train.fit(net, (images, labels), out="run", **FAST)
    assert run.recipe.data == "arrays"
    assert [len(part) for part in run.splits] == [
        len(images) - len(run.splits[1]) - len(run.splits[2]), *map(len, run.splits[1:]),
    ]  # fmt: skip
    same = train.fit(net, (images[:, None] / np.float32(255), labels), out="same", **FAST)
    assert_same(run.model, same.model)
    assert main(["evaluate", "run"]) == 2  # only Python has the arrays
    assert main(["evaluate", "run", "--data", "digits"]) == 0
    done = train.fit(net, (images, labels), resume="run", progress=False)
    assert_same(done.model, run.model)
    with pytest.raises(DataError, match="were arrays in Python"):
        train.fit(net, resume="run", progress=False)
    parts = data.Splits(digits.subset(np.arange(900)), digits.subset(np.arange(900, 1000)), digits)
    assert train.fit(net, parts, out="parts", **FAST).splits is parts


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((9, 8)), np.zeros(9), "images must have the axes"),
        (np.zeros((9, 8, 8, 4)), np.zeros(9), "images must have the axes"),
        (np.full((9, 8, 8), 2.123), np.zeros(9), "Give them before they are normalised"),
        (np.full((9, 8, 8), np.nan), np.zeros(9), "9 of 9 images have pixels that are not finite"),
        (np.pad([[[np.nan]]], ((4, 4), (3, 4), (2, 5))), np.zeros(9), "1 of 9 images have pixels"),
        (np.full((9, 8, 8), -1.0), np.zeros(9), "from -1 to -1"),
        (np.full((9, 8, 8), 300), np.zeros(9), "uint8, from 0 to 255"),
        (np.zeros((9, 8, 8), np.uint8), np.eye(9), r"labels.argmax\(axis=1\)"),
        (np.zeros((9, 8, 8), np.uint8), np.full(9, 0.5), "labels must be whole numbers"),
        (np.zeros((9, 8, 8), np.uint8), np.full(9, -1), "labels count from 0"),
        (np.zeros((9, 8, 8), np.uint8), np.zeros(8), "9 images but 8 labels"),
    ],
)
def test_arrays_that_are_no_images(images, labels, text):
    with pytest.raises(DataError, match=text):
        data.from_arrays(images, labels)


def test_floats_from_0_to_1_are_rounded_and_it_is_said():
    sixteenths = np.arange(17 * 4).reshape(17, 2, 2) % 17 / 16
    dataset = data.from_arrays(sixteenths, np.zeros(17))
    np.testing.assert_array_equal(dataset.images[..., 0], np.rint(sixteenths * 255))
    assert dataset.notes == ("arrays: pixels from 0 to 1 are rounded to multiples of 1/255.",)
    exact = np.arange(256, dtype=np.float32).reshape(1, 16, 16) / 255
    assert data.from_arrays(exact, [0]).notes == ()


def test_classes_without_images_are_said():
    images = np.zeros((10, 2, 2), np.uint8)
    (note,) = data.from_arrays(images, np.arange(1, 11)).notes
    assert note.startswith(
        "arrays: 11 classes, of which 1 has no image: 0. If there are only 10, n"
    )
    (note,) = data.from_arrays(images, 2 * np.arange(10)).notes
    assert "19 classes, of which 9 have no image: 1, 3, 5, 7, 9, ..." in note
    assert data.from_arrays(images, np.arange(10)).notes == ()


def test_labels_may_be_words():
    images = np.zeros((3, 2, 2), bool)
    images[0] = True
    dataset = data.from_arrays(images, np.array(["cat", "ant", "cat"]))
    assert dataset.classes == ("ant", "cat")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.images.max() == 255
    assert dataset.images.shape == (3, 2, 2, 1)


def test_a_file_that_trains_while_it_is_read_is_said():
    Path("script.py").write_text(
        network.SOURCE + "\nfrom minicnn import train\ntrain.fit(net)\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"Put the training under if __name__ == \"__main__\":"):
        train.fit("script.py:net")
    assert not Path("runs").exists()


def test_a_loss_that_grows_ends_with_a_word_about_the_rate():
    with pytest.raises(TrainError, match=r"the loss is .*above 100 times its first value.*--lr"):
        train.fit(net, out="run", lr=1e4, optimizer="sgd", schedule="constant", **FAST)
    with pytest.raises(TrainError, match="learning rate"):
        train.fit(net, out="run", lr=1e25, optimizer="sgd", schedule="constant", **FAST)


def test_an_unknown_option_names_the_one_that_is_meant():
    with pytest.raises(TypeError, match=r"no option learning_rate\. Did you mean lr\?"):
        train.fit(net, learning_rate=1)
    with pytest.raises(TypeError, match=r"no option epoch\. Did you mean epochs or step_epochs\?"):
        train.fit(net, epoch=1)


def test_a_first_loss_that_is_not_finite_ends_the_run():
    class Far(nn.Linear):
        def forward(self, x, *, training):
            y, cache = super().forward(x, training=training)
            return y * np.float32(1e38), cache

    model = nn.Sequential(nn.Flatten(), Far(784, 10, rng=np.random.default_rng(0)))
    with pytest.raises(TrainError, match=r"the loss is (inf|nan) in epoch 1, batch 1; first not"):
        train.fit(model, **FAST)


def test_what_a_network_prints_is_seen(capsys):
    class Speaks(nn.Flatten):
        def forward(self, x, *, training):
            print("spoken", end="")
            return super().forward(x, training=training)

    model = nn.Sequential(Speaks(), nn.Linear(784, 10, rng=np.random.default_rng(0)))
    train.fit(model, **FAST)
    assert not capsys.readouterr().out.replace("spoken", "")


def test_a_loader_is_looped_over_and_an_optimiser_takes_a_network():
    parts = data.load("digits")
    normalization = data.normalization(parts.train)
    loader = data.Loader(parts.train, 256, normalization=normalization, shuffle=True)
    seen = [labels for _, labels in loader]
    assert sum(map(len, seen)) == len(parts.train)
    again = [labels for _, labels in loader]  # another order, that of the next epoch
    assert any((a != b).any() for a, b in zip(seen, again, strict=True))
    for (_, one), (_, other) in zip(loader, loader.batches(2), strict=True):
        np.testing.assert_array_equal(one, other)
    model = net(rng=np.random.default_rng(0))
    for kind in (optim.SGD, optim.Adam, optim.AdamW):
        assert kind(model, lr=0.1).params == model.parameters()
        with pytest.raises(TypeError, match="parameters are needed, or a network"):
            kind(nn.Linear, lr=0.1)
        with pytest.raises(TypeError, match="parameters are needed, or a network"):
            kind(3, lr=0.1)


def test_options_are_kept_if_they_can_be_written_down():
    assert own.describe_object(partial(net, width=3)).options == {"width": 3}
    assert own.describe_object(partial(net, act=nn.ReLU)).options is None
    assert own.describe_object(lambda rng: net(rng=rng)).file is None

"""The loop: what it learns, what it leaves, and that resuming is the same run."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal

import numba
import numpy as np
import pytest

from minicnn import checkpoint, data, evaluation, fuse, models, nn, run_folder, train
from minicnn.checkpoint import CheckpointError
from minicnn.models.weights import with_weights
from minicnn.recipes import Recipe, recipe_for
from minicnn.train import Interrupted, TrainError
from tests.arrays import on_threads, trains

pytestmark = trains


def tiny(**options):
    """A run of seconds that uses every source of chance."""
    options = {"epochs": 2, "batch_size": 128, "lr": 3e-3, "shift": 1, "rotate": 5.0} | options
    return recipe_for("lenet5", "digits", **options)


def weights(run):
    return run.model.state_dict()


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def finished(folder, **options):
    run = train.start(tiny(**options), folder)
    run.fit()
    return run


# ---- learning


@pytest.mark.slow
def test_the_default_recipe_learns_the_digits(tmp_path):
    run = train.start(recipe_for("lenet5", "digits", epochs=8), tmp_path / "run")
    run.fit()
    scores = run.finish()
    assert scores.accuracy > 0.95
    assert run.history[-1]["train_accuracy"] > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lenet5-1998", "cnn3", "convnet"])
def test_the_other_networks_learn_too(model, tmp_path):
    recipe = recipe_for(model, "digits", epochs=2, batch_size=64, lr=3e-3)
    run = train.start(recipe, tmp_path / "run")
    run.fit()
    assert run.history[-1]["validation_loss"] < 0.8 * np.log(10)


@pytest.mark.slow
def test_the_folder_holds_what_is_promised(tmp_path):
    run = finished(tmp_path / "run")
    scores = run.finish()
    assert sorted(path.name for path in run.folder.iterdir()) == [
        ".lock",
        "config.json",
        "confusion.png",
        "curves.png",
        "filters.png",
        "last.safetensors",
        "metrics.csv",
        "model.safetensors",
        "result.json",
    ]
    rows = list(
        csv.DictReader((run.folder / "metrics.csv").read_text(encoding="utf-8").splitlines())
    )
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["validation_loss"]) == run.history[1]["validation_loss"]
    result = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))
    assert result["test_accuracy"] == scores.accuracy
    for name in ("curves", "confusion", "filters"):
        assert (run.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_best_validation(tmp_path):
    run = finished(tmp_path / "run", epochs=4, lr=0.02, schedule="constant")
    best = max(run.history, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    model, config = train.load_model(run.folder)
    network = fuse(model, inference=True)  # as the run does; the layers one by one round otherwise
    scores = evaluation.evaluate(network, run.splits.validation, config.normalization)
    assert scores.accuracy == best["validation_accuracy"]
    assert scores.loss == best["validation_loss"]


def test_of_equally_accurate_epochs_the_lowest_loss_is_best_and_nan_is_none():
    def best(*losses):
        history = [
            {"epoch": i, "validation_accuracy": 0.5, "validation_loss": loss}
            for i, loss in enumerate(losses, start=1)
        ]
        return run_folder.best(history)["epoch"]

    assert best(0.3, 0.2, 0.4) == 2
    assert best(np.nan, 0.9) == 2
    assert best(0.9, np.nan) == 1
    assert best(0.4, 0.4) == 1  # the first of equals


def test_the_loader_moves_as_the_recipe_says(tmp_path):
    run = train.start(tiny(shift=2, rotate=3.0, flip=True, drop_last=True, seed=5), tmp_path / "a")
    assert run.loader.augment == data.Augment(shift=2, rotate=3.0, flip=True)
    assert (run.loader.drop_last, run.loader.seed, run.loader.shuffle) == (True, 5, True)
    assert train.start(tiny(shift=0, rotate=0.0), tmp_path / "b").loader.augment is None


def test_scores_are_those_of_sklearn(tmp_path):
    from sklearn.metrics import log_loss, top_k_accuracy_score

    run = finished(tmp_path / "run", epochs=1)
    test = run.splits.test
    scores = evaluation.evaluate(run.model, test, run.normalization)
    logits = run.model(data.normalize(test.images, run.normalization)).astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    assert scores.accuracy == (p.argmax(axis=1) == test.labels).mean()
    assert scores.top_k == top_k_accuracy_score(test.labels, p, k=evaluation.TOP_K)
    assert scores.loss == pytest.approx(log_loss(test.labels, p), rel=1e-5)


def test_equal_logits_are_ranked_as_argmax_ranks_them():
    images = np.zeros((10, 1, 1, 1), np.uint8)
    dataset = data.Dataset("ties", images, np.arange(10), tuple("abcdefghij"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 10, rng=np.random.default_rng(0)))
    for param in model.parameters():
        param.data[...] = 0
    scores = evaluation.evaluate(model, dataset, data.Normalization((0.0,), (1.0,)))
    assert scores.accuracy == 0.1
    assert scores.top_k == 0.5


# ---- the same run again


@pytest.mark.slow
def test_a_seed_gives_equal_weights_whatever_the_number_of_threads(tmp_path):
    with on_threads(1):
        one = finished(tmp_path / "one")
    with on_threads(numba.config.NUMBA_NUM_THREADS):
        many = finished(tmp_path / "many")
    assert_same(weights(one), weights(many))
    other = finished(tmp_path / "other", seed=1)
    assert not np.array_equal(weights(one)["fc3.weight"], weights(other)["fc3.weight"])


class Stop(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("batches", [3, 11, 12])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_interrupted_and_resumed_ends_in_the_same_weights(tmp_path, batches, optimizer):
    whole = finished(tmp_path / "whole", optimizer=optimizer)
    run = train.start(tiny(optimizer=optimizer), tmp_path / "cut")
    done = 0

    def interrupt(progress):
        nonlocal done
        done += 1
        if done == batches:
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C

    with pytest.raises(Interrupted, match=f"Go on with: minicnn train --resume {run.folder}"):
        run.fit(on_batch=interrupt)
    resumed = train.resume(run.folder)
    assert (resumed.epoch, resumed.batch) == divmod(batches, len(run.loader)) or batches == 11
    resumed.fit()
    assert_same(weights(whole), weights(resumed))
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        timed = {"seconds", "images_per_second"}
        assert {k: ours[k] for k in ours.keys() - timed} == {
            k: theirs[k] for k in theirs.keys() - timed
        }


@pytest.mark.slow
def test_a_run_that_dies_between_checkpoints_goes_on_from_the_last(tmp_path):
    whole = finished(tmp_path / "whole", epochs=3)
    run = train.start(tiny(epochs=3), tmp_path / "cut")

    def die(progress):
        if progress.epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        run.fit(on_batch=die)
    resumed = train.resume(run.folder)
    assert resumed.epoch == 2
    resumed.fit()
    assert_same(weights(whole), weights(resumed))


def test_dropout_goes_on_where_it_was(tmp_path, monkeypatch):
    @with_weights
    def network(classes=10, *, rng):
        return nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5, rng=np.random.default_rng(5)),
            nn.Linear(784, classes, rng=rng),
        )

    monkeypatch.setitem(models.MODELS, "wet", models.Model(network, (1, 28, 28)))
    recipe = Recipe(model="wet", data="digits", epochs=2, batch_size=128)
    whole = train.start(recipe, tmp_path / "whole")
    whole.fit()
    cut = train.start(recipe, tmp_path / "cut")
    with pytest.raises(Interrupted):
        cut.fit(on_batch=lambda progress: os.kill(os.getpid(), signal.SIGTERM))
    resumed = train.resume(cut.folder)
    resumed.fit()
    assert_same(weights(whole), weights(resumed))


def test_signals_are_given_back_after_a_run(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    finished(tmp_path / "run", epochs=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_early_stopping_waits_as_long_as_asked(tmp_path):
    run = finished(tmp_path / "run", epochs=30, patience=2, lr=1e-9, schedule="constant")
    # Nothing is learned, so nothing gets better for long.
    assert run.epoch < 30
    assert run.epoch - int(run.best["epoch"]) == 2


# ---- what goes wrong


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path):
    run = train.start(tiny(epochs=3), tmp_path / "run")

    def poison(progress):
        if progress.epoch == 2:
            run.model.conv2.weight.data[3, 1] = np.nan

    with pytest.raises(TrainError) as caught:
        run.fit(on_batch=poison)
    text = str(caught.value)
    assert text.startswith("the loss is nan in epoch 2, batch 2; first not finite: ")
    assert "first not finite: weight of layer conv2. The steps are probably too large" in text
    assert f"The last checkpoint is kept in {run.folder}." in text
    assert train.resume(run.folder).epoch == 1


@pytest.mark.parametrize("name", ["weight", "running_var"])
def test_weights_that_are_not_finite_are_not_evaluated(name: str) -> None:
    model = nn.Sequential(norm=nn.BatchNorm2d(1), flat=nn.Flatten())
    state = {key: array.copy() for key, array in model.state_dict().items()}
    state[f"norm.{name}"][0] = np.nan
    model.load_state_dict(state)
    images = data.Dataset("two", np.zeros((2, 1, 2, 1), np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(
        ValueError, match=rf"evaluate: norm\.{name} holds numbers that are not finite"
    ):
        evaluation.evaluate(model, images, data.Normalization((0.0,), (1.0,)))


def test_the_first_layer_that_is_not_finite_is_found():
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        a=nn.Linear(2, 2, rng=rng), inner=nn.Sequential(nn.ReLU(), nn.Linear(2, 2, rng=rng))
    )
    x = np.ones((1, 2), np.float32)
    assert evaluation.first_nonfinite(model, x) == "the loss"
    assert evaluation.first_nonfinite(model, x * np.float32(np.inf)) == "the input"
    model.inner[1].weight.data[...] = 3e38
    model.a.weight.data[...] = 1
    model.a.bias.data[...] = 5
    assert evaluation.first_nonfinite(model, x) == "the output of layer inner.1"
    model.a.bias.data[0] = np.nan
    assert evaluation.first_nonfinite(model, x) == "bias of layer a"


def test_weights_that_are_not_finite_are_not_kept_and_the_epoch_is_told(tmp_path):
    run = train.start(tiny(), tmp_path / "run")
    run.model.conv2.weight.data[3, 1] = np.inf
    with pytest.raises(
        TrainError, match=r"^conv2\.weight is not finite after batch 0 of epoch 1\."
    ):
        run.save_last()
    assert not (run.folder / "last.safetensors").exists()


@pytest.mark.slow
def test_all_scores_of_a_run_are_those_of_its_implementation(tmp_path, monkeypatch):
    from minicnn.train import run as run_module

    used = []

    def evaluate(*arguments, **options):
        used.append(options["impl"])
        return evaluation.evaluate(*arguments, **options | {"impl": "fast"})  # quicker

    monkeypatch.setattr(run_module, "evaluate", evaluate)
    run = train.start(tiny(epochs=1), tmp_path / "run")
    run.recipe = dataclasses.replace(run.recipe, impl="textbook")
    run.fit()
    run.finish()
    assert used == ["textbook", "textbook"]  # of the validation images and of the test images


def test_an_exploding_run_stops(tmp_path):
    run = train.start(
        tiny(epochs=5, lr=1e9, optimizer="sgd", schedule="constant"), tmp_path / "run"
    )
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) in epoch 1, batch \d+; first not"):
        run.fit()


def test_a_folder_with_a_checkpoint_is_not_written_into(tmp_path):
    run = finished(tmp_path / "run", epochs=1)
    with pytest.raises(TrainError, match="there is a run already"):
        train.start(tiny(), run.folder)


def test_a_run_without_a_checkpoint_begins_anew(tmp_path):
    run = train.start(tiny(), tmp_path / "run")
    assert train.resume(run.folder).recipe == run.recipe
    assert train.start(tiny(seed=1), run.folder).recipe.seed == 1


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path):
    first, second = (train.start(tiny(), tmp_path / "run", numbered=True) for _ in range(2))
    assert (first.folder.name, second.folder.name) == ("run", "run-2")


def test_a_run_remembers_where_its_data_lie(tmp_path):
    run = train.start(tiny(), tmp_path / "run", tmp_path)
    assert train.resume(run.folder).data_dir == str(tmp_path)


def test_a_run_of_which_no_epoch_is_finished_has_no_model(tmp_path):
    run = train.start(tiny(), tmp_path / "run")
    with pytest.raises(CheckpointError, match="no epoch of this run was finished"):
        train.load_model(run.folder)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    lenet = finished(tmp_path / "lenet", epochs=1)
    other = train.start(recipe_for("convnet", "digits", epochs=1), tmp_path / "convnet")
    for name in ("last", "model"):
        target = other.folder / f"{name}.safetensors"
        target.write_bytes((lenet.folder / f"{name}.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"last.safetensors: does not belong to this run"):
        train.resume(other.folder)
    with pytest.raises(CheckpointError) as caught:
        train.load_model(other.folder)
    text = str(caught.value)
    assert "mis-shaped: conv1.weight is (6, 1, 5, 5), this model needs (10, 1, 5, 5)" in text
    assert "missing: fc.weight (10, 320)" in text
    assert "unexpected: fc3.weight" in text


def test_other_data_than_the_run_began_with_are_refused(tmp_path):
    run = finished(tmp_path / "run", epochs=1)
    path = run.folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"]["mean"] = [0.5]
    checkpoint.write_json(path, content)
    with pytest.raises(TrainError, match="is not the one this run began with"):
        train.resume(run.folder)


def test_a_configuration_that_is_none_is_named(tmp_path):
    checkpoint.write_json(tmp_path / "config.json", {"recipe": {}})
    with pytest.raises(CheckpointError, match="configuration that a run wrote: data: is missing"):
        train.read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("std", [0]), ("mean", []), ("mean", ["x"]), ("image", "x"), ("std", [float("nan")])],
)
def test_a_configuration_edited_to_nonsense_is_named(tmp_path, name, value):
    run = train.start(tiny(), tmp_path / "run")
    path = run.folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"][name] = value
    checkpoint.write_json(path, content)
    with pytest.raises(CheckpointError, match=r"config\.json: is not the configuration that a run"):
        train.read_config(run.folder)


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(TrainError, match=r"a batch of 5000 is larger than the \d+ training images"):
        train.start(tiny(batch_size=5000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_of_another_size_are_refused(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            picture = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / name / f"{i}.png")
    recipe = Recipe(model="lenet5", data=f"imagefolder:{tmp_path / 'images'}", batch_size=4)
    with pytest.raises(TrainError, match="lenet5 is made for images of 28 x 28 pixels with 1 chan"):
        train.start(recipe, tmp_path / "run")


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    from PIL import Image

    (tmp_path / "images" / "cat").mkdir(parents=True)
    for i in range(20):
        picture = np.full((28, 28), 10 * i, np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / "cat" / f"{i}.png")
    recipe = Recipe(model="lenet5", data=f"imagefolder:{tmp_path / 'images'}", batch_size=4)
    with pytest.raises(TrainError, match="there is only one class, cat"):
        train.start(recipe, tmp_path / "run")

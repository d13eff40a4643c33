"""The benchmark measures, says under which settings, and refuses to time what is wrong."""

from __future__ import annotations

import json
import math
import re
from functools import partial

import numba
import pytest
import torch

from minicnn import nn
from reference.bench import command, measure, memory
from reference.bench.command import main
from reference.bench.measure import Disagreement, Quartiles, Timing
from reference.bench.workloads import TRAINING, WORKLOADS
from tests.arrays import trains

pytestmark = trains
NAME = "lenet5-train"


@pytest.fixture
def sides():
    problem = WORKLOADS[NAME].problem(4)
    return {name: kind(problem) for name, kind in TRAINING.items()}


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(measure, "SETTLING", 0.0)
    monkeypatch.setattr(measure, "MOST_STEPS", 2)


# ------------------------------------------------------------------------------------ end to end


def test_it_runs_from_end_to_end(tmp_path, capsys, short_blocks):
    before = numba.get_num_threads(), torch.get_num_threads()
    path = tmp_path / "bench.json"
    options = ["--batch", "4", "--repeat", "2", "--threads", "1", "--json", str(path)]
    assert main([NAME, *options]) == 0
    assert (numba.get_num_threads(), torch.get_num_threads()) == before

    document = json.loads(path.read_text())
    environment = document["environment"]
    assert environment["minicnn"]["threads"] == environment["torch"]["threads"] == 1
    assert set(environment["versions"]) == {"python", "numpy", "numba", "torch", "minicnn"}
    assert "OPENBLAS_CORETYPE" in environment["variables"]
    assert any(pool["kind"] == "blas" for pool in environment["pools"])
    (result,) = document["results"]
    assert (result["workload"], result["batch"]) == (NAME, 4)
    assert result["agreement"]["loss"] < measure.LOSS_TOLERANCE
    assert list(result["sides"]) == list(TRAINING)
    for side in result["sides"].values():
        seconds = side["seconds"]
        assert 0 < seconds["lower"] <= seconds["median"] <= seconds["upper"]
        assert len(side["seconds_by_round"]) == 2
        peaks = side["bytes"]
        assert 2**20 < peaks["imports"] < peaks["one_image"] <= peaks["peak"]
    assert result["best_of_torch"] in list(TRAINING)[1:]
    assert result["ratio"]["median"] > 0

    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    for word in (*TRAINING, "LeNet-5", "the losses agree", "threads", "OPENBLAS_CORETYPE", "peak"):
        assert word in text
    assert re.search(r"minicnn / torch \w+: \d+\.\d+  \(\d+\.\d+ - \d+\.\d+\), 2 rounds", text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["lenet6"], f"there is no workload 'lenet6'. Known: {NAME}"),
        (["--batch", "0"], "'0' is no whole number of at least 1"),
        (["--repeat", "many"], "'many' is no whole number of at least 1"),
        (["--threads", "1000"], "--threads 1000 is more than Numba has"),
        (["--json", "no/such/folder.json"], "there is no folder no/such"),
        (["--json", "."], "this is a folder. Add a file name."),
        (["--jsno", "x"], "unrecognized arguments: --jsno"),
    ],
)
def test_wrong_options_end_with_a_message_and_code_2(options, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(options)
    assert message in capsys.readouterr().err


def test_without_torch_it_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    assert 'pip install -e ".[reference]"' in capsys.readouterr().err


# ------------------------------------------------------------------------------- first right ...


def test_the_sides_agree(sides):
    agreement = measure.check_agreement(sides)
    assert agreement.loss < 1e-5
    assert agreement.way < 1e-3


@pytest.mark.parametrize(
    "fault",
    [
        lambda layer: layer.weight.grad.__imul__(1.01),
        lambda layer: layer.bias.grad.fill(0),  # hardly moves the loss
    ],
)
@pytest.mark.parametrize("name", ["conv1", "fc3"])
def test_a_wrong_gradient_is_found(sides, name, fault, monkeypatch):
    layer = getattr(sides["minicnn"].model, name)

    def wrong(backward, *args, **kwargs):
        dx = backward(*args, **kwargs)
        fault(layer)
        return dx

    monkeypatch.setattr(layer, "backward", partial(wrong, layer.backward))
    with pytest.raises(Disagreement, match=f"the loss of step|{name}"):
        measure.check_agreement(sides)


def test_a_loss_that_is_not_a_number_is_no_agreement(sides, monkeypatch):
    monkeypatch.setattr(sides["torch contiguous"], "loss", lambda: math.nan)
    with pytest.raises(Disagreement, match=r"the loss of step 0 is 2\.\d+ in minicnn and nan"):
        measure.check_agreement(sides)


def test_a_disagreement_ends_with_a_message_and_code_1(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        nn.Linear, "backward", lambda self, dy, cache, *, input_grad: dy @ self.weight.data
    )
    assert main(["--batch", "4", "--json", str(tmp_path / "x.json")]) == 1
    assert (
        f"nothing more is timed: {NAME}, batch 4: the loss of step 1 is" in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------- ... then fast


def test_statistics():
    timing = Timing({"a": [1.0, 2.0, 9.0], "b": [2.0, 2.0, 3.0], "c": [1.0, 4.0, 4.0]}, 5)
    assert timing.quartiles("a") == Quartiles(2.0, 1.5, 5.5)
    assert timing.best(["b", "c"]) == "b"
    assert timing.ratio("a", "b") == Quartiles(1.0, 0.75, 2.0)


def test_every_side_has_one_time_for_each_round(sides, short_blocks):
    timing = measure.time_in_turns(sides, rounds=3)
    assert {name: len(seconds) for name, seconds in timing.seconds.items()} == dict.fromkeys(
        TRAINING, 3
    )
    assert 1 <= timing.steps <= 2


def test_threads_are_restored_after_an_error(sides):
    kinds = list(TRAINING.values())
    before = numba.get_num_threads(), torch.get_num_threads()

    def fail():
        with measure.threads(kinds, 1):
            assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (numba.get_num_threads(), torch.get_num_threads()) == before


def test_the_peak_of_a_process_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="KeyError: 'nobody'"):
        memory.of_a_new_process(NAME, "nobody", 1, 1)

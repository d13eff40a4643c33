"""The benchmark measures, says under which settings, and refuses to time what is wrong."""

from __future__ import annotations

import itertools
import json
import math
import re
from functools import partial

import numba
import numpy as np
import pytest
import torch

from minicnn import nn
from reference.bench import chart, command, machine, measure, memory, report
from reference.bench.command import main
from reference.bench.machine import Peak
from reference.bench.measure import Agreement, Disagreement, Quartiles, Timing
from reference.bench.memory import Memory
from reference.bench.sides import pytorch
from reference.bench.workloads import INFERENCE, TRAINING, WORKLOADS
from tests.arrays import trains

pytestmark = trains
NAME = "lenet5/train"
CHECK = WORKLOADS[NAME].check


@pytest.fixture
def sides():
    problem = WORKLOADS[NAME].problem(4)
    return {name: kind(problem) for name, kind in TRAINING.items()}


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(measure, "SETTLING", 0.0)
    monkeypatch.setattr(measure, "MOST_STEPS", 2)
    monkeypatch.setattr(memory, "SECONDS", 0.0)
    monkeypatch.setattr(machine, "SIDE", 64)
    monkeypatch.setattr(machine, "TRIAD", 2**16)


# ------------------------------------------------------------------------------------ end to end


@pytest.mark.slow
def test_it_runs_from_end_to_end(tmp_path, capsys, short_blocks):
    before = numba.get_num_threads(), torch.get_num_threads()
    path = tmp_path / "bench.json"
    options = ["--batch", "4", "--repeat", "2", "--threads", "1", "--json", str(path)]
    assert main([NAME, *options]) == 0
    assert (numba.get_num_threads(), torch.get_num_threads()) == before

    document = json.loads(path.read_text(encoding="utf-8"))
    environment = document["environment"]
    assert environment["minicnn"]["threads"] == environment["torch"]["threads"] == 1
    assert set(environment["versions"]) == {"python", "numpy", "numba", "torch", "minicnn"}
    assert "OPENBLAS_CORETYPE" in environment["variables"]
    assert any(pool["kind"] == "blas" for pool in environment["pools"])
    (peak,) = document["peaks"]
    assert peak["threads"] == 1
    assert all(rate > 0 for rate in peak.values())
    assert document["footnotes"] == document["disagreements"] == []
    (result,) = document["results"]
    assert (result["workload"], result["batch"], result["threads"]) == (NAME, 4, 1)
    assert result["agreement"]["result"] < CHECK.result
    assert result["work"]["flops"] == WORKLOADS[NAME].work(4).flops
    assert list(result["sides"]) == list(TRAINING)
    for side in result["sides"].values():
        seconds = side["seconds"]
        assert 0 < seconds["lower"] <= seconds["median"] <= seconds["upper"]
        assert len(side["seconds_by_round"]) == 2
        assert side["effective_flops"] == result["work"]["flops"] / seconds["median"]
        peaks = side["bytes"]
        assert 2**20 < peaks["imports"] < peaks["one_image"] <= peaks["peak"]
    assert result["best_of_torch"] in list(TRAINING)[1:]
    assert result["ratio"]["median"] > 0

    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    for word in (
        *TRAINING,
        "LeNet-5",
        "the losses agree",
        "threads",
        "OPENBLAS_CORETYPE",
        "peak MB",
    ):
        assert word in text
    assert re.search(r"minicnn / torch \w+: \d+\.\d+  \(\d+\.\d+ - \d+\.\d+\), 2 rounds", text)


@pytest.mark.slow
def test_several_workloads_batches_and_threads(tmp_path, capsys, short_blocks):
    names = ["op/relu/resnet20/64@8/forward", "op/linear/*/64to10/backward"]
    counts = sorted({1, numba.config.NUMBA_NUM_THREADS})
    options = ["--repeat", "1", "--batch", "1", "2", "--threads", *map(str, counts)]
    path, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    assert main([*names, *options, "--json", str(path), "--chart", str(picture)]) == 0
    document = json.loads(path.read_text(encoding="utf-8"))
    found = [(r["workload"].split("/")[1], r["batch"], r["threads"]) for r in document["results"]]
    assert found == list(itertools.product(("relu", "linear"), (1, 2), counts))
    assert [peak["threads"] for peak in document["peaks"]] == counts
    relu, linear = document["results"][0], document["results"][-1]
    assert list(relu["sides"]) == list(TRAINING)  # by name
    assert list(linear["sides"]) == ["minicnn", "torch contiguous"]
    assert all("bytes" not in side for side in relu["sides"].values())  # no memory of operations
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "minicnn / the best of torch" in capsys.readouterr().out


def test_quick_means_few_rounds_one_batch_and_no_memory(tmp_path, short_blocks):
    path = tmp_path / "bench.json"
    assert main(["lenet5/infer", "--quick", "--threads", "1", "--json", str(path)]) == 0
    (result,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert result["batch"] == WORKLOADS["lenet5/infer"].batches[0]
    assert list(result["sides"]) == list(INFERENCE)
    for side in result["sides"].values():
        assert len(side["seconds_by_round"]) == command.QUICK
        assert "bytes" not in side


def test_peers_take_part_on_demand(capsys, short_blocks, monkeypatch):
    monkeypatch.setattr(command.peers, "dezero_works", lambda: False)
    monkeypatch.setattr(command.peers, "dezero_note", lambda: "Nothing is known of DeZero.")
    options = ["--batch", "2", "--repeat", "1", "--threads", "1", "--quick"]
    assert main([NAME, "--peers", *options]) == 0
    text = capsys.readouterr().out
    assert "NumPy im2col" in text
    assert "DeZero " not in text
    assert text.endswith("\nNothing is known of DeZero.\n")


def test_the_list_says_what_there_is(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len([name for name in WORKLOADS if not name.startswith("op/")])
    assert lines[0].endswith("LeNet-5, training step; batch 1, 64, 256, 1024")
    assert main(["--list", "*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(WORKLOADS)


def test_the_help_fits_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for option in ("--list", "--quick", "--compile", "--peers", "--json", "--chart", "--threads"):
        assert option in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["lenet6/train"], "there is no workload 'lenet6/train'. Did you mean lenet5/train"),
        (["zzz"], "there is no workload 'zzz'. --list shows all."),
        (["lenet5/*", "*/nothing"], "there is no workload '*/nothing'."),
        (["--batch", "0"], "'0' is no whole number of at least 1"),
        (["--repeat", "many"], "'many' is no whole number of at least 1"),
        (["--threads", "1000"], "--threads 1000 is more than Numba has"),
        (["--json", "no/such/folder.json"], "there is no folder no/such"),
        (["--json", "."], "this is a folder. Add a file name."),
        (["--chart", "x.pdf"], "--chart x.pdf: the name of the picture must end in .png."),
        (["--jsno", "x"], "unrecognized arguments: --jsno"),
    ],
)
def test_wrong_options_end_with_a_message_and_code_2(options, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(options)
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("reference.bench: ")
    assert error.count("\n") == 1


def test_without_a_compiler_it_says_so(capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert pytorch.compiler() is None
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["--compile"])
    assert "--compile: torch.compile needs a C++ compiler" in capsys.readouterr().err


def test_without_torch_it_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    assert 'pip install -e ".[reference]"' in capsys.readouterr().err


# ------------------------------------------------------------------------------- first right ...


def test_the_sides_agree(sides):
    agreement = measure.check_agreement(sides, CHECK)
    assert agreement.result < 1e-5
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
    side = sides["minicnn"]
    layer, prepare = getattr(side.model, name), side.prepare

    def wrong(backward, *args, **kwargs):
        dx = backward(*args, **kwargs)
        fault(layer)
        return dx

    def prepare_wrongly():
        network = prepare()
        network.backward = partial(wrong, network.backward)
        return network

    monkeypatch.setattr(side, "prepare", prepare_wrongly)
    side.load_weights(side.weights())
    with pytest.raises(Disagreement, match=f"the loss of step|{name}"):
        measure.check_agreement(sides, CHECK)


def test_a_loss_that_is_not_a_number_is_no_agreement(sides, monkeypatch):
    monkeypatch.setattr(
        sides["torch contiguous"], "results", lambda: {"loss": np.asarray(math.nan)}
    )
    with pytest.raises(Disagreement, match=r"the loss of step 0 is 2\.\d+ in minicnn and nan"):
        measure.check_agreement(sides, CHECK)


def test_a_disagreement_is_not_timed_and_ends_with_code_1(
    capsys, monkeypatch, tmp_path, short_blocks
):
    monkeypatch.setattr(
        nn.Linear, "backward", lambda self, dy, cache, *, input_grad: dy @ self.weight.data
    )
    path = tmp_path / "x.json"
    options = ["--batch", "4", "--repeat", "1", "--threads", "1", "--quick", "--json", str(path)]
    assert main([NAME, "op/relu/resnet20/64@8/forward", *options]) == 1
    said = f"{NAME}, batch 4: the loss of step 1 is"
    assert f"not timed: {said}" in capsys.readouterr().err
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [result["workload"].split("/")[1] for result in document["results"]] == ["relu"]
    assert document["disagreements"][0].startswith(said)


def test_an_interruption_keeps_what_was_measured(capsys, monkeypatch, tmp_path, short_blocks):
    one = "op/relu/resnet20/64@8/forward"

    def interrupted(*args):
        if capsys.readouterr().out:
            raise KeyboardInterrupt
        return measured(*args)

    measured = command._result
    monkeypatch.setattr(command, "_result", interrupted)
    path = tmp_path / "x.json"
    options = ["--batch", "1", "2", "--repeat", "1", "--threads", "1", "--json", str(path)]
    assert main([one, *options]) == 130
    assert "reference.bench: stopped" in capsys.readouterr().err
    assert [
        result["batch"] for result in json.loads(path.read_text(encoding="utf-8"))["results"]
    ] == [1]


# ---------------------------------------------------------------------------------- ... then fast


def test_statistics():
    timing = Timing({"a": [1.0, 2.0, 9.0], "b": [2.0, 2.0, 3.0], "c": [1.0, 4.0, 4.0]}, 5)
    assert timing.quartiles("a") == Quartiles(2.0, 1.5, 5.5)
    assert timing.best(["b", "c"]) == "b"
    assert timing.ratio("a", "b") == Quartiles(1.0, 0.75, 2.0)


def result_of(timing: Timing, name: str = NAME, load: float | None = 0.0) -> report.Result:
    workload = WORKLOADS[name]
    memory_of = dict.fromkeys(timing.seconds, Memory(10**8, 2 * 10**8, 3 * 10**8))
    return report.Result(
        name, workload, 64, 2, Agreement(10, 1e-7, 1e-5), timing, load, memory_of,
        workload.work(64),
    )  # fmt: skip


TIMING = Timing(
    {
        "minicnn": [0.001, 0.001, 0.001],
        "torch contiguous": [0.004, 0.004, 0.004],
        "torch channels_last": [0.002, 0.004, 0.002],
        "NumPy im2col": [0.0005, 0.0005, 0.0005],
    },
    7,
)


def test_the_best_of_torch_is_of_torch():
    result = result_of(TIMING)
    assert result.best == "torch channels_last"
    assert result.ratio.median == 0.5
    assert result.flops("minicnn") == result.work.flops / 0.001


def test_a_busy_machine_is_told():
    assert "BEWARE" not in report.text(result_of(TIMING))
    assert "BEWARE" not in report.text(result_of(TIMING, load=None))
    assert "BEWARE: other processes kept 0.50 cores busy" in report.text(
        result_of(TIMING, load=0.5)
    )
    assert "(busy machine)" in report.summary([result_of(TIMING, load=0.5)])


def test_a_picture_of_every_side(tmp_path):
    sides = [*TRAINING, *INFERENCE, "torch folded", "torch folded, cl", "torch compiled"]
    timing = Timing({side: [0.1, 0.2] for side in [*sides, "NumPy im2col", "DeZero"]}, 1)
    assert set(timing.seconds) == set(chart.STYLES)
    peaks = [Peak(1, 1e11, 1e11, 1e11, 1e10), Peak(2, 2e11, 2e11, 2e11, 1e10)]
    results = [result_of(timing), result_of(timing, "op/relu/resnet20/64@8/forward")]
    chart.draw(results, peaks, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_every_side_has_a_style():
    sides = {side for workload in WORKLOADS.values() for side in workload.all_sides()}
    assert sides == set(chart.STYLES)


def test_the_peak_is_that_of_the_machine(monkeypatch):
    monkeypatch.setattr(machine, "SIDE", 256)
    monkeypatch.setattr(machine, "TRIAD", 2**16)
    before = numba.get_num_threads(), torch.get_num_threads()
    peak = machine.measure(1)
    assert (numba.get_num_threads(), torch.get_num_threads()) == before
    assert peak.threads == 1
    assert peak.sgemm_torch > 1e9
    assert 1e9 < peak.fma < 1e12  # a core of today


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

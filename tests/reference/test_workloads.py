"""The table of the benchmark: names that are found, and sides that compute the same."""

from __future__ import annotations

import importlib
import sys
import types

import numpy as np
import pytest

from minicnn import nn
from reference.bench import measure
from reference.bench.measure import Disagreement
from reference.bench.sides import ours, peers, pytorch
from reference.bench.workloads import WORKLOADS, Unknown, Work, chosen
from tests.arrays import trains

pytestmark = pytest.mark.slow

# Where everything is small; the others differ from them in nothing but size.
SMALL_OPERATIONS = [name for name in WORKLOADS if name.startswith("op/") and "/resnet20/" in name]
SMALL_OPERATIONS += [name for name in WORKLOADS if "vgg16/512@14k2" in name]


def agree(name: str, batch: int) -> measure.Agreement:
    workload = WORKLOADS[name]
    problem = workload.problem(batch)
    # DeZero has tests of its own: it may be missing.
    kinds = {s: k for s, k in workload.all_sides(compile=False).items() if k is not peers.Dezero}
    return measure.check_agreement({s: k(problem) for s, k in kinds.items()}, workload.check)


# ----------------------------------------------------------------------------------------- names


def test_nothing_chosen_is_every_network():
    assert chosen([]) == [name for name in WORKLOADS if not name.startswith("op/")]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["lenet5/train"], ["lenet5/train"]),
        (["resnet20/*"], ["resnet20/train", "resnet20/infer"]),
        (["lenet5/*", "lenet5/train"], ["lenet5/train", "lenet5/infer"]),
        (["resnet18@*"], ["resnet18@112/infer", "resnet18@56/infer", "resnet18@28/infer"]),
        (["op/linear/resnet20/*/forward"], ["op/linear/resnet20/64to10/forward"]),
    ],
)
def test_names_and_patterns(patterns, names):
    assert chosen(patterns) == names


def test_a_star_is_everything():
    assert chosen(["*"]) == list(WORKLOADS)


@pytest.mark.parametrize("pattern", ["lenet6", "lenet5", "op/conv3d/*"])
def test_what_fits_nothing_is_refused(pattern):
    with pytest.raises(Unknown, match=pattern.replace("*", r"\*")):
        chosen(["lenet5/train", pattern])


# ------------------------------------------------------------------------------------------ work


def test_work_of_a_network_counts_products():
    # 24*24*6*25 + 8*8*16*150 + 256*120 + 120*84 + 84*10 products forward
    first, others = 86_400, 153_600 + 30_720 + 10_080 + 840
    assert WORKLOADS["lenet5/infer"].work(3) == Work(2 * 3 * (first + others))
    assert WORKLOADS["lenet5/train"].work(3) == Work(2 * 3 * (2 * first + 3 * others))


@pytest.mark.parametrize("name", ["googlenet", "vgg16", "resnet18"])
def test_the_first_convolution_of_a_large_network_is_found(name):
    assert (
        WORKLOADS[f"{name}/infer"].task.work(1, "train").flops
        > WORKLOADS[f"{name}/infer"].work(1).flops
    )


def test_work_of_an_operation():
    operation = WORKLOADS["op/conv2d/resnet20/16to16@32/forward"].task
    y, weight = 16 * 32 * 32, 16 * 16 * 9  # x is as large as y
    assert operation.forward_work(2).flops == 2 * 2 * y * 16 * 9  # 16 * 9 products a number
    assert operation.forward_work(2).bytes == 4 * (2 * y + weight + 2 * y)
    assert operation.backward_work(2).flops == 2 * operation.forward_work(2).flops
    assert operation.backward_work(2).bytes == 4 * (2 * y + 2 * y + weight + 2 * y + weight)


@trains
def test_the_first_convolution_has_no_gradient_of_its_input():
    workload = WORKLOADS["op/conv2d/resnet20/3to16@32/backward"]
    assert workload.work(2).flops == WORKLOADS["op/conv2d/resnet20/3to16@32/forward"].work(2).flops
    side = workload.sides["minicnn"](workload.problem(1))
    side.step()
    assert list(side.results()) == ["dweight"]


# ----------------------------------------------------------------------------------------- sides


@trains
@pytest.mark.parametrize("name", SMALL_OPERATIONS)
def test_operations_agree(name):
    assert agree(name, 2).way is None


@trains
@pytest.mark.parametrize("name", ["lenet5/infer", "cnn3/train", "resnet20/train", "resnet20/infer"])
def test_networks_and_numpy_agree(name):
    agree(name, 4)


@trains
def test_image_sizes_agree():
    agree("resnet18@28/infer", 1)


@trains
def test_batch_norm_is_not_at_its_start_in_inference():
    side = ours.MinicnnInference(WORKLOADS["resnet20/infer"].problem(1))
    weights = side.weights()
    assert all(np.ptp(weights[key]) > 0 for key in weights if "running" in key)


@trains
def test_a_wrong_operation_is_found(monkeypatch):
    monkeypatch.setattr(
        ours.MinicnnBackward, "results", lambda self: {"dx": 1.001 * self.gradients}
    )
    with pytest.raises(Disagreement, match=r"the dx of step 0 in minicnn and .* 0\.001 of their"):
        agree("op/relu/resnet20/64@8/backward", 1)


@trains
def test_a_missing_gradient_is_found(monkeypatch):
    monkeypatch.setattr(ours.MinicnnBackward, "results", lambda self: {})
    with pytest.raises(Disagreement, match="minicnn computes , torch contiguous dx"):
        agree("op/relu/resnet20/64@8/backward", 1)


@trains
def test_wrong_logits_are_found(monkeypatch):
    monkeypatch.setattr(pytorch.TorchFrozen, "results", lambda self: {"logits": np.ones((2, 10))})
    with pytest.raises(Disagreement, match="the logits of step 0 in minicnn and torch frozen"):
        agree("lenet5/infer", 2)


@trains
def test_what_prepares_a_network_is_called_again_with_new_weights(monkeypatch):
    calls = []
    monkeypatch.setattr(
        ours, "prepared", lambda model, *, training: calls.append(training) or model
    )
    problem = WORKLOADS["lenet5/train"].problem(1)
    side = ours.MinicnnTraining(problem)
    side.load_weights(side.weights())
    ours.MinicnnInference(problem)
    assert calls == [True, True, False, False]


def test_numpy_runs_the_formulas():
    side = peers.NumpyInference(WORKLOADS["lenet5/infer"].problem(1))
    assert {
        module.impl for _, module in side.network.named_modules() if isinstance(module, nn.Conv2d)
    } == {"textbook"}


# ---------------------------------------------------------------------------------------- DeZero


@pytest.fixture
def dezero(monkeypatch, tmp_path):
    """Write a package of that name; import it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dezero"]:
        monkeypatch.delitem(sys.modules, name)
    peers.dezero_note.cache_clear()

    def write(code: str) -> None:
        (tmp_path / "dezero.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("dezero", None)
    peers.dezero_note.cache_clear()


def test_dezero_that_imports_needs_no_footnote(dezero):
    dezero("")
    assert peers.dezero_note() is None
    assert peers.dezero_works()


def test_dezero_is_lent_what_its_import_asks_for(dezero):
    dezero("import numpy as np\nkind = np.int\n")
    note = peers.dezero_note()
    assert "module 'numpy' has no attribute 'int'); it was lent np.int" in note
    assert peers.dezero_works()
    assert isinstance(sys.modules["dezero"], types.ModuleType)
    assert "int" not in vars(np)


def test_dezero_that_does_not_import_says_why(dezero):
    dezero("import numpy as np\nkind = np.no_such_thing\n")
    assert "does not import" in peers.dezero_note()
    assert "no_such_thing" in peers.dezero_note()
    assert not peers.dezero_works()


def test_dezero_that_is_missing(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    peers.dezero_note.cache_clear()
    assert peers.dezero_note() == "DeZero is not installed. Install it with: pip install dezero"
    assert not peers.dezero_works()
    peers.dezero_note.cache_clear()


@trains
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["lenet5/train", "cnn3/train"])
def test_dezero_agrees(name):
    if not peers.dezero_works():
        pytest.skip(peers.dezero_note())
    workload = WORKLOADS[name]
    problem = workload.problem(4)
    sides = {"minicnn": workload.sides["minicnn"](problem), "DeZero": peers.Dezero(problem)}
    measure.check_agreement(sides, workload.check)

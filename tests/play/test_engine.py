"""The page's engine is held equal to minicnn: outputs, all gradients, and a step of SGD."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import insight, models, nn, optim
from minicnn.ops import cross_entropy
from minicnn.play import build
from tests.arrays import whole_networks
from tests.play import networks
from tests.play.browser import Caller, in_chromium, in_node

pytestmark = pytest.mark.slow

MODULE = Path(__file__).parent / "measure.js"
TOLERANCE = 1e-9  # of the largest number; both are float64, and the float32 weights are the same
RATE = 0.05

ZOO = ("lenet5", "lenet5-1998", "cnn3", "convnet", "inception_mnist", "resnet20")
OWN = {"own": (networks.own, (1, 28, 28)), "everything": (networks.everything, (3, 17, 14))}


@pytest.fixture(scope="module", params=["node", "chromium"])
def call(request) -> Caller:
    if request.param == "node":
        return in_node(MODULE)
    return in_chromium(request.getfixturevalue("chromium"), MODULE)


@pytest.fixture
def one(request) -> Caller:
    """Node where it is, else Chromium: the same engine, without the time to reach it."""
    if shutil.which("node"):
        return in_node(MODULE)
    return in_chromium(request.getfixturevalue("chromium"), MODULE)


def create(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    rng = np.random.default_rng(7)
    if name in OWN:
        make, image = OWN[name]
        model = make(rng=rng)
    else:
        model, image = models.create(name, rng=rng), models.MODELS[name].image
    networks.scramble(model, rng)
    # The formulas: nothing has to be compiled for float64, and other tests hold both sides equal.
    return model.astype(np.float64).set_impl("textbook"), image


def request_of(model: nn.Module, image: tuple[int, int, int], n: int) -> dict[str, Any]:
    """Return what ``measure`` takes: images with ties, for the pools, and a class for each."""
    rng = np.random.default_rng(3)
    x = np.round(rng.standard_normal((n, *image)) * 2) / 2
    arrays = {k: v.ravel().tolist() for k, v in model.state_dict().items() if v.dtype.kind == "f"}
    targets = model(x).argmin(axis=1)  # the least probable classes, so that no gradient is near 0
    return {
        "nodes": build(model, image),
        "arrays": arrays,
        "x": x.ravel().tolist(),
        "targets": targets.tolist(),
        "rate": RATE,
    }


def expected_of(model: nn.Module, request: dict[str, Any]) -> dict[str, Any]:
    """Return what minicnn computes: per node, as uses of modules; gradients; the next weights."""
    n, image = len(request["targets"]), request["nodes"][0]["shape"]
    x = np.reshape(request["x"], (n, *image))
    names = [name for name, _ in model.named_modules() if name]
    with insight.watching(model, *names) as seen:
        y, cache = model.forward(x, training=False)
        loss, loss_cache = cross_entropy.forward(y, np.array(request["targets"]))
        model.zero_grad()
        dx = model.backward(cross_entropy.backward(1.0, loss_cache), cache)
    gradients = {name: param.grad.copy() for name, param in model.named_parameters()}
    optim.SGD(model.parameters(), RATE).step()
    return {"loss": loss, "x": x, "dx": dx, "seen": seen, "darrays": gradients}


def difference(actual: list[float], expected: np.ndarray) -> float:
    """Return the largest difference as a part of the largest number."""
    assert len(actual) == expected.size
    off = np.abs(np.asarray(actual) - expected.ravel()).max(initial=0.0)
    return off / max(np.abs(expected).max(initial=0.0), 1e-300)


@whole_networks
@pytest.mark.parametrize("name", ZOO)
def test_networks_compute_what_minicnn_computes(one, name):
    assert_same(one, name)


@pytest.mark.parametrize("name", OWN)
def test_every_layer_computes_what_minicnn_computes(call, name):
    assert_same(call, name)


def assert_same(call: Caller, name: str) -> None:
    """Raise unless outputs, gradients and a step of SGD are minicnn's."""
    model, image = create(name)
    request = request_of(model, image, n=1 if name == "resnet20" else 2)
    result = call("measure", request)
    expected = expected_of(model, request)
    nodes = request["nodes"]
    off = {"image": difference(result["dys"][0], expected["dx"])}
    off["loss"] = abs(result["loss"] - expected["loss"]) / expected["loss"]
    compared = 0
    for i, node in enumerate(nodes[1:], start=1):
        path, _, time = node["name"].partition("#")
        if path.endswith(".sum"):  # of no module: y is what the branches give, dy what they get
            a, b = node["inputs"]
            total = np.add(result["ys"][a], result["ys"][b])
            off[f"{path} y"] = difference(result["ys"][i], total)
            continue
        use = expected["seen"][path].uses[int(time or 1) - 1]
        off[f"{path} y"] = difference(result["ys"][i], use.y)
        off[f"{path} dy"] = difference(result["dys"][i], use.dy)
        compared += 1
    assert compared >= len(nodes) - 1 - len([n for n in nodes if n["name"].endswith(".sum")])
    assert set(result["darrays"]) == set(expected["darrays"])
    for parameter, gradient in expected["darrays"].items():
        off[f"{parameter} gradient"] = difference(result["darrays"][parameter], gradient)
    for parameter, param in model.named_parameters():
        off[f"{parameter} after a step"] = difference(result["arrays"][parameter], param.data)
        assert np.abs(expected["darrays"][parameter]).max() > 1e-6, f"{parameter} learns nothing"
    wrong = {what: value for what, value in off.items() if not value < TOLERANCE}
    assert not wrong


def test_the_comparison_notices_a_wrong_gradient(call):
    model, image = create("own")
    request = request_of(model, image, n=1)
    result = call("measure", request)
    expected = expected_of(model, request)
    gradient = np.array(result["darrays"]["stem.weight"])
    gradient[3] *= 1.001
    assert difference(gradient.tolist(), expected["darrays"]["stem.weight"]) > TOLERANCE

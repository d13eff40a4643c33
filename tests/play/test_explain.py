"""Units explained: products add up to the unit and to its gradient; attribution is insight's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from minicnn import insight
from tests.arrays import whole_networks
from tests.play.browser import in_node
from tests.play.test_engine import create, difference, request_of

MODULE = Path(__file__).parent / "measure.js"


@pytest.mark.slow
@whole_networks
@pytest.mark.parametrize("name", ["lenet5", "lenet5-1998", "convnet", "own", "everything"])
def test_the_terms_add_up_to_the_unit_and_to_its_gradient(name):
    model, image = create(name)
    request = request_of(model, image, n=1)
    rng = np.random.default_rng(0)
    units = [
        [i, int(at)]
        for i, node in enumerate(request["nodes"])
        for at in rng.integers(0, math.prod(node["shape"]), 4)
    ]
    results = in_node(MODULE)("explained", request | {"units": units})
    names = {name for name, _ in model.named_modules() if name}
    fields = insight.receptive_field(model, image) if name != "everything" else {}
    for (i, at), one in zip(units, results, strict=True):
        node = request["nodes"][i]
        what = f"{node['name']} at {at}"
        assert one["y"] == pytest.approx(one["ys"], rel=1e-9, abs=1e-9), what
        assert one["dy"] == pytest.approx(one["dys"], rel=1e-8, abs=1e-10), what
        field = fields.get(node["name"]) if node["name"] in names else None
        if field is None or len(node["shape"]) != 3 or i == 0:
            continue
        row, column = at // node["shape"][2] % node["shape"][1], at % node["shape"][2]
        rows = np.flatnonzero(field.rows.reach[row])
        columns = np.flatnonzero(field.columns.reach[column])
        assert one["field"] == [rows[0], rows[-1], columns[0], columns[-1]], what


@pytest.mark.slow
@whole_networks
def test_what_units_give_to_a_kernel_adds_up_to_its_gradient():
    model, image = create("lenet5")
    request = request_of(model, image, n=1)
    conv2 = next(i for i, node in enumerate(request["nodes"]) if node["name"] == "conv2")
    units = [[conv2, 3 * 64 + place] for place in range(64)]
    results = in_node(MODULE)("explained", request | {"units": units})
    total = np.sum([one["given"] for one in results], axis=0)
    gradient = np.reshape(results[0]["darrays"]["conv2.weight"], (16, -1))[3]
    np.testing.assert_allclose(total, gradient, rtol=1e-9, atol=1e-12)


@whole_networks
def test_saliency_and_grad_cam_are_those_of_insight():
    model, image = create("lenet5")
    request = request_of(model, image, n=1)
    x = np.reshape(request["x"], (1, *image))
    layer = next(i for i, node in enumerate(request["nodes"]) if node["name"] == "act2")
    request |= {"target": 4, "layer": layer, "size": [28, 28]}
    result = in_node(MODULE)("attributed", request)
    cam = insight.grad_cam(model, x, "act2", 4)
    assert cam.max() > 0
    assert difference(result["saliency"], insight.saliency(model, x, 4)) < 1e-9
    assert difference(result["cam"], cam) < 1e-9
    assert difference(result["resized"], insight.resize(cam, (28, 28))) < 1e-9

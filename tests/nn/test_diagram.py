"""Drawings of networks: what is written in them, and that everything lies within."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from minicnn import ShapeError, models, nn, viz

BY = " \N{MULTIPLICATION SIGN} "


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def texts(diagram: viz.diagram) -> list[str]:
    """Return all that is written, from top to bottom."""
    tree = ElementTree.fromstring(diagram.svg)
    found = [(float(t.get("y")), " ".join("".join(t.itertext()).split())) for t in tree.iter(TEXT)]
    return [words for _, words in sorted(found, key=lambda pair: pair[0])]


TEXT, RECT, PATH = (f"{{http://www.w3.org/2000/svg}}{tag}" for tag in ("text", "rect", "path"))


def inside(diagram: viz.diagram) -> bool:
    """Return whether all boxes and lines lie within the drawing."""
    tree = ElementTree.fromstring(diagram.svg)
    width, height = float(tree.get("width")), float(tree.get("height"))
    points = []
    for rect in list(tree.iter(RECT))[1:]:  # the first is the paper
        x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        points += [(x, y), (x + w, y + h)]
    for path in tree.iter(PATH):
        points += [
            tuple(map(float, pair.split()))
            for pair in re.findall(r"[\d.-]+ [\d.-]+", path.get("d"))
        ]
    return all(0 <= x <= width and 0 <= y <= height for x, y in points)


def shape(*sides: int) -> str:
    return BY.join(map(str, sides))


def test_lenet_has_its_layers_and_the_shapes_that_change() -> None:
    drawn = viz.diagram(models.lenet5(rng=rng()), (1, 28, 28))
    assert texts(drawn) == [
        f"input {shape(1, 28, 28)}",
        f"conv1 Conv2d {shape(5, 5)}", shape(6, 24, 24), "act1 ReLU",
        f"pool1 MaxPool2d {shape(2, 2)}", shape(6, 12, 12),
        f"conv2 Conv2d {shape(5, 5)}", shape(16, 8, 8), "act2 ReLU",
        f"pool2 MaxPool2d {shape(2, 2)}", shape(16, 4, 4), "flatten Flatten", "256",
        "fc1 Linear", "120", "act3 ReLU", "fc2 Linear", "84", "act4 ReLU", "fc3 Linear",
        "output 10",
    ]  # fmt: skip
    assert inside(drawn)


def test_a_residual_block_has_two_branches_and_a_sum() -> None:
    block = models.resnet20(rng=rng()).layer2[0]
    drawn = viz.diagram(block, (16, 32, 32))
    written = texts(drawn)
    assert {"BasicBlock", "+", "bn1 BatchNorm2d", f"output {shape(32, 16, 16)}"} <= set(written)
    assert any(text.startswith("downsample ZeroPadShortcut") for text in written)
    assert written.index("+") < written.index("relu ReLU", written.index("+"))
    assert inside(drawn)


def test_an_inception_block_has_its_branches_side_by_side() -> None:
    drawn = viz.diagram(models.inception_mnist(rng=rng()).incep1, (10, 12, 12))
    tree = ElementTree.fromstring(drawn.svg)
    first = {"branch1x1", "branch5x5_1", "branch3x3_1", "pool"}
    at = {}
    for text in tree.iter(TEXT):
        words = "".join(text.itertext()).split()
        if words and words[0] in first:
            at[words[0]] = (float(text.get("x")), float(text.get("y")))
    assert at.keys() == first
    assert len({y for _, y in at.values()}) == 1
    assert len({x for x, _ in at.values()}) == 4
    assert {"join channels", f"output {shape(88, 12, 12)}"} <= set(texts(drawn))
    assert inside(drawn)


def test_heads_stand_beside_the_chain_and_a_large_network_is_closed() -> None:
    model = models.googlenet(10, variant="2014", aux_logits=True, rng=rng())
    drawn = viz.diagram(model, (3, 224, 224))
    written = texts(drawn)
    assert written.count("in training") == 2
    assert "inception3a Inception, 163,696 parameters" in written
    assert written[-1] == "output 10"
    assert inside(drawn)
    opened = texts(viz.diagram(models.resnet20(rng=rng()), (3, 32, 32), depth=1))
    assert sum("Sequential" in text for text in opened) == 3


def test_a_module_of_ones_own_is_led_through_in_the_order_in_which_it_runs() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            self.last, self.first = nn.Linear(8, 3, rng=rng()), nn.Conv2d(1, 2, 2, rng=rng())

        def forward(self, x, *, training):
            y, _ = self.first.forward(x, training=training)
            return self.last.forward(y.reshape(len(y), -1), training=training)

    written = texts(viz.diagram(Own(), (1, 3, 3)))
    assert written[1:3] == ["Own", f"first Conv2d {shape(2, 2)}"]
    assert written[-2:] == ["last Linear", "output 3"]


def test_options_are_told_where_they_are_not_the_usual_ones() -> None:
    layers = {
        nn.Conv2d(4, 4, (3, 5), stride=2, padding=1, dilation=2, groups=2, rng=rng()):
        f"Conv2d {shape(3, 5)}, stride 2, padding 1, dilation 2, groups 2",
        nn.MaxPool2d(3, 1): f"MaxPool2d {shape(3, 3)}, stride 1",
        nn.AvgPool2d(2): f"AvgPool2d {shape(2, 2)}",
        nn.LeakyReLU(0.2): "LeakyReLU(0.2)",
    }  # fmt: skip
    for layer, words in layers.items():
        assert words in " ".join(texts(viz.diagram(layer, (4, 20, 20)))).replace(
            "negative_slope=", ""
        )


def test_a_notebook_shows_a_module_without_shapes() -> None:
    svg = nn.Sequential(conv=nn.Conv2d(1, 2, 3, rng=rng()), act=nn.ReLU())._repr_html_()
    assert svg.startswith("<svg")
    words = ["".join(t.itertext()).split() for t in ElementTree.fromstring(svg).iter(TEXT)]
    assert words == [
        ["input"],
        ["conv", "Conv2d", "3", BY.strip(), "3"],
        ["act", "ReLU"],
        ["output"],
    ]
    assert nn.Sequential()._repr_html_().startswith("<svg")


def test_it_is_saved_as_svg(tmp_path) -> None:
    drawn = viz.diagram(nn.Sequential(nn.Linear(3, 2, rng=rng())), (3,))
    path = viz.save(drawn, tmp_path / "new" / "net.svg")
    assert path.read_text(encoding="utf-8") == drawn.svg == drawn._repr_svg_()
    with pytest.raises(ValueError, match=r"must end in \.svg"):
        viz.save(drawn, tmp_path / "net.png")


def test_it_refuses() -> None:
    with pytest.raises(ShapeError):
        viz.diagram(models.lenet5(rng=rng()), (3, 28, 28))
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        viz.diagram(models.lenet5(rng=rng()), depth=0)


def test_a_network_in_wrappers_is_opened() -> None:
    layers = nn.Sequential(nn.Linear(3, 4, rng=rng()), nn.ReLU(), nn.Linear(4, 2, rng=rng()))
    drawn = " ".join(texts(viz.diagram(nn.Sequential(nn.Sequential(layers)), (3,))))
    assert "ReLU" in drawn

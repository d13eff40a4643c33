"""The table of a network, its numbers by hand and its receptive fields by trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError, nn
from minicnn.nn.summary import as_text, summarize


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def network() -> nn.Sequential:
    return nn.Sequential(
        conv=nn.Conv2d(1, 2, 3, rng=rng()),
        body=nn.Sequential(act=nn.ReLU(), pool=nn.MaxPool2d(2)),
        flatten=nn.Flatten(),
        head=nn.Linear(18, 5, rng=rng()),
    )


def test_rows_by_hand() -> None:
    rows = [tuple(row) for row in summarize(network(), (1, 8, 8))]
    assert rows == [
        ("conv", "Conv2d", (2, 6, 6), 20, 2 * 36 * 9, (3, 3)),
        ("body.act", "ReLU", (2, 6, 6), 0, 0, (3, 3)),
        ("body.pool", "MaxPool2d", (2, 3, 3), 0, 0, (4, 4)),
        ("flatten", "Flatten", (18,), 0, 0, (4, 4)),
        ("head", "Linear", (5,), 95, 90, None),
    ]


def test_text() -> None:
    assert as_text(summarize(network(), (1, 8, 8)), (1, 8, 8)) == "\n".join(
        [
            "input 1 x 8 x 8 (64 numbers); multiply-adds are those of one image",
            "",
            "layer      kind       output     parameters  multiply-adds  receptive field",
            "---------------------------------------------------------------------------",
            "conv       Conv2d     2 x 6 x 6          20            648  3 x 3",
            "body.act   ReLU       2 x 6 x 6                             3 x 3",
            "body.pool  MaxPool2d  2 x 3 x 3                             4 x 4",
            "flatten    Flatten    18                                    4 x 4",
            "head       Linear     5                  95             90  whole image",
            "---------------------------------------------------------------------------",
            "total                                   115            738",
        ]
    )


def test_a_layer_by_itself_is_a_row() -> None:
    (row,) = summarize(nn.ReLU(), (1, 2, 2))
    assert row.name == "model"


def test_a_layer_used_twice_has_its_parameters_once() -> None:
    layer = nn.Linear(3, 3, rng=rng())
    rows = summarize(nn.Sequential(layer, nn.ReLU(), layer), (3,))
    assert [row.parameters for row in rows] == [12, 0, 0]
    assert [row.multiply_adds for row in rows] == [9, 0, 9]


@pytest.mark.parametrize(
    ("size", "field"),
    [(8, (3, 3)), (4, (4, 4)), ((2, 4), (6, 4)), (1, None), (3, None), ((1, 8), (10, 3))],
)
def test_the_field_of_an_adaptive_pool(size, field) -> None:
    """That of the pool it is, where regions are all alike; None stands for the whole image."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, rng=rng()), nn.AdaptiveAvgPool2d(size))
    assert summarize(model, (1, 8, 8))[-1].field == field


def test_an_image_that_the_network_is_not_made_for_is_rejected() -> None:
    with pytest.raises(ShapeError, match="18 features are needed on the last axis, got"):
        summarize(network(), (1, 9, 12))


def test_a_pool_of_a_vector_is_rejected() -> None:
    with pytest.raises(ShapeError, match="AdaptiveAvgPool2d: an image"):
        summarize(nn.AdaptiveAvgPool2d(2), (9,))


def test_an_image_of_other_channels_is_rejected() -> None:
    with pytest.raises(ShapeError, match="Conv2d"):
        summarize(network(), (3, 8, 8))


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Draw a chain of layers with windows; weights of one, so that nothing cancels."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        if draw(st.booleans()):
            conv = nn.Conv2d(1, 1, kernel, stride, dilation=draw(st.integers(1, 2)), rng=rng())
            conv.weight.data[...] = 1
            layers.append(conv.astype(np.float64))
        else:
            layers.append(nn.AvgPool2d(kernel, stride))
    return nn.Sequential(*layers)


@given(model=stacks())
def test_the_receptive_field_is_the_square_that_moves_one_output(model: nn.Sequential) -> None:
    field = summarize(model, (1, 40, 40))[-1].field
    x = np.ones((1, 1, 40, 40))
    y, cache = model.forward(x, training=False)
    dy = np.zeros_like(y)
    dy[..., y.shape[2] // 2, y.shape[3] // 2] = 1
    reached = np.argwhere(model.backward(dy, cache)[0, 0])
    assert tuple(reached.max(axis=0) - reached.min(axis=0) + 1) == field


class Cut(nn.AuxiliaryHeads):
    """Stages that are parts of a chain with a name, and a module that stands in two of them."""

    def __init__(self) -> None:
        self.features = nn.Sequential(nn.ReLU(), body=nn.Sequential(pool=nn.MaxPool2d(2)))
        self.act = nn.Tanh()
        self.head = nn.Sequential(nn.Flatten())

    def branches(self) -> nn.auxiliary.Branches:
        first, second = self.features
        return nn.auxiliary.Branches([[first, self.act], [second, self.act]], [self.head])


def test_stages_are_named_by_their_paths() -> None:
    rows = summarize(Cut(), (1, 4, 4))
    assert [row.name for row in rows] == [
        "features.0", "act", "head", "features.body.pool", "act",
    ]  # fmt: skip
    shared = nn.Tanh()
    rows = summarize(nn.AuxiliaryHeads([shared, nn.ReLU(), shared], []), (1, 4, 4))
    assert [row.name for row in rows] == ["stage1", "stage2", "stage1"]

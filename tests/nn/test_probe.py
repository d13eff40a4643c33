"""What layers of the reader's own do, found by running them."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError, insight, models, nn
from minicnn.nn import probe
from minicnn.nn.init import Undrawn
from minicnn.nn.module import Unknown
from minicnn.nn.summary import UNKNOWN, as_text, summarize
from tests.own.network import SOURCE


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def own() -> dict:
    names: dict = {"__name__": "own_net"}
    exec(SOURCE, names)
    return names


class Around(nn.Module):
    """Hides one of our layers: what is found by running can be held to what it says itself."""

    def __init__(self, layer: nn.Module) -> None:
        self.row = (layer,)  # in a tuple: no child, so that nothing is known of it

    def forward(self, x, *, training):
        return self.row[0].astype(x.dtype).forward(x, training=training)


LAYERS = [
    nn.Conv2d(2, 3, 3, rng=rng()),
    nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 0), dilation=(1, 2), rng=rng()),
    nn.Conv2d(2, 2, 5, stride=3, padding=2, groups=2, rng=rng()),
    nn.MaxPool2d(3, 2, 1),
    nn.AvgPool2d((2, 3), 2, ceil_mode=True),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((4, 6)),
    nn.ReLU(),
    nn.LocalResponseNorm(3),
    nn.Flatten(),
    nn.ZeroPadShortcut(2, 5, stride=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_running_finds_what_a_layer_says(layer):
    shape, hidden = (2, 12, 12), Around(layer)
    assert hidden.output_shape(shape) == layer.output_shape(shape)
    assert hidden.window(shape) == layer.window(shape)
    rows = summarize(nn.Sequential(hidden, nn.Flatten()), shape)
    ours = summarize(nn.Sequential(layer, nn.Flatten()), shape)
    assert [row.field for row in rows] == [row.field for row in ours]
    seen, said = (insight.receptive_field(m, shape)[""] for m in (hidden, layer))
    for a, b in zip(seen[1:], said[1:], strict=True):
        assert (a.size, a.jump, a.start) == (b.size, b.jump, b.start)
        np.testing.assert_array_equal(a.reach, b.reach)


class Flip(nn.Module):
    """Upside down: no window, and no unknown size."""

    def forward(self, x, *, training):
        return x[:, :, ::-1], None


class Both(nn.Module):
    """Two of our layers side by side, and a matrix of its own."""

    def __init__(self) -> None:
        self.one = nn.Conv2d(1, 2, 3, padding=1, rng=rng())
        self.other = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1, rng=rng()))
        self.mix = nn.Param(rng().standard_normal((2, 2)))

    def forward(self, x, *, training):
        y = self.one(x) + self.other(x)
        return np.einsum("oc,nchw->nohw", self.mix.data, y), None


def test_a_module_of_ones_own_has_a_row_for_each_layer_in_it():
    rows = summarize(nn.Sequential(Both(), nn.ReLU()), (1, 8, 8))
    assert [tuple(row) for row in rows] == [
        ("0.one", "Conv2d", (2, 8, 8), 20, 18 * 64, (3, 3)),
        ("0.other.0", "MaxPool2d", (1, 8, 8), 0, 0, (3, 3)),
        ("0.other.1", "Conv2d", (2, 8, 8), 20, 18 * 64, (5, 5)),
        ("0", "Both", (2, 8, 8), 4, None, (5, 5)),
        ("1", "ReLU", (2, 8, 8), 0, 0, (5, 5)),
    ]
    text = as_text(rows, (1, 8, 8))
    assert "? multiply-adds: not known of Both; the total leaves them out. Add multiply" in text
    with pytest.raises(Unknown, match=r"Both: the number of its multiply-adds.*multiply_adds"):
        Both().multiply_adds((1, 8, 8))


def test_the_readers_depthwise_has_its_true_size_and_field():
    rows = summarize(own()["net"](rng=rng()), (1, 28, 28))
    assert [(row.output, row.field) for row in rows[:3]] == [
        ((4, 12, 12), (5, 5)), ((4, 12, 12), (5, 5)), ((4, 10, 10), (9, 9)),
    ]  # fmt: skip
    net = own()["Net"](rng=rng())
    assert net.output_shape((1, 28, 28)) == (10,)
    rows = summarize(net, (1, 28, 28))
    assert [row.name for row in rows][-3:] == ["body.6", "act", "model"]
    assert sum(row.parameters for row in rows) == sum(p.data.size for p in net.parameters())
    fields = insight.receptive_field(net, (1, 28, 28))
    assert fields["body.2"].size == (9, 9)
    assert fields["body.2"].jump == (2, 2)


def test_what_is_no_window_is_said():
    rows = summarize(nn.Sequential(Flip(), nn.ReLU()), (1, 6, 6))
    assert [row.field for row in rows] == [UNKNOWN, UNKNOWN]
    assert "what Flip sees is not a window, or several fit" in as_text(rows, (1, 6, 6))
    field = insight.receptive_field(Flip(), (1, 6, 6))[""]
    np.testing.assert_array_equal(field.rows.reach, np.eye(6)[::-1])


def test_a_subclass_with_another_forward_says_nothing_of_its_base():
    class Halved(nn.ReLU):
        def forward(self, x, *, training):
            return x[:, :, ::2], None

    class Named(nn.Conv2d):
        """The same forward."""

    assert Halved().output_shape((1, 6, 6)) == (1, 3, 6)
    assert Halved().window((1, 6, 6)) == ((1, 1), (2, 1), (1, 1))
    assert Named.output_shape is nn.Conv2d.output_shape
    residual = nn.Residual(nn.Conv2d(1, 1, 3, padding=1, rng=rng()), Halved())
    with pytest.raises(ShapeError, match="only equal shapes add"):
        residual.output_shape((1, 6, 6))


def test_a_forward_that_fails_is_said():
    with pytest.raises(ShapeError, match=r"Both: .*\(3, 8, 8\)|conv2d: x"):
        Both().output_shape((3, 8, 8))

    class Bare(nn.Module):
        def forward(self, x, *, training):
            return x

    with pytest.raises(ShapeError, match="Bare: its forward does not return a pair"):
        Bare().output_shape((1, 4, 4))
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module().output_shape((1, 4, 4))


def test_windows_are_found_from_what_is_seen():
    assert probe.window_of(np.ones((3, 4), bool)) is None
    assert probe.window_of(np.ones((1, 4), bool)) == (4, 1, 1, 0)
    assert probe.window_of(np.eye(4, dtype=bool)) == (1, 1, 1, 0)
    assert probe.window_of(np.eye(4, dtype=bool)[::-1]) is None
    assert probe.window_of(np.array([[1, 0, 1, 0, 0], [0, 0, 1, 0, 1]], bool)) == (2, 2, 2, 0)


@pytest.mark.parametrize("name", ["lenet5", "resnet20-preact", "googlenet", "vgg11_bn"])
def test_of_our_own_layers_none_is_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say what they do: to try it on images of 224x224 takes a minute."""

    def run(*_: object) -> None:
        raise AssertionError("a layer is run")

    monkeypatch.setattr(probe, "run", run)
    model = models.create(name, rng=Undrawn(np.random.PCG64(0)))
    rows = nn.summarize(model, models.MODELS[name].image)
    assert all(isinstance(row.multiply_adds, int) for row in rows)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [(3, 3, 2, 1), (6, 5, 4, 2), (7, 7, 4, 3), (4, 5, 2, 2), (2, 3, 1, 1), (1, 1, 1, 0)],
)
def test_a_window_on_a_small_map_is_the_true_one(side, kernel, stride, padding):
    class Own(nn.Conv2d):
        def forward(self, x, *, training):
            return super().forward(x, training=training)

    options = {"stride": stride, "padding": padding, "rng": rng()}
    one, ours = Own(1, 2, kernel, **options), nn.Conv2d(1, 2, kernel, **options)
    image = (1, side, side)
    assert one.window(image) == ours.window(image)
    after = nn.Conv2d(2, 2, 3, padding=1, rng=rng())
    rows = [summarize(nn.Sequential(layer, after), image) for layer in (one, ours)]
    assert [row.field for row in rows[0]] == [row.field for row in rows[1]]
    seen, said = (insight.receptive_field(layer, image)[""].rows for layer in (one, ours))
    assert (seen.size, seen.jump, seen.start) == (said.size, said.jump, said.start)


def test_where_several_windows_fit_none_is_chosen():
    class Fixed(nn.Module):
        """Takes 3x3 pixels only."""

        def forward(self, x, *, training):
            if x.shape[2:] != (3, 3):
                raise ValueError("only 3x3")
            return x[:, :, :2, :2] + x[:, :, 1:, 1:], None

    with pytest.raises(Unknown, match="Fixed: what it sees is not a window, or several fit"):
        Fixed().window((1, 3, 3))
    assert [row.field for row in summarize(Fixed(), (1, 3, 3))] == [UNKNOWN]

    class Halves(nn.Module):
        """A pool that goes with its image."""

        def forward(self, x, *, training):
            return nn.AdaptiveAvgPool2d(2).forward(x, training=training)

    assert Halves().window((1, 4, 4)) == ((2, 2), (2, 2), (1, 1))


def test_parameters_that_begin_at_zero_let_through():
    class ReZero(nn.Module):
        def __init__(self):
            self.branch = nn.Conv2d(1, 1, 3, padding=1, rng=rng())
            self.alpha = nn.Param(np.zeros(1, np.float32))

        def forward(self, x, *, training):
            return x + self.alpha.data * self.branch(x), None

    model = ReZero()
    assert model.window((1, 9, 9)) == ((3, 3), (1, 1), (1, 1))
    assert insight.receptive_field(model, (1, 9, 9))[""].size == (3, 3)
    assert not model.alpha.data.any()

"""What the tree says a unit sees is what its gradient reaches, in networks and in any graph.

All weights are positive and all numbers too, so that nothing cancels: the gradient is 0 exactly
where no path leads. Max pooling, which has a path to one pixel only, becomes average pooling with
the same windows. Winograd's convolution, which subtracts, is left out.
"""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import models, nn
from minicnn.insight import Field, receptive_field, rule, watching
from minicnn.nn.init import Undrawn
from minicnn.testing.strategies import seeds
from minicnn.windows import conv_windows
from tests.arrays import whole_networks


def positive(model: nn.Module, impl: str = "direct") -> nn.Module:
    """Make every path count: positive weights, and pools that look at all of their window."""
    for _, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.impl = impl
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(
                    child.kernel_size, child.stride, child.padding, child.ceil_mode
                )  # fmt: skip
                setattr(module, name, pool)
    for param in model.parameters():
        many = param.data.ndim > 1
        param.data = np.full(param.data.shape, 1 / param.data[0].size if many else 1.0)
        param.grad = np.zeros_like(param.data)
    for name, buffer in model.named_buffers():
        if buffer.dtype.kind == "f":
            buffer[...] = 0 if name.endswith("mean") else 1
    return model.astype(np.float64).freeze()


def reached(
    model: nn.Module, image: tuple[int, int, int], probes: list[tuple[str, int, int]]
) -> np.ndarray:
    """Return (probes, h, w): the pixels that the gradient of each unit (layer, i, j) reaches."""
    with watching(model, *{name.split("#")[0] for name, _, _ in probes}) as seen:
        y, cache = model.forward(np.ones((len(probes), *image)), training=False)
        for n, (name, i, j) in enumerate(probes):  # an image for each
            layer, _, use = name.partition("#")
            once = seen[layer].uses[int(use or 1) - 1]
            dy = np.zeros_like(once.y)
            dy[(n, slice(None), i, j) if dy.ndim == 4 else n] = 1
            once.inject(dy)
        dx = model.backward(np.zeros_like(y), cache)
    assert (dx >= 0).all()
    return (dx > 0).any(axis=1)


def probes_of(fields: dict[str, Field], most: int) -> list[tuple[str, int, int]]:
    """Return units, spread over the layers that do not see all: in the middle and in corners."""
    partial = [name for name, f in fields.items() if len(f.shape) == 3 and not f.pixels().all()]
    chosen = [partial[i] for i in np.linspace(0, len(partial) - 1, most - 1).astype(int)]
    probes = []
    for n, name in enumerate(chosen):
        _, h, w = fields[name].shape
        corners = [(h // 2, w // 2), (h - 1, w - 1), (0, w - 1), (h // 2, 0)]
        probes.append((name, *corners[n % 4]))
    return [*probes, (list(fields)[-1], 0, 0)]  # and what the whole network sees


def headless(model: nn.Module, name: str) -> nn.Module:
    """Leave away the large linear layers."""
    if name.startswith(("vgg", "alexnet")):
        model.classifier = nn.Sequential()
    return model


DEEPER = {  # more of the same layers and blocks as a shallower network that is looked at
    "resnet32", "resnet44", "resnet110", "resnet110-preact", "resnet34", "resnet101", "resnet152",
    "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
}  # fmt: skip
unchecked = pytest.mark.skipif(
    numba.config.BOUNDSCHECK, reason="takes long, and the operations' own tests check the indices"
)


@pytest.mark.slow
@unchecked
@whole_networks
@pytest.mark.parametrize("name", sorted(models.MODELS.keys() - DEEPER))
def test_every_network(name):
    image = models.MODELS[name].image
    if image[1] == 224:
        image = (3, 67, 75)  # so that pixels are left over; no layer but the last needs 224
    small = {"hidden": 8} if name.startswith("vgg") else {}
    model = headless(models.MODELS[name].build(10, rng=Undrawn(np.random.PCG64()), **small), name)
    if name == "convnet":
        model.log_softmax = nn.Sequential()  # of equal numbers, it has a gradient of 0
    model = positive(model)
    fields = receptive_field(model, image)
    probes = probes_of(fields, 5)
    actual = reached(model, image, probes)
    assert len({p[0] for p in probes}) > 2
    for (layer, i, j), pixels in zip(probes, actual, strict=True):
        if len(fields[layer].shape) == 1:
            i = j = 0
        expected = fields[layer].pixels(i, j)
        assert np.array_equal(pixels, expected), f"{layer} at {i}, {j}"
        if fields[layer].rows.size is None:
            continue
        top, left, bottom, right = fields[layer].box(i, j)  # the recursion, but for the borders
        at = np.argwhere(pixels)
        assert top <= at[:, 0].min() == max(top, 0)
        assert left <= at[:, 1].min() == max(left, 0)
        assert at[:, 0].max() <= bottom
        assert at[:, 1].max() <= right


# ------------------------------------------------------------------------------------ any graph


@st.composite
def convolutions(draw: st.DrawFn, keep: bool, outside: bool) -> nn.Conv2d:
    """Draw one; unless its windows may lie ``outside``, each holds a pixel of its input.

    "same" puts the pixel itself into the window, if the kernel is odd or not dilated.
    """
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    stride, padding = 1, "same"
    if keep and not outside:
        dilation = tuple(d if k % 2 else 1 for k, d in zip(kernel, dilation, strict=True))
    if not keep:
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
        padding = draw(st.tuples(st.integers(0, 5), st.integers(0, 4))) if outside else 0
    rng = np.random.default_rng(0)
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation, rng=rng, dtype=np.float64)


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    if draw(st.booleans()):
        size = draw(st.tuples(*[st.one_of(st.none(), st.integers(1, 7))] * 2))
        return nn.AdaptiveAvgPool2d(size)
    return nn.AvgPool2d(kernel, stride, padding, draw(st.booleans()))


@st.composite
def graphs(draw: st.DrawFn, depth: int, keep: bool, branches: bool, outside: bool) -> nn.Module:
    """Draw a graph of one channel; ``keep`` keeps the size, as branches that join have to."""
    kinds = ["layer", "chain", *(["residual", "concat"] if branches else [])]
    kind = draw(st.sampled_from(kinds)) if depth else "layer"
    inner = graphs(depth - 1, True, branches, outside)
    if kind == "residual":
        shortcut = draw(st.none() | inner)
        return nn.Residual(draw(inner), shortcut, draw(st.none() | st.just(nn.ReLU())))
    if kind == "concat":
        join = nn.Conv2d(2, 1, 1, rng=np.random.default_rng(0), dtype=np.float64)
        both = nn.Concat(draw(inner), draw(st.just(nn.Sequential()) | inner))
        return nn.Sequential(both, join)
    if kind == "chain":
        parts = graphs(depth - 1, keep, branches, outside)
        return nn.Sequential(*draw(st.lists(parts, min_size=1, max_size=3)))
    if keep:
        return draw(convolutions(True, outside) | st.just(nn.ReLU()))
    return draw(convolutions(False, outside) | pools())


def rectangle(pixels: np.ndarray) -> np.ndarray:
    """Return the rows times the columns that hold any of the pixels: branches may see a cross."""
    return np.outer(pixels.any(axis=1), pixels.any(axis=0))


@pytest.mark.parametrize(
    ("branches", "outside"),
    [
        pytest.param(True, False, id="branches"),
        pytest.param(False, True, id="padding"),
        pytest.param(True, True, id="branches and padding"),
    ],
)
@given(data=st.data(), sides=st.tuples(st.integers(5, 12), st.integers(5, 12)), seed=seeds)
def test_any_graph(branches, outside, data, sides, seed):
    """Where branches can see padding alone, the rectangle holds what is seen; else it is tight."""
    parts = graphs(2, False, branches, outside)
    model = nn.Sequential(data.draw(parts), data.draw(parts))
    try:
        shape = model.output_shape((1, *sides))
    except minicnn.ShapeError:  # a kernel that does not fit what is left
        model = nn.Sequential(data.draw(graphs(2, True, branches, outside)))
        shape = model.output_shape((1, *sides))
    model = positive(model.set_impl("textbook"), "textbook")
    fields = receptive_field(model, (1, *sides))
    rng = np.random.default_rng(seed)
    units = [("", int(rng.integers(shape[1])), int(rng.integers(shape[2]))) for _ in range(3)]
    for (_, i, j), pixels in zip(units, reached(model, (1, *sides), units), strict=True):
        seen, ours = rectangle(pixels), fields[""].pixels(i, j)
        assert not (seen & ~ours).any(), "a pixel is reached that is not said to be seen"
        if not (branches and outside):
            assert np.array_equal(seen, ours)
    assert fields[""].shape == shape


def test_a_branch_that_sees_padding_alone_widens_the_rectangle():
    """Of unit (0, 0), which lies in padding, the main branch adds column 1 and the shortcut 0."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, padding=(1, 0), rng=rng, dtype=np.float64),
        nn.Residual(nn.Conv2d(1, 1, 2, padding="same", dilation=(1, 2), rng=rng, dtype=np.float64)),
    )
    model = positive(model, "textbook")
    pixels = receptive_field(model, (1, 5, 5))[""].pixels(0, 0)
    (actual,) = reached(model, (1, 5, 5), [("", 0, 0)])
    assert np.argwhere(actual).tolist() == [[0, 1]]
    assert np.argwhere(pixels).tolist() == [[0, 0], [0, 1]]


def test_a_dilated_max_pool_sees_what_a_convolution_of_its_windows_sees():
    pool = nn.MaxPool2d((2, 3), (2, 3), (1, 0), (3, 2), ceil_mode=True)
    fields = receptive_field(nn.Sequential(pool), (1, 14, 17))
    taps = np.arange(14), np.arange(17)
    for i in range(fields["0"].shape[1]):
        for j in range(fields["0"].shape[2]):
            rows = np.isin(taps[0], 2 * i - 1 + 3 * np.arange(2))
            columns = np.isin(taps[1], 3 * j + 2 * np.arange(3))
            assert np.array_equal(fields["0"].pixels(i, j), np.outer(rows, columns))


# ------------------------------------------------------------------------------------- the numbers


@pytest.mark.slow
def test_published_numbers():
    """Of Araujo et al. (2019), table 1: what the last layer of pixels sees."""
    for model, size in ((models.alexnet(10), 195), (models.vgg16(10, hidden=8), 212)):
        field = receptive_field(model.features, (3, 224, 224))[""]
        assert field.size == (size, size)
        assert field.jump == (32, 32)


def test_two_small_kernels_see_what_a_large_one_sees():
    rng = np.random.default_rng(0)
    small = nn.Sequential(nn.Conv2d(1, 1, 3, rng=rng), nn.Conv2d(1, 1, 3, rng=rng))
    large = nn.Sequential(nn.Conv2d(1, 1, 5, rng=rng))
    two, one = receptive_field(small, (1, 9, 9))["1"], receptive_field(large, (1, 9, 9))["0"]
    assert (two.size, two.jump, two.start) == ((5, 5), (1, 1), (0, 0))
    assert (one.size, one.jump, one.start) == ((5, 5), (1, 1), (0, 0))
    assert np.array_equal(two.pixels(1, 3), one.pixels(1, 3))


def test_the_table():
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        conv=nn.Conv2d(3, 4, (3, 5), 2, padding=(1, 2), rng=rng),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(3),
        again=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(4, 2, rng=rng),
    )
    assert str(receptive_field(model, (3, 8, 8))).split("\n") == [
        "receptive fields in pixels of the input, 3 x 8 x 8",
        "",
        "layer  kind               output     sees             jump   start",
        "-------------------------------------------------------------------",
        "conv   Conv2d             4 x 4 x 4  3 x 5            2 x 2  -1, -2",
        "pool   AdaptiveAvgPool2d  4 x 3 x 3  4 to 5 x 5 to 7",
        "again  AdaptiveAvgPool2d  4 x 1 x 1  whole image",
        "fc     Linear             2          whole image",
    ]


def test_a_layer_that_is_used_twice_has_two_fields():
    twice = nn.Conv2d(1, 1, 3, padding=1, rng=np.random.default_rng(0))
    fields = receptive_field(nn.Sequential(twice, twice), (1, 9, 9))
    assert fields["0"].size == (3, 3)
    assert fields["0#2"].size == (5, 5)


def test_heads_see_what_their_stage_sees_and_the_chain_goes_on():
    fields = receptive_field(models.googlenet(10, aux_logits=True), (3, 224, 224))
    assert fields["aux1.conv.conv"].rows.size is None  # after an adaptive pool that does not divide
    without = receptive_field(models.googlenet(10), (3, 224, 224))
    assert {k: f.size for k, f in fields.items() if not k.startswith("aux")} == {
        k: f.size for k, f in without.items()
    }


def same(*kernels: int | tuple[int, int]) -> nn.Module:
    """Return convolutions in a row that keep the size."""
    rng = np.random.default_rng(0)
    return nn.Sequential(*[nn.Conv2d(1, 1, k, padding="same", rng=rng) for k in kernels])


@pytest.mark.parametrize("turned", [False, True])
def test_branches_begin_where_the_first_does_and_end_where_the_last_does(turned):
    """Two kernels of 2 see pixels 0 to 2 of their own, one of 3 sees -1 to 1, one of 5 -2 to 2."""
    last = nn.Conv2d(2, 1, 3, rng=np.random.default_rng(0))
    for modules, (height, width), start, box in (
        ([same(1), same(5)], (5, 5), (-2, -2), (1, 0, 7, 6)),
        ([same((2, 3), (2, 1)), same((3, 1), (1, 5))], (4, 5), (-1, -2), (2, 0, 7, 6)),
    ):
        model = nn.Sequential(nn.Concat(*(modules[::-1] if turned else modules)), last)
        fields = receptive_field(model, (1, 11, 12))
        assert (fields["0"].size, fields["0"].start) == ((height, width), start)
        assert (fields["1"].size, fields["1"].start) == ((height + 2, width + 2), start)
        assert fields["1"].box(3, 2) == box


@pytest.mark.parametrize("turned", [False, True])
def test_branches_of_unequal_jumps_have_no_one_size(turned):
    rng = np.random.default_rng(0)
    modules = [nn.ZeroPadShortcut(1, 1, 2), nn.Conv2d(1, 1, 3, dilation=2, rng=rng)]
    fields = receptive_field(nn.Concat(*(modules[::-1] if turned else modules)), (1, 9, 9))
    assert fields[""].shape == (2, 5, 5)
    assert fields[""].size == (None, None)
    rows = np.isin(np.arange(9), [2, *(1, 3, 5)])  # of unit 1: its pixel 2, and three taps
    columns = np.isin(np.arange(9), [6, *(3, 5, 7)])
    assert np.array_equal(fields[""].pixels(1, 3), np.outer(rows, columns))
    assert fields[""].box(1, 3) == (1, 3, 5, 7)


# -------------------------------------------------------------------------------- rules and errors


class Shift(nn.Module):
    """Not known to anybody."""

    def forward(self, x, *, training):
        return np.roll(x, 1, axis=3), None


class Widened(nn.Conv2d):
    def forward(self, x, *, training):
        return super().forward(np.repeat(x, 2, axis=2), training=training)


def test_modules_without_a_rule_are_run():
    seen = receptive_field(nn.Sequential(Shift()), (1, 4, 4))["0"]
    assert np.array_equal(seen.rows.reach, np.eye(4))
    assert np.array_equal(seen.columns.reach, np.roll(np.eye(4), 1, axis=0))
    widened = Widened(1, 1, 1, rng=np.random.default_rng(0))  # not the rule of Conv2d
    seen = receptive_field(widened, (1, 4, 4))[""]
    assert seen.shape == (1, 8, 4)
    assert np.array_equal(seen.rows.reach, np.repeat(np.eye(4), 2, axis=0))


def test_a_rule_of_ones_own():
    class Blur(nn.Module):
        def forward(self, x, *, training):
            return x, None  # of which nothing is asked but the shape

    @rule.register(Blur)
    def _(blur, field, through):
        return field.window(conv_windows("Blur", field.shape[1:], 3, padding=1))

    fields = receptive_field(nn.Sequential(Blur(), Blur()), (1, 9, 9))
    assert fields["1"].size == (5, 5)


def test_refusals():
    lenet = models.lenet5(rng=np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=re.escape("Look at the network that was given to minicnn.fuse")
    ):
        receptive_field(minicnn.fuse(lenet), (1, 28, 28))
    for kind in (nn.Softmax, nn.LogSoftmax):
        for dim in (2, -1):
            with pytest.raises(ValueError, match="a softmax over rows or columns has no rule"):
                receptive_field(kind(dim), (2, 4, 4))
        for dim in (1, -3):  # over the channels of its own pixel
            assert receptive_field(kind(dim), (2, 4, 4))[""].size == (1, 1)
    with pytest.raises(minicnn.ShapeError, match=r"image must be \(c, h, w\), got \(28, 28\)"):
        receptive_field(lenet, (28, 28))
    with pytest.raises(minicnn.ShapeError, match=r"there is no unit \(24, 0\) among 24 x 24"):
        receptive_field(lenet, (1, 28, 28))["conv1"].pixels(24, 0)
    for unit in (-1, 0), (0, -1), (0, 24), (-24, -24):
        for look in (Field.pixels, Field.box):
            with pytest.raises(minicnn.ShapeError, match=re.escape(f"no unit {unit} among 24")):
                look(receptive_field(lenet, (1, 28, 28))["conv1"], *unit)

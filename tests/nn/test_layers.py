"""What a summary says of a layer against what the layer does; arguments that make no layer."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError, nn
from minicnn.testing.strategies import WIDE, seeds
from minicnn.testing.strategies import geometry as geo
from tests.arrays import impls


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CONV = ("kernel_size", "stride", "padding", "dilation")


@st.composite
def convs(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    drawn = draw(geo.convolutions(WIDE))
    channels = drawn.x_shape[1], drawn.weight_shape[0]
    options = drawn.geometry.options(*CONV) | {"groups": drawn.groups, "bias": drawn.bias}
    return nn.Conv2d(*channels, **options, rng=rng()), drawn.x_shape[1:]


@st.composite
def pools(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    kind = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
    g = draw(geo.pool_geometries(dilated=kind is nn.MaxPool2d))
    names = CONV if kind is nn.MaxPool2d else CONV[:3]
    pool = kind(**g.pool_options(*names), ceil_mode=draw(st.booleans()))
    return pool, (draw(st.integers(1, 3)), *g.image)


@st.composite
def adaptive(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    sides = st.integers(1, 6)
    kept = st.none() | sides
    size = draw(sides | st.none() | st.tuples(kept, kept) | st.lists(kept, min_size=2, max_size=2))
    return nn.AdaptiveAvgPool2d(size), draw(st.tuples(sides, sides, sides))


@st.composite
def others(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
    layers = [
        nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.Sigmoid(), nn.Tanh(), nn.Softmax(),
        nn.LogSoftmax(1), nn.Flatten(), nn.Dropout(0.5, rng=rng()),
        nn.Linear(shape[-1], 4, rng=rng()),
    ]  # fmt: skip
    return draw(st.sampled_from(layers)), shape


@given(drawn=convs() | pools() | adaptive() | others(), n=st.integers(1, 3), seed=seeds)
def test_output_shape_is_that_of_the_output(drawn, n: int, seed: int) -> None:
    layer, shape = drawn
    x = rng(seed).standard_normal((n, *shape)).astype(np.float32)
    assert layer.output_shape(shape) == layer(x).shape[1:]


@given(drawn=convs())
def test_multiply_adds_of_a_convolution_are_those_without_padding_left_out(drawn) -> None:
    """Counted: one product for each output and each weight that it uses."""
    conv, shape = drawn
    o, oh, ow = conv.output_shape(shape)
    per_output = math.prod(conv.weight.data.shape[1:])
    assert conv.multiply_adds(shape) == o * oh * ow * per_output


def test_multiply_adds_of_linear_count_every_row() -> None:
    layer = nn.Linear(5, 3, rng=rng())
    assert layer.multiply_adds((5,)) == 15
    assert layer.multiply_adds((7, 2, 5)) == 7 * 2 * 15


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()])
def test_other_layers_multiply_nothing(layer: nn.Module) -> None:
    assert layer.multiply_adds((2, 4, 4)) == 0


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(1, 1, 3, rng=rng()), (9,), "Conv2d: an image (channels, height, width) is"),
        (nn.Conv2d(2, 1, 3, rng=rng()), (3, 9, 9), "Conv2d: "),
        (nn.Conv2d(1, 1, 5, rng=rng()), (1, 3, 9), "Conv2d: the kernel does not fit along height"),
        (nn.MaxPool2d(2), (9,), "MaxPool2d: an image"),
        (nn.MaxPool2d(4), (1, 9, 3), "MaxPool2d: the kernel does not fit along width"),
        (nn.AvgPool2d(2), (9,), "AvgPool2d: an image"),
        (nn.AdaptiveAvgPool2d(2), (9,), "AdaptiveAvgPool2d: an image"),
        (nn.AdaptiveAvgPool2d((1, 2, 3)), (1, 9, 9), "adaptive_avg_pool2d: output_size"),
        (nn.Linear(5, 3, rng=rng()), (4,), "Linear: 5 features are needed on the last axis, got"),
    ],
    ids=str,
)
def test_a_shape_that_does_not_fit_is_rejected(layer, shape, message: str) -> None:
    with pytest.raises(ShapeError) as error:
        layer.output_shape(shape)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2, rng=rng()), ShapeError,
            "Conv2d: groups=2 must divide in_channels=3.",
        ),
        (
            lambda: nn.Conv2d(4, 3, 3, groups=2, rng=rng()), ShapeError,
            "Conv2d: groups=2 must divide out_channels=3.",
        ),
        (
            lambda: nn.Conv2d(0, 3, 3, rng=rng()), ShapeError,
            "Conv2d: in_channels must be at least 1, got 0.",
        ),
        (
            lambda: nn.Conv2d(1, 1, (3, 0), rng=rng()), ShapeError,
            "Conv2d: kernel_size must be at least 1, got 0.",
        ),
        (
            lambda: nn.Conv2d(1, 1, 3, groups=0, rng=rng()), ShapeError,
            "Conv2d: groups must be at least 1, got 0.",
        ),
        (
            lambda: nn.Linear(2.5, 1, rng=rng()), TypeError,
            "Linear: in_features must be an integer, got 2.5.",
        ),
        (
            lambda: nn.Linear(2, 0, rng=rng()), ShapeError,
            "Linear: out_features must be at least 1, got 0.",
        ),
        (
            lambda: nn.Dropout(1.5, rng=rng()), ValueError,
            "Dropout: p must be from 0 to 1, got 1.5.",
        ),
    ],
)  # fmt: skip
def test_arguments_that_make_no_layer(make, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.LogSoftmax(), "LogSoftmax(dim=-1)"),
        (nn.Sigmoid(), "Sigmoid()"),
        (nn.Tanh(), "Tanh()"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.Linear(2, 3, bias=False, rng=rng()), "Linear(2, 3, bias=False)"),
        (
            nn.Conv2d(4, 6, (3, 2), (1, 2), "valid", 2, 2, False, rng=rng()),
            "Conv2d(4, 6, kernel_size=(3, 2), stride=(1, 2), padding='valid', dilation=2, "
            "groups=2, bias=False)",
        ),
        (
            nn.MaxPool2d(2, ceil_mode=True),
            "MaxPool2d(kernel_size=2, stride=None, padding=0, dilation=1, ceil_mode=True)",
        ),
        (
            nn.AvgPool2d((2, 3), 1),
            "AvgPool2d(kernel_size=(2, 3), stride=1, padding=0, ceil_mode=False, "
            "count_include_pad=True, divisor_override=None)",
        ),
        (nn.AdaptiveAvgPool2d((1, None)), "AdaptiveAvgPool2d((1, None))"),
    ],
)
def test_repr_says_the_options(layer: nn.Module, text: str) -> None:
    assert repr(layer) == text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_have_the_dtype_asked_for(dtype: type) -> None:
    for layer in (
        nn.Conv2d(2, 3, 3, rng=rng(), dtype=dtype),
        nn.Linear(2, 3, rng=rng(), dtype=dtype),
    ):
        assert layer.weight.data.dtype == layer.bias.grad.dtype == dtype


@impls
def test_dropout_moves_its_own_generator_on(impl: str) -> None:
    layer = nn.Dropout(0.5, rng=rng(3)).set_impl(impl)
    x = np.ones(1000, np.float32)
    first, _ = layer.forward(x, training=True)
    second, _ = layer.forward(x, training=True)
    assert (first != second).any()
    layer.rng = rng(3)
    np.testing.assert_array_equal(layer.forward(x, training=True)[0], first)


# ------------------------------------------------------------------- a gradient nobody asks for

LAYERS = [
    (nn.Conv2d(2, 3, 3, rng=rng()), (2, 2, 5, 4)),
    (nn.Linear(4, 3, rng=rng()), (2, 5, 4)),
    (nn.BatchNorm1d(4), (3, 4)),
    (nn.BatchNorm2d(2), (2, 2, 5, 4)),
    (nn.LocalResponseNorm(3), (2, 2, 5, 4)),
    (nn.MaxPool2d(2), (2, 2, 5, 4)),
    (nn.AvgPool2d(2), (2, 2, 5, 4)),
    (nn.AdaptiveAvgPool2d(2), (2, 2, 5, 4)),
    (nn.Dropout(0.5, rng=rng()), (2, 3)),
    (nn.Flatten(), (2, 2, 5, 4)),
    (nn.ReLU(), (2, 3)),
    (nn.LeakyReLU(), (2, 3)),
    (nn.Sigmoid(), (2, 3)),
    (nn.Tanh(), (2, 3)),
    (nn.GELU(), (2, 3)),
    (nn.Softmax(), (2, 3)),
    (nn.LogSoftmax(), (2, 3)),
    (nn.ZeroPadShortcut(2, 4, 2), (2, 2, 5, 4)),
    (nn.Residual(nn.Linear(4, 4, rng=rng())), (2, 4)),
    (nn.Concat(nn.Conv2d(2, 3, 1, rng=rng()), nn.ReLU()), (2, 2, 5, 4)),
    (nn.Sequential(nn.Linear(4, 3, rng=rng()), nn.ReLU()), (2, 4)),
]


@impls
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: type(value).__name__)
def test_no_gradient_of_the_input_where_none_is_asked_for(
    layer: nn.Module, shape: tuple[int, ...], impl: str
) -> None:
    layer = copy.deepcopy(layer).set_impl(impl)
    x = rng().standard_normal(shape).astype(np.float32)
    y, cache = layer.forward(x, training=True)
    assert layer.backward(y, cache).shape == shape
    whole = [param.grad.copy() for param in layer.parameters()]
    layer.zero_grad()
    assert layer.backward(y, cache, input_grad=False) is None
    for param, grad in zip(layer.parameters(), whole, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


@impls
@pytest.mark.parametrize(("layer", "shape"), LAYERS[:4], ids=lambda value: type(value).__name__)
def test_what_is_frozen_gets_none_either(
    layer: nn.Module, shape: tuple[int, ...], impl: str
) -> None:
    layer = copy.deepcopy(layer).set_impl(impl).freeze()
    y, cache = layer.forward(rng().standard_normal(shape).astype(np.float32), training=True)
    assert layer.backward(y, cache, input_grad=False) is None
    assert not any(param.grad.any() for param in layer.parameters())

"""Networks as they are taught: how far they see, what they cost, what scaling does to them.

Weights and pixels are whole numbers where equality is to be exact.
"""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import models, nn
from minicnn.nn.summary import summarize
from minicnn.ops import dropout, leaky_relu, linear, relu
from minicnn.testing.strategies import Fill, fills
from tests.arrays import impls

whole = fills(("ties",), (np.float64,))
few = st.integers(1, 3)
sides = st.tuples(few, few)

equal = np.testing.assert_array_equal


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def layer(*args: object, **options: object) -> nn.Conv2d:
    """Return a convolution in float64."""
    return nn.Conv2d(*args, **options, rng=rng(), dtype=np.float64)


def with_weights(model: nn.Module, value: float) -> nn.Module:
    """Set every parameter: where all are positive, nothing cancels."""
    for param in model.parameters():
        param.data[...] = value
    return model


def filled(model: nn.Module, fill: Fill) -> nn.Module:
    for param in model.parameters():
        param.data[...] = fill(*param.data.shape)
    return model


# --------------------------------------------------------------------------- how far a unit sees


def seen(model: nn.Module, image: tuple[int, int], unit: tuple[int, int]) -> np.ndarray:
    """Return which pixels of the image move one unit of the output."""
    y, cache = model.forward(np.ones((1, 1, *image)), training=False)
    dy = np.zeros_like(y)
    dy[:, :, *unit] = 1
    return model.backward(dy, cache)[0, 0] != 0


@impls
@pytest.mark.parametrize(("layers", "kernel"), [(2, 5), (3, 7), (4, 9)])
def test_stacked_3x3_see_as_far_as_one_larger_kernel(layers: int, kernel: int, impl: str) -> None:
    small = nn.Sequential(*[layer(1, 1, 3) for _ in range(layers)])
    large = layer(1, 1, kernel)
    image, units = (kernel + 2, kernel + 4), (3, 5)
    for unit in np.ndindex(units):
        expected = np.zeros(image, bool)
        expected[unit[0] : unit[0] + kernel, unit[1] : unit[1] + kernel] = True
        for model in (small, large):
            with_weights(model, 1).set_impl(impl)
            assert model.output_shape((1, *image)) == (1, *units)
            equal(seen(model, image, unit), expected)
    fields = [summarize(model, (1, *image))[-1].field for model in (small, large)]
    assert fields == [(kernel, kernel)] * 2
    assert layers * 9 < kernel**2  # and have fewer weights


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Draw a chain of layers with windows."""
    layers: list[nn.Module] = []
    for _ in range(draw(few)):
        kernel, stride = draw(sides), draw(st.tuples(*[st.integers(1, 2)] * 2))
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        if draw(st.booleans()):
            dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
            layers.append(layer(1, 1, kernel, stride, padding, dilation, bias=False))
        else:
            layers.append(nn.AvgPool2d(kernel, stride, padding))
    return nn.Sequential(*layers)


def reach(model: nn.Sequential, axis: int) -> tuple[int, int, int]:
    """Return size and step of the field along one axis, and the padding before the first pixel."""
    field, jump, before = 1, 1, 0
    for child in model:
        kernel, stride, dilation = (pair[axis] for pair in child.window(()))
        before += child.padding[axis] * jump
        field += (kernel - 1) * dilation * jump
        jump *= stride
    return field, jump, before


@impls
@given(model=stacks(), skipped=sides, more=sides)
def test_the_receptive_field_grows_by_the_kernel_times_the_step(
    impl: str, model: nn.Sequential, skipped, more
) -> None:
    """field += (k - 1) * d * jump; jump *= s. Unit i sees from i * jump - padding on."""
    with_weights(model, 1).set_impl(impl)
    fields, starts, units, image = [], [], [], []
    for axis in (0, 1):
        field, jump, before = reach(model, axis)
        unit = -(-before // jump) + skipped[axis]  # the first ones see padding
        fields.append(field)
        units.append(unit)
        starts.append(unit * jump - before)
        image.append(starts[-1] + field + more[axis])
    pixels = np.argwhere(seen(model, tuple(image), tuple(units)))
    equal(pixels.min(axis=0), starts)
    equal(pixels.max(axis=0), np.add(starts, fields) - 1)
    assert summarize(model, (1, *image))[-1].field == tuple(fields)


# --------------------------------------------------------------------------------------- the cost


@given(kernel=sides, groups=few, inward=few, outward=few, bias=st.booleans())
def test_a_convolution_has_a_weight_for_each_tap_and_pair_of_channels(
    kernel, groups: int, inward: int, outward: int, bias: bool
) -> None:
    cin, cout = groups * inward, groups * outward
    conv = layer(cin, cout, kernel, groups=groups, bias=bias)
    count = sum(param.data.size for param in conv.parameters())
    assert count == kernel[0] * kernel[1] * cin // groups * cout + bias * cout
    (row,) = summarize(conv, (cin, 3, 3))
    assert row.parameters == count


@given(inward=st.integers(1, 9), outward=st.integers(1, 9), bias=st.booleans())
def test_a_linear_layer_has_a_weight_for_each_pair(inward: int, outward: int, bias: bool) -> None:
    (row,) = summarize(nn.Linear(inward, outward, bias=bias, rng=rng()), (inward,))
    assert row.parameters == inward * outward + bias * outward
    assert row.multiply_adds == inward * outward


@impls
@given(kernel=sides, stride=sides, dilation=sides, groups=few, channels=sides, more=sides)
def test_multiply_adds_are_the_products_that_are_added(
    impl: str, kernel, stride, dilation, groups: int, channels, more
) -> None:
    """With ones for pixels and weights every product is 1, and the outputs add up to their count.

    So no padding: a product with it counts, but is 0.
    """
    cin, cout = (groups * c for c in channels)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "bias": False}
    conv = with_weights(layer(cin, cout, kernel, **options), 1).set_impl(impl)
    image = tuple(d * (k - 1) + m for d, k, m in zip(dilation, kernel, more, strict=True))
    (row,) = summarize(conv, (cin, *image))
    assert row.multiply_adds == conv(np.ones((1, cin, *image))).sum()


@impls
@given(image=sides, times=sides, channels=few)
def test_parameters_do_not_depend_on_the_image_but_multiply_adds_grow_with_its_area(
    impl: str, image, times, channels: int
) -> None:
    model = nn.Sequential(
        layer(1, channels, 3, padding="same"),
        nn.ReLU(),
        layer(channels, 2, (1, 5), padding="same"),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 5, rng=rng(), dtype=np.float64),
    ).set_impl(impl)
    larger = (image[0] * times[0], image[1] * times[1])
    rows, more = summarize(model, (1, *image)), summarize(model, (1, *larger))
    assert [row.parameters for row in more] == [row.parameters for row in rows]
    for before, after in zip(rows, more, strict=True):
        grown = times[0] * times[1] if before.kind == "Conv2d" else 1
        assert after.multiply_adds == before.multiply_adds * grown
    for size in (image, larger):
        assert model(np.ones((3, 1, *size))).shape == (3, 5)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-1998", "cnn3", "convnet"])
@given(times=sides)
def test_the_convolutions_of_a_model_take_larger_images_as_they_are(name: str, times) -> None:
    """Without padding the multiply-adds grow faster than the area: less is lost at the border."""
    model, (c, h, w) = models.create(name, rng=rng()), models.find(name).image
    trunk = nn.Sequential(*takewhile(lambda child: not isinstance(child, nn.Flatten), model))
    rows, more = (summarize(trunk, (c, h * a, w * b)) for a, b in ((1, 1), times))
    assert [row.parameters for row in more] == [row.parameters for row in rows]
    before, after = (sum(row.multiply_adds for row in table) for table in (rows, more))
    assert after >= before * times[0] * times[1] > 0


# ------------------------------------------------------------------------------ scale and mixture


slopes = st.sampled_from([0.0, 0.25, 0.5])
scales = st.integers(0, 9)


@impls
@given(fill=whole, a=scales, slope=slopes)
def test_rectifiers_are_positively_homogeneous(impl: str, fill: Fill, a: int, slope: float) -> None:
    """And so is the way back: where a > 0, a * x has the gradient of x."""
    x, dy = fill(3, 4), fill(3, 4)
    for op, options in ((relu, {}), (leaky_relu, {"negative_slope": slope})):
        y, cache = op.forward(x, **options, impl=impl)
        scaled, scaled_cache = op.forward(a * x, **options, impl=impl)
        equal(scaled, a * y)
        if a > 0:
            dx = op.backward(dy, cache, impl=impl)
            equal(op.backward(dy, scaled_cache, impl=impl), dx)


@impls
@given(fill=whole)
def test_relu_is_idempotent_and_one_half_of_the_identity(impl: str, fill: Fill) -> None:
    x = fill(3, 4)
    y, negative = (relu.forward(v, impl=impl)[0] for v in (x, -x))
    equal(relu.forward(y, impl=impl)[0], y)
    equal(y - negative, x)
    equal(y + negative, np.abs(x))


@impls
@given(fill=whole, a=scales, n=few)
def test_a_network_without_biases_scales_with_its_image(impl, fill: Fill, a: int, n: int) -> None:
    """f(a x) = a f(x) for a >= 0, whence Euler's <df/dx, x> = f(x), for x and for each weight."""
    model = nn.Sequential(
        layer(2, 3, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        layer(3, 2, 2, bias=False),
        nn.LeakyReLU(0.25),
        nn.AvgPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(8, 3, bias=False, rng=rng(), dtype=np.float64),
    )
    filled(model, fill).set_impl(impl)
    x, dy = fill(n, 2, 8, 8), fill(n, 3)
    y, cache = model.forward(x, training=True)
    equal(model(a * x), a * y)
    dx = model.backward(dy, cache)
    value = (dy * y).sum()
    assert (dx * x).sum() == value
    for name, param in model.named_parameters():
        assert (param.grad * param.data).sum() == value, name


@impls
@given(fill=whole, n=few, widths=st.tuples(few, few, few))
def test_linear_layers_with_nothing_between_are_one(impl: str, fill: Fill, n: int, widths) -> None:
    """W (V x + a) + b = (W V) x + (W a + b)."""
    x, v, w = fill(n, widths[0]), fill(widths[1], widths[0]), fill(widths[2], widths[1])
    a, b = fill(widths[1]), fill(widths[2])
    inner, _ = linear.forward(x, v, a, impl=impl)
    y, _ = linear.forward(inner, w, b, impl=impl)
    equal(y, linear.forward(x, w @ v, w @ a + b, impl=impl)[0])


DRAWS = 20_000


@impls
@given(fill=fills(("normal",), (np.float64,)), p=st.floats(0.05, 0.9))
def test_dropout_keeps_the_expectation(impl: str, fill: Fill, p: float) -> None:
    """Of y = m x / (1 - p) with P(m = 1) = 1 - p, and of the gradient, which has the same m."""
    x, dy = fill(3), fill(3)
    many = np.broadcast_to(x, (DRAWS, 3))
    y, cache = dropout.forward(many, p, rng=fill.rng, impl=impl)
    dx = dropout.backward(np.broadcast_to(dy, many.shape), cache, impl=impl)
    deviation = np.sqrt(p / (1 - p) / DRAWS)  # of the mean of m / (1 - p)
    assert (np.abs(y.mean(axis=0) - x) <= (7 * deviation + 1e-10) * np.abs(x)).all()
    assert (np.abs(dx.mean(axis=0) - dy) <= (7 * deviation + 1e-10) * np.abs(dy)).all()

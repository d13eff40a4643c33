"""The residual block and the shortcut of zeros: gradients, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError, nn
from minicnn.nn.summary import summarize
from minicnn.testing import check_layer, gradcheck
from minicnn.testing.strategies import images
from tests.arrays import impls, large


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return rng(1).standard_normal(shape)


def conv(inward: int, outward: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inward, outward, side, stride, padding=side // 2, rng=rng(inward), dtype=np.float64
    )


X = numbers(2, 3, 6, 5)


# -------------------------------------------------------------------------------- the block


@impls
def test_the_gradients_of_a_block(impl: str) -> None:
    block = nn.Residual(
        nn.Sequential(conv(3, 4, stride=2), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 4)),
        shortcut=conv(3, 4, 1, 2),
        activation=nn.Tanh(),
    ).set_impl(impl)
    names = [argument.name for argument in gradcheck(block, X, elements=40).arguments]
    assert names[0] == "x"
    assert "main.0.weight" in names
    assert "shortcut.weight" in names


def test_without_a_shortcut_x_itself_is_added() -> None:
    double = nn.Residual(nn.Sequential())
    y, cache = double.forward(X, training=True)
    np.testing.assert_array_equal(y, 2 * X)
    dy = numbers(*X.shape)
    np.testing.assert_array_equal(double.backward(dy, cache), 2 * dy)


@large
def test_a_block_within_a_block() -> None:
    inner = nn.Residual(conv(3, 3), activation=nn.Tanh())
    assert gradcheck(nn.Residual(nn.Sequential(inner, conv(3, 3)), shortcut=inner), X).ok


def test_a_module_on_both_branches_receives_both_gradients() -> None:
    """With f on both, y = 2 f(x), and so twice the gradients of f alone."""
    shared = conv(3, 4)
    y, cache = shared.forward(X, training=True)
    dy = numbers(*y.shape)
    dx, alone = shared.backward(dy, cache), shared.weight.grad.copy()
    shared.zero_grad()
    block = nn.Residual(shared, shortcut=shared)
    assert len(block.parameters()) == 2
    y2, cache = block.forward(X, training=True)
    np.testing.assert_array_equal(y2, 2 * y)
    np.testing.assert_array_equal(block.backward(dy, cache), 2 * dx)
    np.testing.assert_array_equal(shared.weight.grad, 2 * alone)


@impls
def test_without_input_grad_the_parameters_receive_the_same(impl: str) -> None:
    block = nn.Residual(
        nn.Sequential(nn.ReLU(), conv(3, 4, stride=2)), conv(3, 4, 1, 2), nn.ReLU()
    ).set_impl(impl)
    y, cache = block.forward(X, training=True)
    dy = numbers(*y.shape)
    block.backward(dy, cache)
    grads = [param.grad.copy() for param in block.parameters()]
    block.zero_grad()
    assert block.backward(dy, cache, input_grad=False) is None
    for param, grad in zip(block.parameters(), grads, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


def test_branches_that_do_not_add_are_rejected() -> None:
    block = nn.Residual(conv(3, 4))
    message = (
        "Residual: the main branch gives {}, the shortcut {}; only equal shapes add. Give a "
        "shortcut that changes the shape in the same way."
    )
    with pytest.raises(ShapeError) as error:
        block.forward(X, training=True)
    assert str(error.value) == message.format("(2, 4, 6, 5)", "(2, 3, 6, 5)")
    with pytest.raises(ShapeError) as error:
        block.output_shape((3, 6, 5))
    assert str(error.value) == message.format("(4, 6, 5)", "(3, 6, 5)")


def test_the_row_of_a_block() -> None:
    block = nn.Residual(
        nn.Sequential(conv(3, 4, stride=2), nn.ReLU(), conv(4, 4)), conv(3, 4, 1, 2), nn.ReLU()
    )
    (row,) = summarize(block, (3, 8, 6))
    products = 4 * 4 * 3 * (27 + 36 + 3)
    assert row == ("model", "Residual", (4, 4, 3), 112 + 148 + 16, products, (7, 7))


def test_the_row_of_a_block_whose_activation_has_a_window() -> None:
    """Its shape, products and window come after those of the branches, of whichever is wider."""
    pool = nn.Sequential(conv(4, 5, 5), nn.AvgPool2d(2))
    for main, shortcut in ((3, 1), (1, 3)):
        block = nn.Residual(conv(3, 4, main, 2), conv(3, 4, shortcut, 2), pool)
        (row,) = summarize(block, (3, 9, 8))
        products = 5 * 4 * 4 * 3 * (9 + 1) + 5 * 4 * 5 * 4 * 25
        # 3 pixels, 4 more in steps of 2, and 1 more in steps of 2
        assert row[2:] == ((5, 2, 2), 4 * 3 * (9 + 1) + 8 + 4 * 5 * 25 + 5, products, (13, 13))
        assert block.window((3, 9, 8)) == ((13, 13), (4, 4), (1, 1))
        assert block(numbers(1, 3, 9, 8)).shape == (1, 5, 2, 2)
    assert nn.Residual(nn.ReLU(), activation=conv(3, 3, 5)).window((3, 9, 8))[0] == (5, 5)


@large
@given(kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3), stride=st.booleans())
def test_the_receptive_field_goes_on_through_blocks(kernels: list[int], stride: bool) -> None:
    layers: list[nn.Module] = []
    for kernel in kernels:
        step = 2 if stride else 1
        main = nn.Sequential(conv(1, 1, kernel, step), conv(1, 1))
        layers.append(nn.Residual(main, conv(1, 1, 1, step), conv(1, 1, kernel)))
    model = nn.Sequential(*layers)
    for param in model.parameters():
        param.data[...] = 1
    field = summarize(model, (1, 160, 160))[-1].field
    y, cache = model.forward(np.ones((1, 1, 160, 160)), training=False)
    dy = np.zeros_like(y)
    dy[..., y.shape[2] // 2, y.shape[3] // 2] = 1
    reached = np.argwhere(model.backward(dy, cache)[0, 0])
    assert tuple(reached.max(axis=0) - reached.min(axis=0) + 1) == field


# ----------------------------------------------------------------------------- zeros for a shortcut


@check_layer(images(channels=2))
def test_the_gradients_of_the_shortcut():
    return nn.ZeroPadShortcut(2, 5, 2)


def test_the_shortcut_takes_every_second_pixel_and_adds_zeros() -> None:
    y = nn.ZeroPadShortcut(3, 5, 2)(X)
    assert y.shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(y[:, :3], X[:, :, ::2, ::2])
    assert not y[:, 3:].any()


@given(
    channels=st.integers(1, 4), more=st.integers(0, 3), stride=st.integers(1, 3),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)  # fmt: skip
def test_its_shape(channels: int, more: int, stride: int, image: tuple[int, int]) -> None:
    layer = nn.ZeroPadShortcut(channels, channels + more, stride)
    shape = (channels, *image)
    y = layer(np.ones((1, *shape), np.float32))
    assert y.shape[1:] == layer.output_shape(shape)
    assert y.dtype == np.float32
    assert layer.multiply_adds(shape) == 0


def test_its_errors() -> None:
    layer = nn.ZeroPadShortcut(2, 4, 2)
    assert repr(layer) == "ZeroPadShortcut(2, 4, stride=2)"
    with pytest.raises(ShapeError) as error:
        layer.forward(X, training=True)
    assert str(error.value) == (
        "ZeroPadShortcut: x must have shape (n, 2, h, w), got (2, 3, 6, 5)."
    )
    with pytest.raises(ShapeError) as error:
        layer.output_shape((3, 6, 5))
    assert str(error.value) == "ZeroPadShortcut: 2 channels are needed, got 3 in (3, 6, 5)."
    with pytest.raises(ShapeError) as error:
        nn.ZeroPadShortcut(4, 2)
    assert str(error.value) == (
        "ZeroPadShortcut: out_channels=2 are fewer than in_channels=4, and it only adds channels. "
        "Use a 1x1 convolution instead."
    )


def test_a_list_of_layers_is_refused():
    with pytest.raises(TypeError, match=r"main must be a Module, got .*\. A chain of layers is o"):
        nn.Residual([nn.ReLU()])
    with pytest.raises(TypeError, match="Residual: activation must be a Module, got 'relu'"):
        nn.Residual(nn.ReLU(), activation="relu")

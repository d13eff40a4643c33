"""First values: fans by hand, gains as torch's, distributions by formula and by statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ShapeError, nn
from minicnn.nn import init
from tests.pytorch import torch

LINEAR, CONV, GROUPED = (40, 30), (24, 10, 3, 5), (24, 5, 3, 5)
SHAPES = [LINEAR, CONV, GROUPED]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(LINEAR, (30, 40)), (CONV, (150, 360)), (GROUPED, (75, 360)), ((7, 2, 9), (18, 63))],
)
def test_fans(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert init.fans(shape) == expected


@pytest.mark.parametrize("shape", [*SHAPES, (7, 2, 9)])
def test_fans_are_torchs(shape: tuple[int, ...]) -> None:
    assert init.fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_fans_need_two_axes() -> None:
    with pytest.raises(ShapeError) as error:
        init.fans((3,))
    assert str(error.value) == "init: a weight has at least 2 axes, got shape (3,)."


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu"])
def test_gains_are_torchs(name: str) -> None:
    assert init.gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


@given(a=st.floats(-3, 3))
def test_the_gain_of_leaky_relu_is_torchs(a: float) -> None:
    theirs = torch.nn.init.calculate_gain("leaky_relu", a)
    assert init.gain("leaky_relu", a) == pytest.approx(theirs, rel=1e-15)


def test_the_slope_of_leaky_relu_is_torchs_by_default() -> None:
    assert init.gain("leaky_relu") == pytest.approx(torch.nn.init.calculate_gain("leaky_relu"))


def test_an_unknown_gain_lists_the_known_ones() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        init.gain("swish")
    assert str(error.value) == (
        "init: nonlinearity must be one of linear, sigmoid, tanh, relu, leaky_relu, got 'swish'."
    )


# By nonlinearity and its slope: the root of 2 / (1 + slope**2), and 5/3 for tanh.
GAINS = {
    ("relu", 0.0): math.sqrt(2), ("leaky_relu", 0.3): math.sqrt(2 / 1.09), ("tanh", 0.0): 5 / 3,
}  # fmt: skip


def kaiming_std(shape, a: float, mode: str, nonlinearity: str) -> float:
    fan = dict(zip(("fan_in", "fan_out"), init.fans(shape), strict=True))[mode]
    return GAINS[nonlinearity, a] / math.sqrt(fan)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(("nonlinearity", "a"), GAINS)
def test_kaiming_by_formula(shape, mode: str, nonlinearity: str, a: float) -> None:
    std = kaiming_std(shape, a, mode, nonlinearity)
    options = (a, mode, nonlinearity)
    uniform = init.kaiming_uniform(shape, *options, rng=rng(), dtype=np.float64)
    bound = math.sqrt(3) * std
    np.testing.assert_allclose(uniform, rng().uniform(-bound, bound, shape), rtol=1e-12)
    normal = init.kaiming_normal(shape, *options, rng=rng(), dtype=np.float64)
    np.testing.assert_allclose(normal, rng().normal(0, std, shape), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_xavier_by_formula(shape, gain: float) -> None:
    std = gain * math.sqrt(2 / sum(init.fans(shape)))
    uniform = init.xavier_uniform(shape, gain, rng=rng(), dtype=np.float64)
    bound = math.sqrt(3) * std
    np.testing.assert_allclose(uniform, rng().uniform(-bound, bound, shape), rtol=1e-12)
    normal = init.xavier_normal(shape, gain, rng=rng(), dtype=np.float64)
    np.testing.assert_allclose(normal, rng().normal(0, std, shape), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(init.SCHEMES))
def test_distributions_are_torchs_by_statistics(name: str) -> None:
    shape = (300, 40, 3, 3)
    ours = init.SCHEMES[name](shape, rng=rng(1))
    theirs = torch.empty(shape)
    getattr(torch.nn.init, f"{name}_")(theirs, generator=torch.Generator().manual_seed(0))
    size = math.sqrt(ours.size)
    assert ours.dtype == np.float32
    assert abs(ours.mean()) < 5 * ours.std() / size
    assert ours.std() == pytest.approx(theirs.std().item(), rel=10 / size)
    # The greatest of uniform numbers is their bound, that of normal ones lies about 5 std out.
    wide = 1e-3 if "uniform" in name else 0.2
    assert ours.max() == pytest.approx(theirs.max().item(), rel=wide)
    assert ours.min() == pytest.approx(theirs.min().item(), rel=wide)


def test_an_unknown_mode_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^init: mode must be one of fan_in, fan_out, got 'fan'"):
        init.kaiming_normal(CONV, mode="fan", rng=rng())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: nn.Conv2d(8, 300, (3, 5), groups=2, rng=rng()),
         lambda: torch.nn.Conv2d(8, 300, (3, 5), groups=2)),
        (lambda: nn.Linear(60, 300, rng=rng()), lambda: torch.nn.Linear(60, 300)),
    ],
)  # fmt: skip
def test_layers_start_with_torchs_defaults(ours, theirs) -> None:
    torch.manual_seed(0)
    layer, expected = ours(), theirs()
    for name in ("weight", "bias"):
        array = getattr(layer, name).data
        tensor = getattr(expected, name).detach().numpy()
        bound = 1 / math.sqrt(init.fans(layer.weight.data.shape)[0])
        for values in (array, tensor):
            assert np.abs(values).max() <= bound * (1 + 1e-6)
            assert np.abs(values).max() > 0.97 * bound
            assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_the_same_rng_gives_the_same_layer() -> None:
    one, other = nn.Conv2d(2, 3, 3, rng=rng(4)), nn.Conv2d(2, 3, 3, rng=rng(4))
    np.testing.assert_array_equal(one.weight.data, other.weight.data)
    np.testing.assert_array_equal(one.bias.data, other.bias.data)
    assert (one.weight.data != nn.Conv2d(2, 3, 3, rng=rng(5)).weight.data).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scheme", sorted(init.SCHEMES))
def test_initialize_draws_weights_and_empties_biases(scheme: str, dtype: type) -> None:
    model = nn.Sequential(
        conv=nn.Conv2d(2, 3, 3, rng=rng()), head=nn.Linear(5, 4, rng=rng())
    ).astype(dtype)
    held = model.conv.weight.data
    init.initialize(model, scheme, rng=rng(7))
    again = rng(7)
    for layer in (model.conv, model.head):
        expected = init.SCHEMES[scheme](layer.weight.data.shape, rng=again)
        np.testing.assert_array_equal(layer.weight.data, expected)
        assert layer.weight.data.dtype == dtype
        assert (layer.bias.data == 0).all()
    assert model.conv.weight.data is held


def test_initialize_keeps_vectors_that_are_no_bias() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.weight, self.bias = nn.Param(np.ones(3)), nn.Param(np.ones(3))

    model = nn.Sequential(norm=Scale())
    init.initialize(model, "kaiming_normal", rng=rng())
    np.testing.assert_array_equal(model.norm.weight.data, [1, 1, 1])
    np.testing.assert_array_equal(model.norm.bias.data, [0, 0, 0])


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        init.initialize(nn.ReLU(), "orthogonal", rng=rng())
    assert str(error.value) == (
        "init: scheme must be one of kaiming_uniform, kaiming_normal, xavier_uniform, "
        "xavier_normal, got 'orthogonal'."
    )


# ------------------------------------------------------------------------------- drawn by pieces


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, init.PIECE - 1, init.PIECE, 2 * init.PIECE + 7])
def test_pieces_give_the_numbers_of_one_draw(size: int, dtype: type) -> None:
    """So a seed gives the weights that it gave before there were pieces."""
    uniform, normal = (draw((size,), 0.3, rng=rng(2), dtype=dtype) for draw in DRAWS)
    np.testing.assert_array_equal(uniform, rng(2).uniform(-0.3, 0.3, size).astype(dtype))
    np.testing.assert_array_equal(normal, rng(2).normal(0, 0.3, size).astype(dtype))
    assert uniform.dtype == normal.dtype == dtype


DRAWS = (init.uniform, init.normal)


def test_undrawn_gives_zeros_and_moves_nothing() -> None:
    generator = init.Undrawn(np.random.PCG64(0))
    layer = nn.Conv2d(2, 3, 3, rng=generator)
    assert not layer.weight.data.any()
    assert not layer.bias.data.any()
    assert generator.random() == np.random.Generator(np.random.PCG64(0)).random()


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: nn.Conv2d(4, 6, 3, **options),
        lambda **options: nn.Linear(36, 6, **options),
    ],
)
def test_a_layer_takes_its_weight_from_an_init_of_choice(make) -> None:
    layer = make(init=init.kaiming_normal, rng=rng(3), dtype=np.float64)
    expected = init.kaiming_normal(layer.weight.data.shape, rng=rng(3), dtype=np.float64)
    np.testing.assert_array_equal(layer.weight.data, expected)
    np.testing.assert_array_equal(layer.bias.data, np.zeros(6))
    assert layer.bias.data.dtype == np.float64
    assert make(init=init.kaiming_normal, bias=False, rng=rng(3)).bias is None

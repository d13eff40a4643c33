"""All networks by name: published sizes, shapes, summaries, names that agree with their parts."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import ShapeError, models, nn
from minicnn.models import MODELS, create
from minicnn.models.resnet import Bottleneck, resnet
from minicnn.models.squeezenet import Fire
from minicnn.models.vgg import CONFIGURATIONS, vgg
from minicnn.nn.init import Undrawn
from minicnn.nn.summary import as_text, summarize


def undrawn() -> np.random.Generator:
    return Undrawn(np.random.PCG64(0))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def size(model: nn.Module) -> int:
    return sum(param.data.size for param in model.parameters())


# What torchvision's documentation says of its networks, with 1000 classes; of those for CIFAR, what
# section 4.2 of the paper gives (0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M), counted with batch norm.
SIZES = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "googlenet": 6_624_904,
    "googlenet-2014": 6_998_552,  # Caffe's without its heads
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "squeezenet1_1": 1_235_496,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet20-preact": 269_722,  # other batch norms, as many
    "resnet110-preact": 1_727_962,
    "inception_mnist": 97_298,
}

# Thousands of millions, of one image: those of torchvision's documentation.
GIGA_MULTIPLY_ADDS = {
    "alexnet": 0.714,
    "vgg11": 7.609,
    "vgg13": 11.308,
    "vgg16": 15.47,
    "vgg19": 19.632,
    "googlenet": 1.498,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "densenet121": 2.834,
    "squeezenet1_1": 0.349,
}


def test_every_larger_model_is_measured_here() -> None:
    courses = {"lenet5", "lenet5-1998", "cnn3", "convnet"}
    assert SIZES.keys() | courses == MODELS.keys()


@pytest.mark.parametrize("name", SIZES)
def test_parameters_shape_and_summary(name: str) -> None:
    model, image = create(name, rng=undrawn()), MODELS[name].image
    assert size(model) == SIZES[name]
    classes = 1000 if image[1] == 224 else 10
    assert model.output_shape(image) == (classes,)
    rows = summarize(model, image)
    assert sum(row.parameters for row in rows) == SIZES[name]
    assert sum(row.multiply_adds for row in rows) == model.multiply_adds(image)
    if name in GIGA_MULTIPLY_ADDS:
        assert model.multiply_adds(image) / 1e9 == pytest.approx(GIGA_MULTIPLY_ADDS[name], abs=6e-4)
    assert rows[-1].output == (classes,)
    assert f"{SIZES[name]:,}" in as_text(rows, image)


def test_sizes_with_auxiliary_heads() -> None:
    assert size(models.googlenet(aux_logits=True, rng=undrawn())) == 13_004_888
    paper = models.googlenet(aux_logits=True, variant="2014", rng=undrawn())
    assert size(paper) == 13_378_280


def test_the_heads_of_2014_take_means_at_every_third_pixel() -> None:
    model = models.googlenet(7, aux_logits=True, variant="2014", dropout_aux=0, rng=undrawn())
    model.set_impl("textbook")  # as fast in every way to run the tests
    for head, channels in zip(model.branches().heads, (512, 528), strict=True):
        x = rng().standard_normal((1, channels, 14, 14)).astype(np.float32)
        means = [x[..., i : i + 5, j : j + 5].mean((2, 3)) for i in (0, 3, 6, 9)
                 for j in (0, 3, 6, 9)]  # fmt: skip
        pooled, _ = head.pool.forward(x, training=True)
        expected = np.stack(means, -1).reshape(1, channels, 4, 4)
        np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-5)
        y, cache = head.forward(x, training=True)
        assert y.shape == (1, 7) == (1, *head.output_shape((channels, 14, 14)))
        assert head.backward(y, cache).shape == x.shape


def test_sizes_with_projections() -> None:
    """Two 1x1 convolutions and their batch norms more."""
    more = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert size(models.resnet20(shortcut="B", rng=undrawn())) == SIZES["resnet20"] + more


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SIZES if "vgg" not in n and n != "alexnet"])
def test_classes_are_those_asked_for(name: str) -> None:
    model, image = create(name, 7, rng=undrawn()), MODELS[name].image
    small = image if image[1] < 100 else (3, 35, 33)
    assert model.output_shape(small) == (7,)
    assert model(np.ones((1, *small), np.float32)).shape == (1, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet20-preact", "googlenet", "inception_mnist"])
def test_rng_decides_the_first_weights(name: str) -> None:
    one, same, other = (create(name, rng=rng(seed)).state_dict() for seed in (1, 1, 2))
    assert all((one[key] == same[key]).all() for key in one)
    assert any((one[key] != other[key]).any() for key in one)
    assert (create(name).parameters()[0].data != create(name).parameters()[0].data).any()


# ------------------------------------------------------------------------------- first weights


def test_residual_networks_start_as_torchvisions() -> None:
    """Kaiming by fan_out, and batch norm as the identity."""
    model = models.resnet50(rng=rng())
    for name, param in model.named_parameters():
        values = param.data
        if values.ndim == 4:
            std = np.sqrt(2 / (values.shape[0] * values.shape[2] * values.shape[3]))
            assert values.std() == pytest.approx(std, rel=0.05), name
            assert abs(values.mean()) < 5 * std / np.sqrt(values.size), name
        elif not name.startswith("fc"):
            assert (values == (1 if name.endswith("weight") else 0)).all(), name


def test_vgg_starts_as_torchvisions() -> None:
    model = vgg((64, "M", 128), hidden=256, rng=rng())
    state = model.state_dict()
    assert state["features.3.weight"].std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)
    assert state["classifier.0.weight"].std() == pytest.approx(0.01, rel=0.02)
    assert all((array == 0).all() for name, array in state.items() if name.endswith("bias"))


def std_of(array: np.ndarray) -> float:
    return float(array.std(dtype=np.float64))


def test_googlenet_starts_as_torchvisions() -> None:
    """Its weights are drawn anew with a spread of 0.01, the biases of linear layers are not."""
    model = models.googlenet(50, aux_logits=True, rng=rng())
    for name, param in model.named_parameters():
        values = param.data
        if values.ndim >= 2:
            assert std_of(values) == pytest.approx(0.01, rel=0.05), name
        elif ".bn." not in name:
            features = dict(model.named_parameters())[name.replace("bias", "weight")].data.shape[1]
            assert std_of(values) == pytest.approx(1 / np.sqrt(3 * features), rel=0.25), name
            assert np.abs(values).max() <= 1 / np.sqrt(features), name


def test_the_papers_googlenet_starts_by_kaiming_with_biases_of_0() -> None:
    for name, param in models.googlenet(50, variant="2014", rng=rng()).named_parameters():
        if name.endswith("bias"):
            assert (param.data == 0).all(), name
        else:
            fan_in = np.prod(param.data.shape[1:])
            assert std_of(param.data) == pytest.approx(np.sqrt(2 / fan_in), rel=0.06), name


def test_densenet_starts_as_torchvisions() -> None:
    for name, param in models.densenet121(50, rng=rng()).named_parameters():
        values = param.data
        if values.ndim == 4:
            fan_in = np.prod(values.shape[1:])
            assert std_of(values) == pytest.approx(np.sqrt(2 / fan_in), rel=0.05), name
        elif values.ndim == 2:
            assert std_of(values) == pytest.approx(1 / np.sqrt(3 * 1024), rel=0.05), name
        else:
            assert (values == (1 if name.endswith("weight") else 0)).all(), name


def test_squeezenet_starts_as_torchvisions() -> None:
    for name, param in models.squeezenet1_1(50, rng=rng()).named_parameters():
        values = param.data
        if name.endswith("bias"):
            assert (values == 0).all(), name
        elif name.startswith("classifier"):
            assert std_of(values) == pytest.approx(0.01, rel=0.05), name
        else:
            fan_in = np.prod(values.shape[1:])  # uniform, of variance 2 / fan_in
            assert std_of(values) == pytest.approx(np.sqrt(2 / fan_in), rel=0.06), name
            assert np.abs(values).max() <= np.sqrt(6 / fan_in), name


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_residual_makes_every_block_the_identity(block: str) -> None:
    options = {"zero_init_residual": True, "rng": rng()}
    model = (
        models.resnet20(**options) if block == "basic" else resnet(Bottleneck, (1, 2), **options)
    )
    kept = model.layer1[1] if block == "basic" else model.layer2[1]
    shape = (2, 16, 8, 8) if block == "basic" else (2, 512, 4, 4)
    x = np.abs(rng().standard_normal(shape)).astype(np.float32)
    np.testing.assert_array_equal(kept.forward(x, training=True)[0], x)
    last = "bn2" if block == "basic" else "bn3"
    zeros = [n for n, p in model.named_parameters() if n.endswith("weight") and not p.data.any()]
    assert zeros == [n for n, _ in model.named_parameters() if n.endswith(f"{last}.weight")]


# ------------------------------------------------------------------------------------ options


def test_channels_of_the_image() -> None:
    x = np.ones((2, 1, 28, 28), np.float32)
    assert models.resnet20(in_channels=1, rng=rng())(x).shape == (2, 10)
    assert resnet(Bottleneck, (1, 1), 5, in_channels=1, rng=rng())(x).shape == (2, 5)
    assert vgg((4, "M"), 5, in_channels=1, hidden=8, rng=rng())(x).shape == (2, 5)


def test_dropout_is_drawn_from_the_rng_that_was_given() -> None:
    generator = rng(3)
    model = vgg((4, "M"), 5, hidden=8, rng=generator)
    assert [g for _, g in model.named_generators()] == [generator]
    x = np.ones((2, 3, 8, 8), np.float32)
    first, second = (model.forward(x, training=True)[0] for _ in range(2))
    assert (first != second).any()
    model = vgg((4, "M"), 5, hidden=8, dropout=0, rng=generator)
    np.testing.assert_array_equal(model.forward(x, training=True)[0], model(x))


def test_googlenet_in_training_gives_a_tuple_and_in_inference_does_not() -> None:
    model = models.googlenet(7, aux_logits=True, rng=rng())
    x = rng().standard_normal((2, 3, 32, 32), dtype=np.float32)
    outputs, cache = model.forward(x, training=True)
    assert [y.shape for y in outputs] == [(2, 7)] * 3
    assert model.backward(outputs, cache).shape == x.shape
    assert model(x).shape == (2, 7)
    assert models.googlenet(7, rng=rng()).forward(x, training=True)[0].shape == (2, 7)
    assert (model.aux1.dropout.p, model.aux2.dropout.p, model.dropout.p) == (0.7, 0.7, 0.2)


def test_a_frozen_stem_is_not_asked() -> None:
    """Without a gradient to pass on, Fire asks its wide branches for none."""
    fire = Fire(3, 4, 5, rng=rng())
    x = rng().standard_normal((2, 3, 6, 5), dtype=np.float32)
    y, cache = fire.forward(x, training=True)
    fire.backward(y, cache)
    expected = fire.expand3x3.weight.grad.copy()
    fire.zero_grad()
    fire.squeeze.freeze()
    fire.squeeze_activation.backward = fire.squeeze.backward = None  # type: ignore[method-assign]
    assert fire.backward(y, cache, input_grad=False) is None
    np.testing.assert_array_equal(fire.expand3x3.weight.grad, expected)
    asked = []
    fire.expand3x3.backward = lambda dy, cache, *, input_grad: asked.append(input_grad)  # type: ignore[method-assign]
    fire.backward(y, cache, input_grad=False)
    assert asked == [False]


def test_the_papers_googlenet_has_5x5_and_no_batch_norm() -> None:
    model = models.googlenet(variant="2014", rng=undrawn())
    kinds = {type(module) for _, module in model.named_modules()}
    assert nn.LocalResponseNorm in kinds
    assert nn.BatchNorm2d not in kinds
    assert model.inception3a.branch3[1].conv.weight.data.shape == (32, 16, 5, 5)
    theirs = models.googlenet(rng=undrawn())
    assert theirs.inception3a.branch3[1].conv.weight.data.shape == (32, 16, 3, 3)
    assert theirs.conv1.bn.eps == 0.001
    assert (model.dropout.p, theirs.dropout.p) == (0.4, 0.2)


def test_preactivation_leaves_nothing_after_the_sum() -> None:
    """So the identity reaches from the first block to the last: y = x + what the blocks add."""
    model = models.resnet20(preactivation=True, rng=rng())
    block = model.layer1[1]
    block.conv2.weight.data[...] = 0
    x = rng().standard_normal((2, 16, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(block(x), x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: models.cifar_resnet(21),
            "cifar_resnet: depth must be 6n + 2 for a whole n of 1 or more, got 21. The paper has "
            "20, 32, 44, 56 and 110.",
        ),
        (
            lambda: models.resnet20(shortcut="C"),
            "resnet: shortcut must be one of A, B, got 'C'.",
        ),
        (
            lambda: models.resnet20(shortcut="C", preactivation=True),
            "resnet: shortcut must be one of A, B, got 'C'.",
        ),
        (
            lambda: models.resnet20(preactivation=True, zero_init_residual=True),
            "cifar_resnet: zero_init_residual needs a batch norm at the end of each block; blocks "
            "with preactivation have none there. Use one of the two.",
        ),
        (
            lambda: models.googlenet(variant="2015"),
            "googlenet: variant must be one of torchvision, 2014, got '2015'.",
        ),
        (
            lambda: vgg((8, "N")),
            "vgg: a configuration holds numbers of channels and 'M', got 'N'.",
        ),
    ],
)
def test_options_that_make_no_network(build, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the text is compared below
        build()
    assert str(error.value) == message


def test_an_image_that_is_too_small_is_rejected() -> None:
    with pytest.raises(ShapeError, match="MaxPool2d: the kernel does not fit along height"):
        create("vgg16", rng=undrawn()).output_shape((3, 16, 16))


def test_the_configurations_are_as_deep_as_their_names_say() -> None:
    depths = {"A": 11, "B": 13, "D": 16, "E": 19}
    for letter, depth in depths.items():
        assert sum(item != "M" for item in CONFIGURATIONS[letter]) + 3 == depth

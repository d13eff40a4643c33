"""Each kind of layer as ONNX: onnxruntime computes what minicnn does."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import export, fuse, nn
from tests.export.runtime import TOLERANCE, apart, difference, session_of
from tests.own.network import SOURCE


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def conv(*args, **options):
    return nn.Conv2d(*args, rng=rng(), **options)


def norm(layer):
    """Give a batch norm statistics and parameters that have an effect."""
    draw, c = rng(), layer.num_features
    if layer.running_mean is not None:
        layer.running_mean[...] = draw.normal(0, 1, c)
        layer.running_var[...] = draw.uniform(0.5, 2, c)
    if layer.weight:
        layer.weight.data[...] = draw.uniform(0.5, 2, c)
        layer.bias.data[...] = draw.normal(0, 1, c)
    return layer


LAYERS = {
    "conv": (conv(3, 4, 3), (3, 7, 6)),
    "conv, no bias": (conv(3, 4, (1, 3), bias=False), (3, 7, 6)),
    "conv, all options": (
        conv(4, 6, (2, 3), (2, 1), (1, 2), dilation=(1, 2), groups=2), (4, 9, 8),
    ),
    "conv, depthwise": (conv(4, 8, 3, groups=4), (4, 5, 5)),
    "conv, same": (conv(2, 3, (4, 3), padding="same", dilation=(1, 2)), (2, 7, 6)),
    "conv, valid": (conv(2, 3, 3, padding="valid"), (2, 7, 6)),
    "linear": (nn.Linear(5, 3, rng=rng()), (5,)),
    "linear, no bias": (nn.Linear(5, 3, bias=False, rng=rng()), (5,)),
    "linear, rows": (nn.Linear(5, 3, rng=rng()), (2, 4, 5)),
    "linear, rows, no bias": (nn.Linear(5, 3, bias=False, rng=rng()), (4, 5)),
    "batch norm 2d": (norm(nn.BatchNorm2d(3, eps=1e-2)), (3, 4, 5)),
    "batch norm 2d, plain": (norm(nn.BatchNorm2d(3, affine=False)), (3, 4, 5)),
    "batch norm 1d": (norm(nn.BatchNorm1d(6)), (6,)),
    "batch norm 1d, sequences": (norm(nn.BatchNorm1d(6)), (6, 4)),
    "lrn": (nn.LocalResponseNorm(5, alpha=0.5, beta=0.6, k=2.0), (7, 4, 3)),
    "lrn, even": (nn.LocalResponseNorm(4, alpha=0.5), (7, 4, 3)),
    "lrn, wider than the channels": (nn.LocalResponseNorm(9, alpha=0.5), (3, 4, 3)),
    "lrn, sequences": (nn.LocalResponseNorm(3, alpha=0.5), (7, 4)),
    "relu": (nn.ReLU(), (2, 3, 3)),
    "leaky relu": (nn.LeakyReLU(0.3), (2, 3, 3)),
    "sigmoid": (nn.Sigmoid(), (2, 3)),
    "tanh": (nn.Tanh(), (2, 3)),
    "gelu": (nn.GELU(), (2, 3)),
    "gelu, by tanh": (nn.GELU("tanh"), (2, 3)),
    "softmax": (nn.Softmax(), (5,)),
    "softmax, channels": (nn.Softmax(dim=1), (5, 2, 3)),
    "softmax, rows": (nn.Softmax(dim=-2), (5, 2, 3)),
    "log softmax": (nn.LogSoftmax(dim=1), (5,)),
    "dropout": (nn.Sequential(nn.Dropout(0.5, rng=rng())), (2, 3, 3)),
    "flatten": (nn.Flatten(), (2, 3, 4)),
    "flatten, sides": (nn.Flatten(2), (2, 3, 4)),
    "flatten, channels and rows": (nn.Flatten(1, -2), (2, 3, 4)),
    "flatten, some axes": (nn.Flatten(2, 3), (2, 3, 4)),
    "nothing": (nn.Sequential(), (2, 3, 4)),
    "shortcut": (nn.ZeroPadShortcut(2, 5, stride=2), (2, 7, 6)),
    "shortcut, stride 1": (nn.ZeroPadShortcut(2, 5), (2, 3, 4)),
    "shortcut, same channels": (nn.ZeroPadShortcut(2, 2, stride=3), (2, 7, 6)),
    "adaptive, global": (nn.AdaptiveAvgPool2d(1), (2, 7, 6)),
    "adaptive, even": (nn.AdaptiveAvgPool2d((2, 3)), (2, 6, 6)),
    "adaptive, uneven": (nn.AdaptiveAvgPool2d((3, 4)), (2, 7, 6)),
    "adaptive, one side": (nn.AdaptiveAvgPool2d((None, 4)), (2, 7, 6)),
    "adaptive, larger": (nn.AdaptiveAvgPool2d(7), (2, 3, 4)),
    "adaptive, all": (nn.AdaptiveAvgPool2d(None), (2, 7, 6)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_alone(kind):
    model, image = LAYERS[kind]
    assert difference(model, image, batches=(1, 3)) < TOLERANCE


def test_every_layer_and_container_has_a_rule():
    kinds = {kind for kind in vars(nn).values() if isinstance(kind, type)}
    modules = {kind for kind in kinds if issubclass(kind, nn.Module)} - {nn.Module}
    assert not {kind for kind in modules if kind not in export.rule.registry}


@pytest.mark.parametrize("kernel", [1, 2, 3, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, 2, 3, 5])
@pytest.mark.parametrize("ceil", [False, True])
def test_pools(kernel, stride, ceil):
    """Sides of 5 to 9 leave every rest, with padding and without."""
    least = min(kernel) if isinstance(kernel, tuple) else kernel
    for padding in {0, least // 2}:
        for image in [(2, 7, 6), (2, 8, 9), (1, 5, 5)]:
            pools = [
                nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil),
                nn.AvgPool2d(kernel, stride, padding, ceil, count_include_pad=True),
                nn.AvgPool2d(kernel, stride, padding, ceil, count_include_pad=False),
                nn.AvgPool2d(kernel, stride, padding, ceil, divisor_override=3),
            ]
            for pool in pools:
                assert difference(pool, image) < TOLERANCE, (pool, image)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("dilation", [2, (3, 1)])
def test_max_pools_with_holes(dilation, ceil):
    for size in (7, 8, 9, 10):
        for stride in (1, 2, 4, 6):
            pool = nn.MaxPool2d(3, stride, 1, dilation, ceil)
            assert difference(pool, (2, size, size)) < TOLERANCE, (pool, size)


def test_containers():
    block = nn.Residual(
        nn.Sequential(conv(4, 4, 3, padding=1), nn.ReLU()), nn.Concat(conv(4, 2, 1), conv(4, 2, 1)),
        nn.Tanh(),
    )  # fmt: skip
    plain = nn.Residual(conv(4, 4, 1))
    layer = conv(4, 4, 1)  # used twice: its weights are in the file once
    model = nn.Sequential(
        block, plain, nn.Concat(nn.Sequential(), nn.MaxPool2d(3, 1, 1)),
        nn.AuxiliaryHeads([conv(8, 4, 1), layer], [nn.Flatten()]), layer,
    )  # fmt: skip
    assert difference(model, (4, 5, 6), batches=(1, 3)) < TOLERANCE
    proto = export.to_onnx(model, (4, 5, 6))
    names = [weight.name for weight in proto.graph.initializer]
    assert sorted(names) == sorted(set(names))
    assert "3.stage2.weight" in names
    assert "4.weight" not in names


def test_pixels_are_normalised_inside():
    from minicnn import data

    model = nn.Sequential(conv(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5, rng=rng()))
    normalization = data.Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    proto = export.to_onnx(model, (3, 6, 6), normalization, ["a", "b", "c", "d", "é"])
    images = rng().integers(0, 256, (7, 6, 6, 3), np.uint8)
    pixels = np.moveaxis(images, 3, 1).astype(np.float32)
    (scores,) = session_of(proto).run(["scores"], {"pixels": pixels})
    assert apart(scores, model(data.normalize(images, normalization))) < TOLERANCE
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about["classes"] == '["a", "b", "c", "d", "é"]'
    assert about["mean"] == "[0.5, 0.4, 0.3]"


# ------------------------------------------------------------------------- the reader's own layers


def own() -> dict:
    names: dict = {"__name__": "own_net"}
    exec(SOURCE, names)
    return names


def test_a_layer_without_a_rule_is_named():
    model = own()["net"](rng=rng())
    with pytest.raises(export.ExportError, match=r"layer 2, a Depthwise, has a forward of its own"):
        export.to_onnx(model, (1, 28, 28))

    class Louder(nn.ReLU):
        def forward(self, x, *, training):
            return 2 * x, None

    with pytest.raises(export.ExportError, match=r"export: a Louder, has .*export\.rule\.register"):
        export.to_onnx(Louder(), (1, 2, 2))


def test_a_rule_can_be_added():
    class Scale(nn.Module):
        def __init__(self, channels):
            self.weight = nn.Param(rng().normal(0, 1, (channels, 1, 1)).astype(np.float32))

        def forward(self, x, *, training):
            return x * self.weight.data, x

    @export.rule.register(Scale)
    def _(layer, value, graph):
        weight = graph.weight(layer, "weight", layer.weight.data)
        return graph.add("Mul", layer, [value, weight], value.shape)

    model = nn.Sequential(Scale(3), nn.Residual(nn.Sequential(nn.ReLU(), Scale(3))))
    assert difference(model, (3, 4, 5)) < TOLERANCE


def test_what_cannot_be_exported_is_said():
    free = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(export.ExportError, match="layer 0, a BatchNorm2d, keeps no running stat"):
        export.to_onnx(free, (3, 4, 4))
    with pytest.raises(ValueError, match="export: this network is fused"):
        export.to_onnx(fuse(nn.Sequential(nn.ReLU())), (3, 4, 4))
    with pytest.raises(ValueError, match="Conv2d: 3 channels are needed"):
        export.to_onnx(conv(3, 4, 3), (1, 4, 4))


def test_layers_in_a_list_have_weights_of_their_own():
    class Listed(nn.Module):
        def __init__(self):
            self.layers = [conv(2, 2, 1), conv(2, 2, 1), nn.ReLU(), conv(2, 2, 1)]
            for i, layer in enumerate(self.layers):
                for param in layer.parameters():
                    param.data += i

        def forward(self, x, *, training):
            return nn.Sequential(*self.layers).forward(x, training=training)

    @export.rule.register(Listed)
    def _(layer, value, graph):
        return graph.run([*layer.layers, layer.layers[0]], graph.run([], value))

    class Twice(Listed):
        def forward(self, x, *, training):
            return nn.Sequential(*self.layers, self.layers[0]).forward(x, training=training)

    export.rule.register(Twice, export.rule.dispatch(Listed))
    model = nn.Sequential(Twice(), Twice())
    assert difference(model, (2, 3, 4)) < TOLERANCE
    names = {weight.name for weight in export.to_onnx(model, (2, 3, 4)).graph.initializer}
    assert names >= {"Conv2d.weight", "Conv2d#2.weight", "Conv2d#6.bias"}


def test_a_rule_that_names_two_arrays_alike_keeps_both():
    class Steps(nn.Module):
        def forward(self, x, *, training):
            return (x + 1) * 3, None

    @export.rule.register(Steps)
    def _(layer, value, graph):
        for op, number in (("Add", 1.0), ("Mul", 3.0)):
            array = graph.weight(layer, "number", np.array([number]))
            value = graph.add(op, layer, [value, array], value.shape)
        return value

    assert difference(Steps(), (2, 3, 4)) < TOLERANCE


def test_the_output_may_be_read_within_too():
    class Peeks(nn.Module):
        def forward(self, x, *, training):
            return np.maximum(x, 0), None

    @export.rule.register(Peeks)
    def _(layer, value, graph):
        value = graph.add("Relu", layer, [value], value.shape)
        graph.add("Neg", layer, [value], value.shape)
        return value

    assert difference(Peeks(), (2, 3, 4)) < TOLERANCE

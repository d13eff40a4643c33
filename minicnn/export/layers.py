"""Which operators of ONNX compute what a layer does in inference.

Sizes are known here, so the padding is written as plain numbers. Then the attribute ceil_mode,
which runtimes interpret differently, is not needed.
"""

from __future__ import annotations

import math

import numpy as np

from minicnn import nn
from minicnn.export.graph import ExportError, Graph, Value, rule
from minicnn.nn.module import Module
from minicnn.ops import adaptive_avg_pool2d, avg_pool2d
from minicnn.ops.gelu import A, K
from minicnn.shapes import axis_index
from minicnn.windows import Windows, conv_windows, pool_windows


@rule.register
def convolution(layer: nn.Conv2d, value: Value, graph: Graph) -> Value:
    """Conv; "same" becomes explicit padding."""
    kernel = layer.weight.data.shape[2:]
    shape = layer.output_shape(value.shape)
    g = conv_windows(
        "Conv2d", _sides(value), kernel, layer.stride, layer.padding, layer.dilation
    )  # fmt: skip
    inputs: list[Value | str] = [value, graph.weight(layer, "weight", layer.weight.data)]
    if layer.bias:
        inputs.append(graph.weight(layer, "bias", layer.bias.data))
    return graph.add(
        "Conv", layer, inputs, shape, kernel_shape=kernel, strides=(g.sh, g.sw),
        dilations=(g.dh, g.dw), pads=(g.top, g.left, g.bottom, g.right), group=layer.groups,
    )  # fmt: skip


@rule.register
def linear(layer: nn.Linear, value: Value, graph: Graph) -> Value:
    """Gemm of vectors, else MatMul."""
    shape = layer.output_shape(value.shape)
    weight = layer.weight.data
    bias = None if layer.bias is None else graph.weight(layer, "bias", layer.bias.data)
    if len(value.shape) == 1:
        inputs: list[Value | str] = [value, graph.weight(layer, "weight", weight)]
        if bias:
            inputs.append(bias)
        return graph.add("Gemm", layer, inputs, shape, transB=1)
    transposed = graph.weight(layer, "weight.T", weight.T)
    product = graph.add("MatMul", layer, [value, transposed], shape)
    return graph.add("Add", layer, [product, bias], shape) if bias else product


@rule.register
def max_pool(layer: nn.MaxPool2d, value: Value, graph: Graph) -> Value:
    """MaxPool; its padding is never the maximum either."""
    shape = layer.output_shape(value.shape)
    g = pool_windows(
        "MaxPool2d", _sides(value), layer.kernel_size, layer.stride, layer.padding, layer.dilation,
        layer.ceil_mode,
    )  # fmt: skip
    pads = _pads(g)
    if any(pad >= kernel for pad, kernel in zip(pads, (g.kh, g.kw) * 2, strict=True)):
        # A dilated window past the end needs more padding than runtimes allow in a pool.
        value = _padded(layer, value, graph, pads, -np.inf)
        pads = 0, 0, 0, 0
    return graph.add(
        "MaxPool", layer, [value], shape, kernel_shape=(g.kh, g.kw), strides=(g.sh, g.sw),
        dilations=(g.dh, g.dw), pads=pads,
    )  # fmt: skip


@rule.register
def average_pool(layer: nn.AvgPool2d, value: Value, graph: Graph) -> Value:
    """AveragePool, which divides by the kernel's size, and a correction of the divisor."""
    shape = layer.output_shape(value.shape)
    h, w = _sides(value)
    _, cache = avg_pool2d.forward(
        np.zeros((1, 1, h, w), np.float32), layer.kernel_size, layer.stride, layer.padding,
        layer.ceil_mode, layer.count_include_pad, layer.divisor_override, impl="textbook",
    )  # fmt: skip
    g = cache.windows
    mean = graph.add(
        "AveragePool", layer, [value], shape, kernel_shape=(g.kh, g.kw), strides=(g.sh, g.sw),
        pads=_pads(g), count_include_pad=1,
    )  # fmt: skip
    factor = g.kh * g.kw / cache.divisor.astype(np.float64)
    if (factor == 1).all():
        return mean
    if (factor == factor[0, 0]).all():
        factor = factor[:1, :1]
    return graph.add("Mul", layer, [mean, graph.constant(layer, "divisor", factor)], shape)


@rule.register
def adaptive_average_pool(layer: nn.AdaptiveAvgPool2d, value: Value, graph: Graph) -> Value:
    """GlobalAveragePool; AveragePool if all regions have one size; else a matrix for each side."""
    shape = layer.output_shape(value.shape)
    (h, w), (oh, ow) = _sides(value), shape[1:]
    if (oh, ow) == (h, w):
        return value
    if (oh, ow) == (1, 1):
        return graph.add("GlobalAveragePool", layer, [value], shape)
    if h % oh == 0 and w % ow == 0:
        kernel = h // oh, w // ow
        return graph.add("AveragePool", layer, [value], shape, kernel_shape=kernel, strides=kernel)
    rows, columns = _regions(h, oh), _regions(w, ow)
    c = shape[0]
    left = graph.constant(layer, "rows", rows)
    right = graph.constant(layer, "columns", columns.T)
    value = graph.add("MatMul", layer, [left, value], (c, oh, w))
    return graph.add("MatMul", layer, [value, right], shape)


@rule.register(nn.BatchNorm1d)
@rule.register(nn.BatchNorm2d)
def batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, value: Value, graph: Graph) -> Value:
    """BatchNormalization by the running statistics."""
    shape = layer.output_shape(value.shape)
    if layer.running_mean is None or layer.running_var is None:
        raise ExportError(
            f"export: layer {graph.path(layer)}, a {type(layer).__name__}, keeps no running "
            "statistics, so the output for an image depends on its whole batch. Train "
            "with track_running_stats=True."
        )
    c = layer.num_features
    arrays = {
        "weight": layer.weight.data if layer.weight else np.ones(c),
        "bias": layer.bias.data if layer.bias else np.zeros(c),
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
    }
    names = [graph.weight(layer, name, array) for name, array in arrays.items()]
    return graph.add("BatchNormalization", layer, [value, *names], shape, epsilon=float(layer.eps))


@rule.register
def local_response_norm(layer: nn.LocalResponseNorm, value: Value, graph: Graph) -> Value:
    """LRN. For windows of even size, where ONNX's window differs, the formula is written out.

    The same for inputs that are not images: d = k + alpha/size * W x^2 with a banded matrix W, as a
    1x1 convolution, and y = x * d^-beta.
    """
    shape = layer.output_shape(value.shape)
    if layer.size % 2 and len(shape) == 3:
        return graph.add(
            "LRN", layer, [value], shape, alpha=float(layer.alpha), beta=float(layer.beta),
            bias=float(layer.k), size=layer.size,
        )  # fmt: skip
    c, sides = shape[0], len(shape) - 1
    offset = np.arange(c)[None, :] - np.arange(c)[:, None]  # of channel j from channel i
    inside = (-(layer.size // 2) <= offset) & (offset <= (layer.size - 1) // 2)
    band = (inside * (layer.alpha / layer.size)).reshape(c, c, *[1] * sides)
    squares = graph.add("Mul", layer, [value, value], shape)
    inputs: list[Value | str] = [
        squares,
        graph.constant(layer, "band", band),
        graph.constant(layer, "k", np.full(c, float(layer.k))),
    ]
    d = graph.add("Conv", layer, inputs, shape, kernel_shape=[1] * sides)
    power = graph.constant(layer, "beta", np.array(-float(layer.beta)))
    factor = graph.add("Pow", layer, [d, power], shape)
    return graph.add("Mul", layer, [value, factor], shape)


@rule.register
def relu(layer: nn.ReLU, value: Value, graph: Graph) -> Value:
    """Relu."""
    return graph.add("Relu", layer, [value], value.shape)


@rule.register
def leaky_relu(layer: nn.LeakyReLU, value: Value, graph: Graph) -> Value:
    """LeakyRelu."""
    alpha = float(layer.negative_slope)
    return graph.add("LeakyRelu", layer, [value], value.shape, alpha=alpha)


@rule.register
def sigmoid(layer: nn.Sigmoid, value: Value, graph: Graph) -> Value:
    """Sigmoid."""
    return graph.add("Sigmoid", layer, [value], value.shape)


@rule.register
def tanh(layer: nn.Tanh, value: Value, graph: Graph) -> Value:
    """Tanh."""
    return graph.add("Tanh", layer, [value], value.shape)


@rule.register
def gelu(layer: nn.GELU, value: Value, graph: Graph) -> Value:
    """The formula, written out: ONNX has a Gelu of its own only since opset 20."""
    shape = value.shape

    def constant(name: str, number: float) -> str:
        return graph.constant(layer, name, np.array(number))

    def times(one: Value, other: Value | str) -> Value:
        return graph.add("Mul", layer, [one, other], shape)

    if layer.approximate == "none":
        curve = graph.add("Erf", layer, [times(value, constant("root", math.sqrt(0.5)))], shape)
    else:
        cube = times(times(times(value, value), value), constant("a", A))
        u = times(graph.add("Add", layer, [value, cube], shape), constant("k", K))
        curve = graph.add("Tanh", layer, [u], shape)
    above = graph.add("Add", layer, [curve, constant("one", 1.0)], shape)
    return times(value, times(above, constant("half", 0.5)))


@rule.register(nn.Softmax)
@rule.register(nn.LogSoftmax)
def softmax(layer: nn.Softmax | nn.LogSoftmax, value: Value, graph: Graph) -> Value:
    """Softmax or LogSoftmax; ``dim`` counts the batch too, as in the layer."""
    axis = axis_index(type(layer).__name__, layer.dim, len(value.shape) + 1)
    return graph.add(type(layer).__name__, layer, [value], value.shape, axis=axis)


@rule.register
def dropout(layer: nn.Dropout, value: Value, graph: Graph) -> Value:
    """No node: it is the identity in inference."""
    return value


@rule.register
def flatten(layer: nn.Flatten, value: Value, graph: Graph) -> Value:
    """Flatten; Reshape if only some axes are joined."""
    shape = layer.output_shape(value.shape)
    if layer.keeps_the_batch_only:
        return graph.add("Flatten", layer, [value], shape, axis=1)
    sides = graph.constant(layer, "sides", [-1, *shape])
    return graph.add("Reshape", layer, [value, sides], shape)


@rule.register
def zero_pad_shortcut(layer: nn.ZeroPadShortcut, value: Value, graph: Graph) -> Value:
    """Slice takes the pixels, Pad adds the channels."""
    shape = layer.output_shape(value.shape)
    if layer.stride > 1:
        parts = {
            "starts": [0, 0], "ends": [*value.shape[1:]], "axes": [2, 3],
            "steps": [layer.stride] * 2,
        }  # fmt: skip
        inputs = [graph.constant(layer, name, part) for name, part in parts.items()]
        value = graph.add("Slice", layer, [value, *inputs], (value.shape[0], *shape[1:]))
    if shape[0] == value.shape[0]:
        return value
    pads = graph.constant(layer, "pads", [0] * 5 + [shape[0] - value.shape[0], 0, 0])
    return graph.add("Pad", layer, [value, pads], shape)


# ----------------------------------------------------------------------------------------- helpers


def _sides(value: Value) -> tuple[int, int]:
    _, h, w = value.shape
    return h, w


def _pads(g: Windows) -> tuple[int, int, int, int]:
    """Return the padding that gives as many windows as ``g`` has, without ceil_mode."""
    high = (g.oh - 1) * g.sh + (g.kh - 1) * g.dh + 1
    wide = (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1
    return g.top, g.left, max(high - g.top - g.h, 0), max(wide - g.left - g.w, 0)


def _padded(
    layer: Module, value: Value, graph: Graph, pads: tuple[int, int, int, int], fill: float
) -> Value:
    top, left, bottom, right = pads
    c, h, w = value.shape
    inputs = [
        graph.constant(layer, "pads", [0, 0, top, left, 0, 0, bottom, right]),
        graph.constant(layer, "fill", np.array(fill, np.float32)),
    ]
    return graph.add("Pad", layer, [value, *inputs], (c, h + top + bottom, w + left + right))


def _regions(size: int, out: int) -> np.ndarray:
    """Return (out, size): the weights of each region's mean along a side."""
    eye = np.eye(size)[None, None]  # a row for each pixel
    means, _ = adaptive_avg_pool2d.forward(eye, (None, out), impl="textbook")
    return means[0, 0].T

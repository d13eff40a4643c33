"""Inputs for an operation, a layer or a network, drawn by hypothesis.

Every example is valid by construction, and shrinks to small cases: images, kernels and batches of a
pixel or two. A strategy with the name of an operation draws calls of it: arrays and options
together. Arrays hold ties, zeros of both signs, huge numbers, and small differences of large
numbers. They may be contiguous or not, and some are read-only.

    from minicnn.testing import strategies as mst

    @given(call=mst.max_pool2d())
    def test_my_pool(call):
        y, cache = my_pool.forward(*call.arrays, **call.options)
"""

from minicnn.testing.strategies.arrays import (
    KINDS,
    LAYOUTS,
    NOT_FINITE,
    Fill,
    arranged,
    digits,
    fills,
    numbers,
    seeds,
)
from minicnn.testing.strategies.calls import (
    OPERATIONS,
    Call,
    adaptive_avg_pool2d,
    avg_pool2d,
    batch_norm,
    conv2d,
    cross_entropy,
    dropout,
    fold,
    gelu,
    leaky_relu,
    linear,
    local_response_norm,
    log_softmax,
    max_pool2d,
    nll_loss,
    relu,
    sigmoid,
    softmax,
    tanh,
    unfold,
)
from minicnn.testing.strategies.fused import (
    FUSED,
    batch_norm_relu,
    conv_relu_pool,
    linear_relu,
)
from minicnn.testing.strategies.geometry import (
    SMALL,
    WIDE,
    Axis,
    Convolution,
    Geometry,
    Sizes,
    conv_geometries,
    convolutions,
    pool_geometries,
)
from minicnn.testing.strategies.networks import images, networks

CALLS = OPERATIONS | FUSED

__all__ = [
    "CALLS",
    "FUSED",
    "KINDS",
    "LAYOUTS",
    "NOT_FINITE",
    "OPERATIONS",
    "SMALL",
    "WIDE",
    "Axis",
    "Call",
    "Convolution",
    "Fill",
    "Geometry",
    "Sizes",
    "adaptive_avg_pool2d",
    "arranged",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_relu",
    "conv2d",
    "conv_geometries",
    "conv_relu_pool",
    "convolutions",
    "cross_entropy",
    "digits",
    "dropout",
    "fills",
    "fold",
    "gelu",
    "images",
    "leaky_relu",
    "linear",
    "linear_relu",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "networks",
    "nll_loss",
    "numbers",
    "pool_geometries",
    "relu",
    "seeds",
    "sigmoid",
    "softmax",
    "tanh",
    "unfold",
]

"""The arithmetic: one file per operation, forward beside backward, formula beside fast code.

Each module has ``forward(...) -> (y, cache)`` and ``backward(dy, cache)``. Read relu first, then
linear, max_pool2d, conv2d.
"""

from minicnn.ops import (
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

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "fold",
    "gelu",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "unfold",
]

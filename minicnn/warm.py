"""``minicnn doctor --warm``: compile every kernel ahead, by using each once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minicnn import data, models, nn, ops, optim
from minicnn.fused import fuse

# Networks that together use every kernel of layers, each with a side for its images.
NETWORKS = {"lenet5": 28, "lenet5-1998": 28, "resnet20": 32, "squeezenet1_1": 64, "alexnet": 64}
BATCH = 16


def warm() -> Iterator[str]:
    """Compile for float32, and yield what comes next before each part."""
    rng = np.random.default_rng(0)
    for name, side in NETWORKS.items():
        yield f"{name}: training and inference, fused and not"
        model = models.create(name, rng=rng)
        x = rng.standard_normal((BATCH, models.MODELS[name].image[0], side, side), np.float32)
        for network in (fuse(model), model):
            _train(network, x)
            network(x)
        fuse(model, inference=True)(x)
    yield "operations that none of these uses"
    _operations(rng)
    yield "batches, moved and not"
    _batches()


def _train(model: nn.Module, x: np.ndarray) -> None:
    loss_function, target = nn.CrossEntropyLoss(), np.zeros(len(x), np.int64)
    params = model.parameters()
    for optimizer in (
        optim.SGD(params, 1e-3), optim.SGD(params, 1e-3, 0.9), optim.Adam(params, 1e-3),
    ):  # fmt: skip
        y, cache = model.forward(x, training=True)
        _, loss_cache = loss_function.forward(y, target)
        model.backward(loss_function.backward(1.0, loss_cache), cache)
        optimizer.step()


def _operations(rng: np.random.Generator) -> None:
    image, rows = rng.standard_normal((2, 3, 8, 8), np.float32), np.ones((4, 5), np.float32)
    for op in (ops.leaky_relu, ops.gelu, ops.sigmoid, ops.tanh, ops.softmax):
        op.backward(*op.forward(image))
    ops.local_response_norm.backward(*ops.local_response_norm.forward(image, 3))
    weight = rng.standard_normal((192, 192, 3, 3), np.float32)  # too large for the nearer caches
    ops.conv2d.prepare(weight, None, 2, 1)(weight[:1])
    few, many = np.ones((2, 600), np.float32), np.ones((600, 600), np.float32)  # the same
    ops.linear.backward(np.ones_like(few), ops.linear.forward(few, many)[1])
    ops.max_pool2d.forward(image[:, :1], 2)
    columns, cache = ops.unfold.forward(image, 3)
    ops.unfold.backward(columns, cache)
    ops.fold.backward(*ops.fold.forward(columns, (8, 8), 3))
    log_p, softmax_cache = ops.log_softmax.forward(rows)
    _, loss_cache = ops.nll_loss.forward(log_p, np.zeros(4, np.int64))
    ops.log_softmax.backward(ops.nll_loss.backward(1.0, loss_cache), softmax_cache)


def _batches() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[0] = 255
    dataset = data.Dataset("warm", images, np.zeros(4, np.int64), ("one", "other"))
    how = data.normalization(dataset)
    for augment in (None, data.Augment(shift=1), data.Augment(rotate=5)):
        list(data.Loader(dataset, 2, normalization=how, augment=augment).batches())

"""What can be timed: one table, in which a line is a network or the operations of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import numpy as np

from reference.bench.operations import (
    Operation,
    Work,
    batch_norm,
    conv2d,
    cross_entropy,
    linear,
    max_pool2d,
    relu,
)
from reference.bench.sides import NetworkProblem, Side, ours, peers, pytorch

Use = Literal["train", "infer", "forward", "backward"]
MOST_BYTES = 2**26  # of images that are kept, unless a single batch has more
MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)

# --------------------------------------------------------------------------------------- the sides

# The first is ours, whose time is divided by that of each other. PyTorch's begin with "torch": the
# fastest of them is what ours is measured by. "cl" is channels_last.
TRAINING: dict[str, type[Side]] = {
    "minicnn": ours.MinicnnTraining,
    "torch contiguous": pytorch.TorchTraining,
    "torch channels_last": pytorch.TorchTrainingChannelsLast,
}
INFERENCE: dict[str, type[Side]] = {
    "minicnn": ours.MinicnnInference,
    "torch contiguous": pytorch.TorchInference,
    "torch channels_last": pytorch.TorchInferenceChannelsLast,
    "torch frozen": pytorch.TorchFrozen,
    "torch frozen, cl": pytorch.TorchFrozenChannelsLast,
}
# Where there is batch norm to fold.
INFERENCE_FOLDED: dict[str, type[Side]] = INFERENCE | {
    "torch folded": pytorch.TorchFolded,
    "torch folded, cl": pytorch.TorchFoldedChannelsLast,
}
FORWARD: dict[str, type[Side]] = {
    "minicnn": ours.MinicnnForward,
    "torch contiguous": pytorch.TorchForward,
    "torch channels_last": pytorch.TorchForwardChannelsLast,
}
BACKWARD: dict[str, type[Side]] = {
    "minicnn": ours.MinicnnBackward,
    "torch contiguous": pytorch.TorchBackward,
    "torch channels_last": pytorch.TorchBackwardChannelsLast,
}
# Asked for by --compile and by --peers.
COMPILED: dict[Use, dict[str, type[Side]]] = {
    "train": {"torch compiled": pytorch.TorchTrainingCompiled},
    "infer": {"torch compiled": pytorch.TorchInferenceCompiled},
}
PEERS: dict[Use, dict[str, type[Side]]] = {
    "train": {"NumPy im2col": peers.NumpyTraining},
    "infer": {"NumPy im2col": peers.NumpyInference},
}
DEZERO: dict[str, type[Side]] = {"DeZero": peers.Dezero}
DEZERO_NETWORKS = ("lenet5", "cnn3")


class Check(NamedTuple):
    """How far the sides may be apart, relatively, before anything is timed."""

    steps: int
    result: float  # in what a step computes
    way: float = 0.0  # in the ways of the parameters, where it learns


# Rounding decides for a few numbers near 0 on which side of ReLU they fall, and the deeper the
# network, the more follows from that: PyTorch's own two formats are up to 0.2 apart then. So what
# this finds in a deep network are mistakes, not their last digits.
SHALLOW = Check(10, 1e-4, 1e-3)
DEEPER = Check(3, 1e-4, 5e-2)
DEEP = Check(2, 1e-3, 0.3)
LOGITS = Check(2, 1e-3)
OPERATION = Check(1, 1e-4)


# ----------------------------------------------------------------------------------- the workloads

Lines = Iterator[tuple[str, "Workload"]]


class Network(NamedTuple):
    """A network by name, and the images it is given."""

    model: str
    image: tuple[int, int, int]

    def problem(self, batch: int) -> NetworkProblem:
        """Return the problem for batches of this size; the same numbers each time."""
        rng = np.random.default_rng(0)
        one = 4 * batch * int(np.prod(self.image))
        shape = (min(8, max(1, MOST_BYTES // one)), batch, *self.image)
        images = rng.standard_normal(shape, dtype=np.float32)
        return NetworkProblem(self.model, images, rng.integers(0, 10, shape[:2]))

    def work(self, batch: int, use: Use) -> Work:
        """Return what a step takes; learning also has to find two gradients for each product.

        But the first convolution has only its weights to find the gradient of.
        """
        from minicnn import models, nn
        from minicnn.nn.init import Undrawn

        model = models.create(self.model, rng=Undrawn(np.random.PCG64()))
        products = model.multiply_adds(self.image)
        if use == "train":
            convolutions = (m for _, m in model.named_modules() if isinstance(m, nn.Conv2d))
            products = 3 * products - next(convolutions).multiply_adds(self.image)
        return Work(2 * batch * products)


class Workload(NamedTuple):
    """What is timed: who takes part, in which task, with how many images at a time."""

    title: str
    task: Network | Operation
    use: Use
    sides: dict[str, type[Side]]
    batches: tuple[int, ...]  # sizes, unless others are asked for
    check: Check

    @property
    def is_network(self) -> bool:
        return isinstance(self.task, Network)

    def problem(self, batch: int) -> Any:
        return self.task.problem(batch)

    def work(self, batch: int) -> Work:
        if isinstance(self.task, Network):
            return self.task.work(batch, self.use)
        return getattr(self.task, f"{self.use}_work")(batch)

    def all_sides(self, compile: bool = True, peers: bool = True) -> dict[str, type[Side]]:
        """Return the sides that always take part, and those that do on demand."""
        sides = self.sides
        if compile:
            sides = sides | COMPILED.get(self.use, {})
        if peers:
            sides = sides | PEERS.get(self.use, {})
            if self.use == "train" and self.task[0] in DEZERO_NETWORKS:
                sides = sides | DEZERO
        return sides


def _training(
    title: str, model: str, image: tuple[int, int, int], *batches: int, check: Check
) -> Lines:
    title, network = f"{title}, training step", Network(model, image)
    yield f"{model}/train", Workload(title, network, "train", TRAINING, batches, check)


def _inference(
    title: str, model: str, image: tuple[int, int, int], *batches: int, folds: bool = True
) -> Lines:
    size = "" if image in (MNIST, CIFAR, IMAGENET) else f"@{image[1]}"
    pixels = f" at {image[1]}x{image[2]}" if image[1] > 32 or size else ""
    sides = INFERENCE_FOLDED if folds else INFERENCE
    network = Network(model, image)
    yield (
        f"{model}{size}/infer",
        Workload(f"{title}, inference{pixels}", network, "infer", sides, batches, LOGITS),
    )


def _operations(network: str, batch: int, *operations: Operation) -> Lines:
    """Each forward and backward. Without pixels there is but one format of memory."""
    uses: dict[Use, dict[str, type[Side]]] = {"forward": FORWARD, "backward": BACKWARD}
    for operation in operations:
        for use, sides in uses.items():
            if len(operation.x) == 1:
                sides = {n: side for n, side in sides.items() if n != "torch channels_last"}
            yield (
                f"op/{operation.name}/{network}/{operation.label}/{use}",
                Workload(
                    f"{operation.name} {operation.label} {use}",
                    operation, use, sides, (batch,), OPERATION,
                ),
            )  # fmt: skip


# fmt: off
WORKLOADS: dict[str, Workload] = dict([
    *_training("LeNet-5", "lenet5", MNIST, 1, 64, 256, 1024, check=SHALLOW),
    *_inference("LeNet-5", "lenet5", MNIST, 1, 64, 256, 1024, folds=False),
    *_training("Three convolutions", "cnn3", MNIST, 64, 256, check=DEEPER),
    *_inference("Three convolutions", "cnn3", MNIST, 64, 256, folds=False),

    *_training("ResNet-20", "resnet20", CIFAR, 128, check=DEEP),
    *_training("ResNet-32", "resnet32", CIFAR, 128, check=DEEP),
    *_training("ResNet-56", "resnet56", CIFAR, 128, check=DEEP),
    *_inference("ResNet-20", "resnet20", CIFAR, 128),
    *_inference("ResNet-32", "resnet32", CIFAR, 128),
    *_inference("ResNet-56", "resnet56", CIFAR, 128),

    *_training("ResNet-18", "resnet18", IMAGENET, 8, check=DEEP),
    *_inference("ResNet-18", "resnet18", IMAGENET, 1, 8),
    *_inference("ResNet-18", "resnet18", (3, 112, 112), 1, 8),
    *_inference("ResNet-18", "resnet18", (3, 56, 56), 1, 8),
    *_inference("ResNet-18", "resnet18", (3, 28, 28), 1, 8),
    *_inference("VGG-16", "vgg16", IMAGENET, 1, folds=False),
    *_inference("GoogLeNet", "googlenet", IMAGENET, 1),

    *_operations(
        "resnet20", 128,
        conv2d(3, 16, 32, first=True), conv2d(16, 16, 32), conv2d(16, 32, 32, stride=2),
        conv2d(32, 32, 16), conv2d(32, 64, 16, stride=2), conv2d(64, 64, 8),
        batch_norm(16, 32), batch_norm(32, 16), batch_norm(64, 8),
        relu(16, 32), relu(32, 16), relu(64, 8),
        linear(64, 10), cross_entropy(10),
    ),
    *_operations(
        "vgg16", 1,
        conv2d(3, 64, 224, bias=True, first=True), conv2d(64, 64, 224, bias=True),
        conv2d(64, 128, 112, bias=True), conv2d(128, 128, 112, bias=True),
        conv2d(128, 256, 56, bias=True), conv2d(256, 256, 56, bias=True),
        conv2d(256, 512, 28, bias=True), conv2d(512, 512, 28, bias=True),
        conv2d(512, 512, 14, bias=True),
        relu(64, 224), relu(128, 112), relu(256, 56), relu(512, 28), relu(512, 14),
        max_pool2d(64, 224), max_pool2d(128, 112), max_pool2d(256, 56),
        max_pool2d(512, 28), max_pool2d(512, 14),
        linear(25088, 4096), linear(4096, 4096), linear(4096, 1000), cross_entropy(1000),
    ),
    *_operations(
        "resnet18", 8,
        conv2d(3, 64, 224, k=7, stride=2, first=True), batch_norm(64, 112),
        max_pool2d(64, 112, k=3, padding=1), conv2d(64, 128, 56, k=1, stride=2),
    ),
])
# fmt: on


class Unknown(ValueError):
    """A name or pattern that fits no workload."""


def chosen(patterns: Iterable[str]) -> list[str]:
    """Return the workloads that fit any of the patterns, in their order; all networks for none.

    Raises Unknown for a pattern that fits nothing.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in WORKLOADS if fnmatchcase(name, pattern)]
        if not found:
            raise Unknown(pattern)
        names |= dict.fromkeys(found)
    return list(names) or [name for name, workload in WORKLOADS.items() if workload.is_network]

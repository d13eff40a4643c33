"""Networks at the size they are made for, against torchvision's with the same weights.

    python -m tests.parity.full_size                    # all that both have: some minutes, 6 GiB
    python -m tests.parity.full_size vgg16 resnet50

A line for inference and one for training, with batches of two images: how far the outputs of
minicnn are from torch's in float64, absolutely and by the greatest of them; in float32, how far
minicnn's are from torch's float64, and torch's own beside it; then the gradients of all parameters
and of the images in float64, relative to the greatest of each.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from minicnn import models, nn
from minicnn.nn.init import Undrawn
from reference.models import MODELS
from tests import oracle
from tests.networks import well_scaled
from tests.parity import zoo

WITH_HEADS = ("googlenet", "googlenet-2014")
NAMES = (
    "resnet18", "resnet34", "resnet50", "vgg11", "vgg16", "vgg16_bn", "googlenet",
    "googlenet-2014", "densenet121", "alexnet", "squeezenet1_1",
)  # fmt: skip
LIMIT_64, LIMIT_32, LIMIT_GRADIENTS = 1e-9, 1e-4, 1e-8


def measure(name: str, training: bool) -> tuple[zoo.Difference, float, float]:
    """Return the differences in float64, and those of minicnn and torch in float32."""
    rng = np.random.default_rng(0)
    options = {"aux_logits": True} if name in WITH_HEADS else {}
    model = models.MODELS[name].build(**options, rng=Undrawn(np.random.PCG64(0)))
    well_scaled(model, rng)
    x = rng.standard_normal((2, *models.MODELS[name].image), dtype=np.float32)
    network = zoo.twin(model, lambda: MODELS[name](**options))
    narrow, torchs = outputs(model, x, training), torch_outputs(network, x, training)
    well_scaled(model, np.random.default_rng(0))  # training has moved what runs
    model.astype(np.float64)
    network, x = zoo.twin(model, lambda: MODELS[name](**options)), x.astype(np.float64)
    exact = torch_outputs(network, x, training)
    well_scaled(model, np.random.default_rng(0))
    network = zoo.twin(model, lambda: MODELS[name](**options))
    difference = zoo.compare(model, network, x, training=training)
    pairs = [(narrow, exact), (torchs, exact)]
    ours, theirs = (max(zoo.error(a, b) for a, b in zip(*p, strict=True)) for p in pairs)
    return difference, ours, theirs


def outputs(model: nn.Module, x: np.ndarray, training: bool) -> tuple[np.ndarray, ...]:
    y, _ = model.forward(x, training=training)
    return y if isinstance(y, tuple) else (y,)


def torch_outputs(network: torch.nn.Module, x: np.ndarray, training: bool) -> list[np.ndarray]:
    with torch.no_grad():
        y = network.train(training)(torch.from_numpy(x).to(oracle.device()))
    return [oracle.to_numpy(one) for one in (y if isinstance(y, tuple) else (y,))]


def main(names: list[str]) -> int:
    oracle.prepare()
    print(oracle.description())
    print(
        f"{'model':15}{'pass':10}{'outputs':>8}{'greatest':>10}{'f64':>9}{'f64 rel':>9}"
        f"{'f32 rel':>9}{'(torch)':>9}{'gradients':>11}{'seconds':>9}"
    )
    bad = 0
    for name in names or NAMES:
        for training in (False, True):
            start = time.perf_counter()
            d, ours, theirs = measure(name, training)
            wrong = d.absolute > LIMIT_64 or ours > LIMIT_32 or d.gradients > LIMIT_GRADIENTS
            bad += wrong
            heads = 3 if training and name in WITH_HEADS else 1
            print(
                f"{name:15}{'training' if training else 'inference':10}{heads:8}{d.scale:10.2g}"
                f"{d.absolute:9.1e}{d.relative:9.1e}{ours:9.1e}{theirs:9.1e}"
                f"{f'{d.gradients:.1e}' if training else '':>11}"
                f"{time.perf_counter() - start:9.1f}{'  TOO FAR' if wrong else ''}",
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

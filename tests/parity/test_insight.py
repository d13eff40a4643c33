"""Grad-CAM, saliency, occlusion and gradients of inner layers against torch, on the same weights.

torch's side is written with hooks and autograd, as its users write it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision

from minicnn import insight, models
from minicnn.models.resnet import BasicBlock, resnet
from reference.models import CifarResNet
from tests.arrays import dtypes, whole_networks
from tests.networks import well_scaled
from tests.oracle import device, to_numpy
from tests.parity import zoo

PAIRS = {
    "resnet20": (models.resnet20, lambda: CifarResNet(20), "layer3", (3, 3, 24, 20)),
    "resnet": (
        lambda num_classes: resnet(BasicBlock, (1, 1, 1, 1), num_classes),
        lambda: torchvision.models.ResNet(
            torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10
        ),
        "layer4.0.conv1",
        (2, 3, 64, 50),
    ),
    "googlenet": (
        models.googlenet,
        lambda: torchvision.models.GoogLeNet(10, aux_logits=False, init_weights=False),
        "inception4c.branch2",
        (2, 3, 64, 64),
    ),
    "squeezenet": (
        models.squeezenet1_1,
        lambda: torchvision.models.squeezenet1_1(num_classes=10),
        "features.7",
        (2, 3, 64, 48),
    ),
}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}  # by the greatest number


class Both:
    """A network, its twin, and images."""

    def __init__(self, name: str, dtype: type) -> None:
        build, theirs, self.layer, shape = PAIRS[name]
        rng = np.random.default_rng(7)
        self.ours = build(10)
        well_scaled(self.ours, rng)
        self.ours.astype(dtype)
        self.theirs = zoo.twin(self.ours, theirs).eval()
        self.x = rng.standard_normal(shape).astype(dtype)
        self.target = rng.integers(0, 10, shape[0])
        self.tolerance = TOLERANCE[dtype]

    def close(self, ours: np.ndarray, theirs: torch.Tensor) -> None:
        assert ours.dtype == self.x.dtype
        assert zoo.error(ours, to_numpy(theirs)) < self.tolerance

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.theirs(x)[torch.arange(len(x)), torch.from_numpy(self.target).to(device())]

    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.x).to(device()).requires_grad_()

    def hooked(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the layer's output, the gradient of the scores there, and at the input."""
        kept = []
        layer = self.theirs.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda module, inputs, y: kept.append(y))
        x = self.tensor()
        score = self.scores(x).sum()
        handle.remove()
        dy, dx = torch.autograd.grad(score, [kept[0], x])
        return kept[0], dy, dx


@pytest.fixture(params=PAIRS)
def name(request):
    return request.param


@pytest.mark.slow
@whole_networks
@dtypes
def test_saliency_and_grad_cam(name, dtype):
    both = Both(name, dtype)
    y, dy, dx = both.hooked()
    both.close(insight.saliency(both.ours, both.x, both.target), dx.abs().amax(dim=1))
    cam = torch.relu((dy.mean(dim=(2, 3), keepdim=True) * y).sum(dim=1))
    ours = insight.grad_cam(both.ours, both.x, both.layer, both.target)
    assert cam.abs().max() > 0
    both.close(ours, cam)
    size = both.x.shape[2:]
    large = torch.nn.functional.interpolate(cam[:, None], size, mode="bilinear")[:, 0]
    both.close(insight.resize(ours, size), large)


@pytest.mark.slow
@whole_networks
@dtypes
def test_what_is_seen_of_a_layer(name, dtype):
    both = Both(name, dtype)
    y, dy, dx = both.hooked()
    one_hot = np.zeros((len(both.x), 10), dtype)
    one_hot[np.arange(len(both.x)), both.target] = 1
    with insight.watching(both.ours, both.layer) as seen:
        _, cache = both.ours.forward(both.x, training=False)
        both.close(both.ours.backward(one_hot, cache), dx)
    both.close(seen[both.layer].y, y)
    both.close(seen[both.layer].dy, dy)


@pytest.mark.slow
@whole_networks
@dtypes
def test_the_gradient_of_an_inner_unit(name, dtype):
    both = Both(name, dtype)
    kept = []
    layer = both.theirs.get_submodule(both.layer)
    layer.register_forward_hook(lambda module, inputs, y: kept.append(y))
    x = both.tensor()
    both.theirs(x)
    inner = np.random.default_rng(0).standard_normal(tuple(kept[0].shape)).astype(dtype)
    (dx,) = torch.autograd.grad(kept[0], x, torch.from_numpy(inner).to(device()))
    with insight.watching(both.ours, both.layer) as seen:
        y, cache = both.ours.forward(both.x, training=False)
        seen[both.layer].inject(inner)
        both.close(both.ours.backward(np.zeros_like(y), cache), dx)


@pytest.mark.slow
@whole_networks
def test_occlusion():
    both = Both("resnet20", np.float64)
    x = torch.from_numpy(both.x).to(device())
    n, _, h, w = x.shape
    fall, covered = torch.zeros(n, h, w).to(x), torch.zeros(h, w).to(x)
    rows, columns = [0, 3, 6, 9, 12, 15, 18, 19], [0, 3, 6, 9, 12, 15]
    with torch.no_grad():
        for i in rows:
            for j in columns:
                hidden = x.clone()
                hidden[:, :, i : i + 5, j : j + 5] = 0.25
                drop = both.scores(x) - both.scores(hidden)
                fall[:, i : i + 5, j : j + 5] += drop[:, None, None]
                covered[i : i + 5, j : j + 5] += 1
    ours = insight.occlusion(
        both.ours, both.x, both.target, size=5, stride=3, fill=0.25, batch=7
    )  # fmt: skip
    both.close(ours, fall / covered)

"""Containers within containers against torch: whatever the graph, all gradients are autograd's.

A graph is drawn together with its twin in torch.nn. Every layer keeps the size of the image, so
that all graphs fit; a layer that was drawn before may come again, and receives both gradients.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from minicnn import nn
from minicnn.testing.strategies import seeds
from tests.arrays import assert_close, impls
from tests.oracle import device, to_numpy, to_torch

Twins = tuple[nn.Module, torch.nn.Module, int]  # ours, torch's, the channels that come out


class Sum(torch.nn.Module):
    def __init__(self, main, shortcut, activation) -> None:
        super().__init__()
        self.main, self.shortcut, self.activation = main, shortcut, activation

    def forward(self, x):
        y = self.main(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.activation is None else self.activation(y)


class Cat(torch.nn.Sequential):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], dim=1)


class Pad(torch.nn.Module):
    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x):
        return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, self.more))


def convolution(inward: int, outward: int, side: int, rng: np.random.Generator) -> Twins:
    ours = nn.Conv2d(inward, outward, side, padding=side // 2, rng=rng, dtype=np.float64)
    return ours, torch.nn.Conv2d(inward, outward, side, padding=side // 2), outward


@st.composite
def layers(draw: st.DrawFn, channels: int, seen: dict[int, list[Twins]], rng) -> Twins:
    """Draw a layer, or one of those that took so many channels before."""
    kind = draw(st.sampled_from(["conv", "norm", "relu", "tanh", "max", "avg", "again", "empty"]))
    if kind == "again" and seen.get(channels):
        return draw(st.sampled_from(seen[channels]))
    if kind == "norm":
        twins: Twins = nn.BatchNorm2d(channels, dtype=np.float64), torch.nn.BatchNorm2d(channels), 0
    elif kind == "relu":
        twins = nn.ReLU(), torch.nn.ReLU(), 0
    elif kind == "tanh":
        twins = nn.Tanh(), torch.nn.Tanh(), 0
    elif kind == "max":
        twins = nn.MaxPool2d(3, 1, padding=1), torch.nn.MaxPool2d(3, 1, padding=1), 0
    elif kind == "avg":
        twins = nn.AvgPool2d(3, 1, padding=1), torch.nn.AvgPool2d(3, 1, padding=1), 0
    elif kind == "empty":
        twins = nn.Sequential(), torch.nn.Sequential(), 0
    else:
        outward, side = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3]))
        twins = convolution(channels, outward, side, rng)
    twins = (*twins[:2], twins[2] or channels)
    seen.setdefault(channels, []).append(twins)
    return twins


@st.composite
def graphs(draw: st.DrawFn, channels: int, depth: int, seen, rng) -> Twins:
    """Draw a layer, a chain, a concatenation or a residual block of graphs."""
    if depth == 0:
        return draw(layers(channels, seen, rng))
    kind = draw(st.sampled_from(["chain", "concat", "residual", "layer"]))
    if kind == "layer":
        return draw(layers(channels, seen, rng))
    if kind == "residual":
        return draw(residuals(channels, depth, seen, rng))
    ours, theirs, width = [], [], channels if kind == "chain" else 0
    for _ in range(draw(st.integers(1, 3))):
        own, twin, out = draw(graphs(width if kind == "chain" else channels, depth - 1, seen, rng))
        ours.append(own)
        theirs.append(twin)
        width = out if kind == "chain" else width + out
    if kind == "chain":
        return nn.Sequential(*ours), torch.nn.Sequential(*theirs), width
    return nn.Concat(*ours), Cat(*theirs), width


@st.composite
def residuals(draw: st.DrawFn, channels: int, depth: int, seen, rng) -> Twins:
    main, twin_main, out = draw(graphs(channels, depth - 1, seen, rng))
    shortcut = twin_shortcut = activation = twin_activation = None
    if out > channels and draw(st.booleans()):
        shortcut, twin_shortcut = nn.ZeroPadShortcut(channels, out), Pad(out - channels)
    elif out != channels or draw(st.booleans()):
        shortcut, twin_shortcut, _ = convolution(channels, out, 1, rng)
    if draw(st.booleans()):
        activation, twin_activation = nn.ReLU(), torch.nn.ReLU()
    ours = nn.Residual(main, shortcut, activation)
    return ours, Sum(twin_main, twin_shortcut, twin_activation), out


def same_weights(ours: nn.Module, theirs: torch.nn.Module) -> None:
    """Set torch's weights; it lists what is shared under every name, we under the first."""
    state = {name: torch.from_numpy(array) for name, array in ours.state_dict().items()}
    missing, unexpected = theirs.double().to(device()).load_state_dict(state, strict=False)
    assert not unexpected
    own = {name for name, _ in theirs.named_parameters()}
    own |= {name for name, _ in theirs.named_buffers()}
    assert not own & set(missing)


@impls
@given(data=st.data(), channels=st.integers(1, 3), n=st.integers(2, 3), seed=seeds)
def test_any_graph(impl: str, data: st.DataObject, channels: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs, width = data.draw(graphs(channels, 3, {}, rng))
    ours.set_impl(impl)
    same_weights(ours, theirs)
    x = rng.standard_normal((n, channels, 4, 3))
    tensor = to_torch(x).requires_grad_()
    expected = theirs(tensor)
    assert ours.output_shape(x.shape[1:]) == expected.shape[1:] == (width, 4, 3)
    dy = rng.standard_normal(expected.shape)
    expected.backward(to_torch(dy))
    y, cache = ours.forward(x, training=True)
    dx = ours.backward(dy, cache)
    # Batch norm divides by what may be almost nothing, and sums grow with the depth.
    grads = {name: to_numpy(p.grad) for name, p in theirs.named_parameters()}
    scale = max([1e3, *(np.abs(g).max(initial=0) for g in grads.values())])
    assert_close(y, to_numpy(expected), "y", scale)
    assert_close(dx, to_numpy(tensor.grad), "dx", scale)
    assert [name for name, _ in ours.named_parameters()] == list(grads)
    for name, param in ours.named_parameters():
        assert_close(param.grad, grads[name], name, scale)
    for name, buffer in theirs.named_buffers():
        assert_close(
            dict(ours.named_buffers())[name].astype(np.float64), to_numpy(buffer).astype(float),
            name, scale,
        )  # fmt: skip
    ours.zero_grad()
    assert ours.backward(dy, cache, input_grad=False) is None
    for name, param in ours.named_parameters():
        assert_close(param.grad, grads[name], name, scale)

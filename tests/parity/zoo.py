"""A network of minicnn and its twin in PyTorch, with the same weights, asked the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from minicnn import nn
from tests.networks import arrays_of
from tests.oracle import device, to_numpy

HEAD = 0.3  # weight of the loss of an auxiliary head, as in the paper
FLOOR = 1e-4  # gradients are compared on this scale of the greatest one, or on a larger one


def twin(model: nn.Module, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Return torch's network with the arrays of ``model``: parameters are shared, not copied.

    Dropout is turned off in both.
    """
    with torch.device("meta"):
        network = build()
    shared = {id(param.data) for param in model.parameters()}
    state = {
        name: torch.from_numpy(array if id(array) in shared else array.copy())
        for name, array in arrays_of(model).items()
    }
    network.load_state_dict(state, assign=True)
    for module in [*network.modules(), *(module for _, module in model.named_modules())]:
        if isinstance(module, (torch.nn.Dropout, nn.Dropout)):
            module.p = 0.0  # they would draw different numbers
    return network.to(device())


class Difference(NamedTuple):
    """How far apart the answers are."""

    absolute: float  # of outputs
    relative: float  # of outputs, by the greatest number of each
    gradients: float  # of all parameters and the input, likewise; 0 where none were asked for
    worst: str  # the gradient that is farthest off
    buffers: float  # what runs, after the pass
    scale: float  # the greatest output


def compare(
    model: nn.Module, network: torch.nn.Module, x: np.ndarray, *, training: bool
) -> Difference:
    """Ask both for outputs; in training, for all gradients of the cross-entropy as well."""
    tensor = torch.from_numpy(x.copy()).to(device())
    target = np.arange(len(x)) % 3
    if not training:
        with torch.no_grad():
            expected = to_numpy(network.eval()(tensor))
        return _difference([model(x)], [expected], {}, {}, {}, {})
    tensor.requires_grad_()
    outputs = network.train()(tensor)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    labels = torch.from_numpy(target).to(device())
    weights = (1.0, HEAD, HEAD)[: len(outputs)]
    losses = [
        weight * torch.nn.functional.cross_entropy(y, labels)
        for weight, y in zip(weights, outputs, strict=True)
    ]
    sum(losses[1:], losses[0]).backward()
    theirs = {name: to_numpy(param.grad) for name, param in network.named_parameters()}
    theirs["x"] = to_numpy(tensor.grad)

    model.zero_grad()
    answer, cache = model.forward(x, training=True)
    ys = answer if isinstance(answer, tuple) else (answer,)
    criterion, dys = nn.CrossEntropyLoss(), []
    for weight, y in zip(weights, ys, strict=True):
        _, loss_cache = criterion.forward(y, target)
        dys.append(criterion.backward(weight, loss_cache))
    dx = model.backward(tuple(dys) if isinstance(answer, tuple) else dys[0], cache)
    ours = {name: param.grad for name, param in model.named_parameters()} | {"x": dx}
    return _difference(
        ys,
        [to_numpy(y) for y in outputs],
        ours,
        theirs,
        dict(model.named_buffers()),
        {name: to_numpy(buffer) for name, buffer in network.named_buffers()},
    )


def _difference(ys, expected, ours, theirs, buffers, their_buffers) -> Difference:
    assert [y.shape for y in ys] == [y.shape for y in expected]
    assert ours.keys() == theirs.keys()
    assert buffers.keys() == their_buffers.keys()
    floor = FLOOR * max((np.abs(g).max() for g in theirs.values()), default=0)
    errors = {name: error(ours[name], theirs[name], floor) for name in theirs}
    worst = max(errors, key=lambda name: errors[name], default="")
    return Difference(
        max(float(np.abs(a - b).max()) for a, b in zip(ys, expected, strict=True)),
        max(error(a, b) for a, b in zip(ys, expected, strict=True)),
        errors.get(worst, 0.0),
        worst,
        max((error(buffers[name], their_buffers[name]) for name in buffers), default=0.0),
        max(float(np.abs(y).max()) for y in expected),
    )


def error(ours: np.ndarray, theirs: np.ndarray, floor: float = 0.0) -> float:
    """Return the greatest difference by the greatest number; infinity for what is not finite."""
    assert ours.shape == theirs.shape
    apart = float(np.abs(ours - theirs).max())
    scale = max(float(np.abs(theirs).max()), floor)
    return (apart / scale if apart else 0.0) if np.isfinite(apart) else np.inf

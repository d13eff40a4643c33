"""What is heard between the layers, and that the network is as before."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minicnn
from minicnn import ShapeError, models, nn
from minicnn.insight import NotSeen, frozen, watching
from minicnn.nn.sequential import backward_chain, forward_chain
from tests.arrays import assert_close


def chain() -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(
        conv=nn.Conv2d(2, 3, 3, padding=1, rng=rng, dtype=np.float64),
        tanh=nn.Tanh(),
        block=nn.Residual(
            nn.Conv2d(3, 3, 3, padding=1, rng=rng, dtype=np.float64), activation=nn.Tanh()
        ),
        flatten=nn.Flatten(),
        fc=nn.Linear(3 * 4 * 5, 2, rng=rng, dtype=np.float64),
    )  # fmt: skip


def image(n: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 2, 4, 5))


@pytest.mark.parametrize("training", [True, False])
def test_what_goes_by_is_what_the_parts_of_the_chain_compute(training):
    model, x = chain(), image()
    layers = list(model)
    y2, _ = forward_chain(layers[:2], x, training)
    y, caches = forward_chain(layers[2:], y2, training)
    dy = np.random.default_rng(2).standard_normal(y.shape)
    dy2 = backward_chain(layers[2:], dy, caches, True)
    with watching(model, "tanh", "block.main", "") as seen:
        out, cache = model.forward(x, training=training)
        model.backward(dy, cache)
    assert_close(seen["tanh"].y, y2, "y")
    assert_close(seen["tanh"].dy, dy2, "dy")
    assert seen[""].y is out
    assert seen[""].dy is dy
    # block = tanh(main(x) + x): the gradient of main is that of the sum.
    after = np.tanh(seen["block.main"].y + y2)
    back = (dy @ model.fc.weight.data).reshape(after.shape) * (1 - after**2)
    assert_close(seen["block.main"].dy, back, "dy of main")


def test_an_injected_gradient_adds_to_that_from_above():
    model, x = chain(), image()
    rng = np.random.default_rng(3)
    above, here, more = rng.standard_normal((2, 2)), *rng.standard_normal((2, 2, 3, 4, 5))
    with watching(model, "block") as seen:
        _, cache = model.forward(x, training=False)
        seen["block"].inject(here)
        seen["block"].inject(more)
        both = model.backward(above, cache)
        only_above = model.backward(above, cache)  # injected once, for one backward
        seen["block"].inject(here + more)
        only_here = model.backward(np.zeros_like(above), cache)
    assert_close(both, only_above + only_here, "dx")
    step, direction = 1e-6, rng.standard_normal(x.shape)
    with watching(model, "block") as seen:
        model(x + step * direction)
        model(x - step * direction)
    plus, minus = (use.y for use in seen["block"].uses)
    slope = ((plus - minus) * (here + more)).sum() / (2 * step)
    assert abs((only_here * direction).sum() - slope) < 1e-7 * abs(slope)


def test_a_layer_that_is_used_twice_is_heard_twice():
    twice = nn.Linear(3, 3, rng=np.random.default_rng(0), dtype=np.float64)
    model = nn.Sequential(twice, nn.Tanh(), twice)
    x = np.random.default_rng(1).standard_normal((2, 3))
    with watching(model, "0", "2") as seen:  # two names of one layer
        y, cache = model.forward(x, training=True)
        dy = np.ones_like(y)
        model.backward(dy, cache)
    for name in ("0", "2"):
        first, second = seen[name].uses
        assert second.y is y
        assert second.dy is dy
        assert_close(np.tanh(first.y) @ twice.weight.data.T + twice.bias.data, y, "first")
        with pytest.raises(NotSeen, match=r"has run 2 times.*\.uses\[0\] to \.uses\[1\]"):
            _ = seen[name].y
    assert "forward" not in vars(twice)
    assert "backward" not in vars(twice)


def test_two_passes_may_interleave():
    model = chain()
    with watching(model, "tanh") as seen:
        _, one = model.forward(image(1), training=True)
        _, two = model.forward(image(3), training=True)
        model.backward(np.ones((1, 2)), one)
        model.backward(np.ones((3, 2)), two)
    assert [len(use.dy) for use in seen["tanh"].uses] == [1, 3]


def test_the_network_is_as_before_also_after_an_error():
    model = chain()
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    text, state = repr(model), model.state_dict()

    def unchanged():
        after = {name: dict(vars(module)) for name, module in model.named_modules()}
        return before == after

    with watching(model, "conv", "block", "block.main"), watching(model, "block") as inner:
        assert repr(model) == text
        assert model.state_dict().keys() == state.keys()
        model(image())
        assert inner["block"].y.shape == (2, 3, 4, 5)
    assert unchanged()
    with pytest.raises(ShapeError), watching(model, "conv", "tanh"):
        model(np.ones((1, 7, 4, 5)))
    assert unchanged()


def test_an_inner_with_leaves_the_outer_one_listening():
    model = chain()
    with watching(model, "block") as outer:
        with watching(model, "block") as inner:
            model(image())
        model(image())
        assert len(inner["block"].uses) == 1
        assert len(outer["block"].uses) == 2


def test_heads_and_branches_with_names_of_their_own():
    rng = np.random.default_rng(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 2, rng=rng))
    model = nn.AuxiliaryHeads([nn.ReLU(), nn.Flatten()], [head])
    x = rng.standard_normal((1, 2, 2, 2), dtype=np.float32)
    with watching(model, "head1", "stage1") as seen:
        model(x)
        assert seen["stage1"].y.shape == x.shape
        with pytest.raises(NotSeen, match=r"head1 has not run.*heads beside the chain run in"):
            _ = seen["head1"].y
    with watching(model, "head1") as seen:
        (y, aux), cache = model.forward(x, training=True)
        model.backward((np.zeros_like(y), np.ones_like(aux)), cache)
        assert seen["head1"].y is aux


def test_frozen_keeps_gradients_and_gives_back_what_was_trainable():
    model = chain()
    model.conv.freeze()
    model.fc.weight.grad += 5
    with frozen(model):
        y, cache = model.forward(image(), training=False)
        assert model.backward(np.ones_like(y), cache) is not None
    assert (model.fc.weight.grad == 5).all()
    assert not model.conv.weight.trainable
    assert model.fc.weight.trainable


# ------------------------------------------------------------------------------------------ errors


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"no module 'blok.main'. Did you mean block.main"):
        watching(chain(), "blok.main").__enter__()
    with pytest.raises(ValueError, match="Its children are conv, tanh, block, flatten, fc;"):
        watching(chain(), "?").__enter__()


@pytest.mark.parametrize("inference", [False, True])
def test_fused_networks_are_refused_with_the_remedy(inference):
    text = re.escape("Look at the network that was given to minicnn.fuse: its parameters are the")
    rng = np.random.default_rng(0)
    for model in (
        models.lenet5(rng=rng),
        models.resnet20(rng=rng),
        models.inception_mnist(rng=rng),
        models.resnet20(rng=rng).layer1[0],
    ):
        fused = minicnn.fuse(model, inference=inference)
        with pytest.raises(ValueError, match=text):
            watching(fused, "conv1").__enter__()


def test_what_has_not_come_yet():
    model = chain()
    with watching(model, "block") as seen:
        with pytest.raises(NotSeen, match=r"block has not run\. Run the network's forward within"):
            _ = seen["block"].y
        model(image())
        with pytest.raises(
            NotSeen, match=r"no gradient has come to block\. Run the network's back"
        ):
            _ = seen["block"].dy
        with pytest.raises(
            ShapeError, match=re.escape("must have the shape of its output, (2, 3, 4")
        ):
            seen["block"].inject(np.ones((2, 3)))

"""Optimisers against torch.optim: the trajectory, the state that resumes, the refusals."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.optim import SGD, Adam, AdamW
from tests.pytorch import torch

STEPS = 50
SHAPES = [(6, 1, 5, 5), (6,), (3, 20), (1,), (2, 3, 1, 4)]

decays = st.sampled_from([0.0, 1e-4, 0.1])
rates = st.floats(1e-4, 0.3)
shares = st.floats(0.01, 0.99)


@st.composite
def sgd_options(draw):
    options = {"lr": draw(rates), "weight_decay": draw(decays)}
    if draw(st.booleans()):
        options["momentum"] = draw(shares)
        options["nesterov"] = draw(st.booleans())
        if not options["nesterov"]:
            options["dampening"] = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return SGD, options


@st.composite
def adam_options(draw):
    options = {
        "lr": draw(rates),
        "betas": (draw(st.sampled_from([0.0, 0.5, 0.9, 0.99])), draw(shares)),
        "eps": draw(st.sampled_from([1e-8, 1e-4, 0.1])),
        "weight_decay": draw(decays),
    }
    return draw(st.sampled_from([Adam, AdamW])), options


choices = st.one_of(sgd_options(), adam_options())
seeds = st.integers(0, 2**32 - 1)


def parameters(rng, dtype=np.float64, shapes=SHAPES):
    return [
        SimpleNamespace(
            data=rng.standard_normal(shape).astype(dtype),
            grad=np.zeros(shape, dtype),
            trainable=True,
        )
        for shape in shapes
    ]


def gradients(rng, params):
    """Set gradients that pull to 0, with noise of very different sizes from array to array."""
    for i, p in enumerate(params):
        noise = 10.0 ** (1 - i) * rng.standard_normal(p.data.shape)
        p.grad[...] = p.data + noise.astype(p.data.dtype)


def twin(params, kind, options):
    """Return torch's parameters with the same values, and torch's optimiser over them."""
    tensors = [torch.tensor(p.data) for p in params]
    return tensors, getattr(torch.optim, kind.__name__)(tensors, **options)


def hand_over(params, tensors):
    for p, tensor in zip(params, tensors, strict=True):
        tensor.grad = torch.tensor(p.grad) if p.trainable else None


def distance(params, tensors):
    return max(
        np.abs(p.data - t.numpy()).max() / (1 + np.abs(t.numpy()).max())
        for p, t in zip(params, tensors, strict=True)
    )


def trajectory(kind, options, seed, dtype):
    """Return the largest distance from torch on the way, both fed the same gradients."""
    rng = np.random.default_rng(seed)
    params = parameters(rng, dtype)
    tensors, theirs = twin(params, kind, options)
    ours, far = kind(params, **options), 0.0
    for _ in range(STEPS):
        gradients(rng, params)
        hand_over(params, tensors)
        ours.step()
        theirs.step()
        far = max(far, distance(params, tensors))
    assert all(p.data.dtype == dtype for p in params)
    return far


@settings(deadline=None)
@given(choice=choices, seed=seeds)
@example(choice=(SGD, {"lr": 0.1}), seed=0)
@example(choice=(SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}), seed=0)
@example(choice=(SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}), seed=0)
@example(choice=(Adam, {}), seed=0)
@example(choice=(Adam, {"weight_decay": 0.1}), seed=0)
@example(choice=(AdamW, {}), seed=0)
def test_the_trajectory_is_torchs_in_float64(choice, seed):
    assert trajectory(*choice, seed, np.float64) < 1e-11


@settings(deadline=None)
@given(choice=choices, seed=seeds)
def test_the_trajectory_stays_beside_torchs_in_float32(choice, seed):
    assert trajectory(*choice, seed, np.float32) < 1e-3


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_float32_is_float32_arithmetic_throughout(kind):
    params = parameters(np.random.default_rng(0), np.float32)
    gradients(np.random.default_rng(1), params)
    options = {"momentum": 0.9} if kind is SGD else {}
    optimizer = kind(params, lr=0.1, **options)
    optimizer.step()
    state = optimizer.state_dict()
    assert {a.dtype for key, a in state.items() if key != "step"} == {np.dtype(np.float32)}


def test_float32_options_are_rounded_before_they_multiply():
    """With lr in float64 the products would round otherwise."""
    grad = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    p = SimpleNamespace(data=np.zeros_like(grad), grad=grad, trainable=True)
    SGD([p], lr=0.1).step()
    assert np.array_equal(p.data, -(np.float32(0.1) * grad))
    assert not np.array_equal(p.data, -(0.1 * grad.astype(np.float64)).astype(np.float32))


def test_the_comparison_catches_adam_without_bias_correction():
    """The rule in NumPy passes the same comparison with the correction, and fails without it."""

    def far(correct):
        rng = np.random.default_rng(0)
        params = parameters(rng)
        tensors, theirs = twin(params, Adam, {"lr": 1e-3})
        m = [np.zeros_like(p.data) for p in params]
        v = [np.zeros_like(p.data) for p in params]
        for t in range(1, STEPS + 1):
            gradients(rng, params)
            hand_over(params, tensors)
            theirs.step()
            for i, p in enumerate(params):
                m[i] = 0.9 * m[i] + 0.1 * p.grad
                v[i] = 0.999 * v[i] + 0.001 * p.grad**2
                mh, vh = (m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)) if correct else (m[i], v[i])
                p.data -= 1e-3 * mh / (np.sqrt(vh) + 1e-8)
        return distance(params, tensors)

    assert far(correct=True) < 1e-11
    assert far(correct=False) > 1e-3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
        (Adam, {"weight_decay": 0.1}),
        (AdamW, {}),
    ],
)
def test_frozen_parameters_are_left_alone_and_begin_afresh_when_released(kind, options):
    rng = np.random.default_rng(0)
    params = parameters(rng)
    tensors, theirs = twin(params, kind, options)
    ours = kind(params, **options)
    frozen = params[1].data.copy()
    for step in range(STEPS):
        params[1].trainable = step >= 20
        params[2].trainable = not 10 <= step < 30
        gradients(rng, params)
        hand_over(params, tensors)
        ours.step()
        theirs.step()
        if step < 20:
            assert np.array_equal(params[1].data, frozen)
            assert not any(key.endswith(".1") for key in ours.state_dict())
        assert distance(params, tensors) < 1e-11


@settings(deadline=None)
@given(choice=choices, seed=seeds, before=st.integers(0, 4))
def test_a_state_dict_continues_bit_for_bit(choice, seed, before):
    kind, options = choice
    rng = np.random.default_rng(seed)
    params = parameters(rng, np.float32)
    params[1].trainable = False
    whole = kind(params, **options)
    for _ in range(before):
        gradients(rng, params)
        whole.step()

    copies = [SimpleNamespace(**vars(p)) for p in params]
    for copy in copies:
        copy.data, copy.grad = copy.data.copy(), copy.grad.copy()
    resumed = kind(copies, **options)
    state = whole.state_dict()
    resumed.load_state_dict(state)
    for array in state.values():
        array.fill(-1)  # both sides hold copies
    for step in range(5):
        gradients(np.random.default_rng(step), params)
        gradients(np.random.default_rng(step), copies)
        whole.step()
        resumed.step()
    for p, copy in zip(params, copies, strict=True):
        assert np.array_equal(p.data, copy.data)
    after, other = whole.state_dict(), resumed.state_dict()
    assert after.keys() == other.keys()
    assert all(np.array_equal(after[key], other[key]) for key in after)


@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.transpose(0, 3, 1, 2),
        lambda a: a[::2, :, ::-1],
        lambda a: a[..., 1],
        lambda a: a[0, 0, 0, ::2],
    ],
    ids=["channels-last", "strided", "gaps", "vector with gaps"],
)
def test_any_strides(kind, view):
    options = {"momentum": 0.9} if kind is SGD else {}
    rng = np.random.default_rng(0)
    strided = rng.standard_normal((4, 3, 5, 5))
    untouched = strided.copy()
    p = SimpleNamespace(data=view(strided), grad=None, trainable=True)
    q = SimpleNamespace(data=np.ascontiguousarray(p.data), grad=None, trainable=True)
    p.grad, q.grad = np.asfortranarray(np.zeros(p.data.shape)), np.zeros(p.data.shape)
    ours, plain = kind([p], 0.1, **options), kind([q], 0.1, **options)
    for _ in range(3):
        q.grad[...] = rng.standard_normal(q.data.shape)
        p.grad[...] = q.grad
        ours.step()
        plain.step()
    assert np.array_equal(p.data, q.data)
    view(strided)[...] = view(untouched)
    assert np.array_equal(strided, untouched)  # nothing beside the view was written


def test_zero_grad_keeps_the_arrays():
    params = parameters(np.random.default_rng(0))
    grads = [p.grad for p in params]
    gradients(np.random.default_rng(1), params)
    SGD(params, 0.1).zero_grad()
    assert all(p.grad is g and not g.any() for p, g in zip(params, grads, strict=True))


@pytest.mark.parametrize(
    ("kind", "options", "memory"),
    [(SGD, {"momentum": 0.9}, "momentum"), (Adam, {"betas": (0.9, 0.9)}, "exp_avg")],
)
def test_what_is_remembered_of_a_dead_unit_ends_at_zero(kind, options, memory):
    """And not at a subnormal number, which 0.9 times itself rounds to itself."""
    assert np.float32(4e-45) * np.float32(0.9) == np.float32(4e-45) != 0
    params = parameters(np.random.default_rng(0), np.float32, [(5,)])
    gradients(np.random.default_rng(1), params)
    optimizer = kind(params, 0.1, **options)
    for _ in range(1200):
        optimizer.step()
        optimizer.zero_grad()
    state = optimizer.state_dict()
    assert all(not state[key].any() for key in state if key.startswith(memory))


def test_momentum_can_be_set_on_the_way():
    rng = np.random.default_rng(0)
    params = parameters(rng)
    tensors, theirs = twin(params, SGD, {"lr": 0.1, "dampening": 0})
    ours = SGD(params, lr=0.1)
    for momentum in (0.0, 0.9, 0.5, 0.0, 0.8):
        ours.momentum = theirs.param_groups[0]["momentum"] = momentum
        gradients(rng, params)
        hand_over(params, tensors)
        ours.step()
        theirs.step()
    assert distance(params, tensors) < 1e-12


one = parameters(np.random.default_rng(0), shapes=[(2, 3)])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SGD([], 0.1), "SGD: there are no parameters. An iterator that was used before"),
        (lambda: SGD(one, -0.1), "SGD: lr must be at least 0, got -0.1. Use for example lr=0.01."),
        (lambda: AdamW(one, float("nan")), "AdamW: lr must be at least 0, got nan."),
        (lambda: SGD(one, 0.1, 1.0), "momentum must be at least 0 and less than 1, got 1."),
        (lambda: SGD(one, 0.1, weight_decay=-1), "weight_decay must be at least 0, got -1."),
        (
            lambda: SGD(one, 0.1, 0.9, dampening=2),
            "dampening must be at least 0 and at most 1, got 2.",
        ),
        (
            lambda: SGD(one, 0.1, nesterov=True),
            "nesterov needs momentum and no dampening, got momentum=0 and dampening=0.",
        ),
        (
            lambda: SGD(one, 0.1, 0.9, nesterov=True, dampening=0.5),
            "got momentum=0.9 and dampening=0.5. Use for example momentum=0.9, dampening=0.",
        ),
        (
            lambda: SGD(one, 0.1, dampening=0.5),
            "dampening=0.5 acts on the momentum, and there is none.",
        ),
        (lambda: Adam(one, betas=(0.9, 1.0)), "Adam: betas[1] must be at least 0 and less than 1"),
        (lambda: Adam(one, betas=0.9), "Adam: betas must be two numbers, got 0.9."),
        (lambda: Adam(one, eps=-1e-8), "Adam: eps must be at least 0, got -1e-08."),
        (lambda: SGD([one[0], one[0]], 0.1), "parameters 0 and 1 are the same one"),
    ],
)
def test_bad_options_are_refused(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SGD(one, "0.1"), "SGD: lr must be a number, got '0.1'."),
        (lambda: SGD([one[0].data], 0.1), "parameter 0 is a ndarray, which lacks data, grad or"),
        (lambda: SGD([("weight", one[0])], 0.1), "parameter 0 is a tuple"),
        (
            lambda: SGD([SimpleNamespace(data=np.zeros(2, int), grad=0, trainable=True)], 0.1),
            "parameter 0 has dtype int64; float32 and float64 are supported.",
        ),
    ],
)
def test_wrong_types_are_refused(make, text):
    with pytest.raises(TypeError, match=re.escape(text)):
        make()


def test_a_read_only_parameter_is_refused():
    p = parameters(np.random.default_rng(0))[0]
    p.data.flags.writeable = False
    with pytest.raises(ValueError, match="parameter 0 is read-only"):
        SGD([p], 0.1)


def test_a_gradient_of_another_shape_is_refused():
    p = parameters(np.random.default_rng(0), shapes=[(2, 3)])[0]
    p.grad = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"the gradient of parameter 0 is float64 \(3, 2\), the p"):
        SGD([p], 0.1).step()


def test_a_state_dict_that_does_not_fit_is_refused_and_changes_nothing():
    params = parameters(np.random.default_rng(0), shapes=[(2, 3), (3,), (1,)])
    gradients(np.random.default_rng(1), params)
    optimizer = SGD(params, 0.1, 0.9)
    optimizer.step()
    before = optimizer.state_dict()

    def refusal(state, kind=None):
        with pytest.raises(ValueError, match="state dict") as caught:
            (kind or optimizer).load_state_dict(state)
        return str(caught.value)

    wrong = dict(before)
    del wrong["momentum.1"]
    wrong["momentum.7"] = wrong["momentum.0"]
    wrong["momentum.2"] = np.zeros(4)
    assert refusal(wrong) == (
        "SGD: the state dict does not fit: missing momentum.1; unexpected momentum.7; "
        "unlike: momentum.2 is float64 (4,), not float64 (1,). "
        "It must come from SGD over the same 3 parameters in the same order."
    )
    assert "momentum.0 is float32 (2, 3), not float64 (2, 3)" in refusal(
        {**before, "momentum.0": before["momentum.0"].astype(np.float32)}
    )
    assert "the state dict has no array 'step'" in refusal({})
    assert "'step' in the state dict must be 3 counts (int64), one for each" in refusal(
        {**before, "step": np.array([1, 1])}
    )
    assert (
        "missing exp_avg.0, exp_avg_sq.0, exp_avg.1, exp_avg_sq.1 and 2 more; unexpected "
        "momentum.0, momentum.1, momentum.2." in refusal(before, Adam(params))
    )
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)

"""Softmax and the losses on it: what they do not see, and what they are in terms of entropy.

Entropies and divergences are SciPy's.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from minicnn.ops import cross_entropy, log_softmax, nll_loss, sigmoid, softmax, tanh
from minicnn.testing.strategies import Fill, fills
from tests.arrays import assert_close, impls

whole = fills(("ties",), (np.float64,))
real = fills(("normal",), (np.float64,))
smoothings = st.floats(0, 1)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Draw the shape of logits: samples, classes, perhaps pixels."""
    samples, classes = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    return samples, classes, *draw(st.lists(st.integers(1, 3), max_size=2))


def labels(fill: Fill, shape: tuple[int, ...]) -> np.ndarray:
    return fill.rng.integers(0, shape[1], (shape[0], *shape[2:]))


def distributions(fill: Fill, shape: tuple[int, ...], zeros: bool = True) -> np.ndarray:
    """Return probabilities of the classes, among them 0 and 1, or none of the two."""
    p = fill.rng.uniform(0.05, 1, shape)
    if zeros:
        p *= fill.rng.random(shape) < 0.5
        p[:, :1] += p.sum(axis=1, keepdims=True) == 0
    return p / p.sum(axis=1, keepdims=True)


def one_hot(target: np.ndarray, classes: int) -> np.ndarray:
    return np.moveaxis(np.eye(classes)[target], -1, 1)


def losses(impl: str, z: np.ndarray, target: np.ndarray, **options: object) -> np.ndarray:
    """Return the cross-entropy of each sample."""
    return cross_entropy.forward(z, target, **options, reduction="none", impl=impl)[0]


def gradient(impl: str, z: np.ndarray, target: np.ndarray, **options: object) -> np.ndarray:
    """Return the gradient of the sum of the samples' cross-entropies."""
    _, cache = cross_entropy.forward(z, target, **options, reduction="sum", impl=impl)
    return cross_entropy.backward(1.0, cache, impl=impl)


# ------------------------------------------------------------------------ a constant is not seen


@impls
@given(shape=shapes(), fill=whole, data=st.data())
def test_adding_a_constant_to_a_samples_logits_changes_nothing(impl, shape, fill, data) -> None:
    """Not by a bit, however large it is: the logits are whole numbers, so that sums are exact."""
    z, target = fill(*shape), labels(fill, shape)
    top = data.draw(st.sampled_from([10, 10**6]))
    moved = z + fill.rng.integers(-top, top, (shape[0], 1, *shape[2:]))
    for op in (softmax, log_softmax):
        y, other = (op.forward(a, 1, impl=impl)[0] for a in (z, moved))
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(other, y)
    np.testing.assert_array_equal(losses(impl, moved, target), losses(impl, z, target))


@impls
@pytest.mark.parametrize("op", [softmax, log_softmax])
@given(shape=shapes(), fill=real)
def test_every_row_of_the_jacobian_adds_up_to_0(op: ModuleType, impl, shape, fill: Fill) -> None:
    """Row k, the gradient of output k, is what backward makes of the unit vector k."""
    _, cache = op.forward(fill(*shape), 1, impl=impl)
    rows = []
    for k in range(shape[1]):
        dy = np.zeros(shape)
        dy[:, k] = 1
        rows.append(op.backward(dy, cache, impl=impl))
        assert_close(rows[-1].sum(axis=1), np.zeros((shape[0], *shape[2:])), f"row {k}")
    if op is softmax:  # its outputs always add up to 1, so what one gains the others lose
        assert_close(sum(rows), np.zeros(shape), "columns")
        assert all((row[:, k] >= 0).all() for k, row in enumerate(rows))


@impls
@given(shape=shapes(), fill=real, smoothing=smoothings)
def test_the_gradient_of_a_samples_logits_adds_up_to_0(
    impl: str, shape: tuple[int, ...], fill: Fill, smoothing: float
) -> None:
    z, nothing = fill(*shape), np.zeros((shape[0], *shape[2:]))
    for target in (labels(fill, shape), distributions(fill, shape)):
        dz = gradient(impl, z, target, label_smoothing=smoothing)
        assert_close(dz.sum(axis=1), nothing, "sum")


# ----------------------------------------------------------------------- softmax by other functions


@impls
@given(shape=shapes(), fill=real)
def test_log_softmax_is_the_logarithm_of_softmax(impl: str, shape, fill: Fill) -> None:
    z, dy = fill(*shape), fill(*shape)
    y, cache = softmax.forward(z, 1, impl=impl)
    log_y, log_cache = log_softmax.forward(z, 1, impl=impl)
    assert_close(log_y, np.log(y), "y")
    assert_close(y.sum(axis=1), np.ones((shape[0], *shape[2:])), "sum")
    through = softmax.backward(dy / y, cache, impl=impl)  # the chain rule: d(log y) = dy / y
    scale = np.abs(dy / y).max()
    assert_close(log_softmax.backward(dy, log_cache, impl=impl), through, "dx", scale)


@impls
@given(fill=real, n=st.integers(1, 9))
def test_of_two_classes_it_is_the_sigmoid_of_their_difference(impl: str, fill: Fill, n) -> None:
    z = 5 * fill(n, 2)
    y, _ = softmax.forward(z, 1, impl=impl)
    s, _ = sigmoid.forward(z[:, 0] - z[:, 1], impl=impl)
    assert_close(y[:, 0], s, "sigmoid")
    t, _ = tanh.forward((z[:, 0] - z[:, 1]) / 2, impl=impl)
    assert_close(2 * s - 1, t, "tanh")


# ------------------------------------------------------------------------ entropy and divergence


@impls
@given(shape=shapes(), fill=real)
def test_cross_entropy_is_entropy_and_divergence(impl: str, shape, fill: Fill) -> None:
    z, p = 3 * fill(*shape), distributions(fill, shape)
    entropy = scipy.special.entr(p).sum(axis=1)
    divergence = scipy.special.rel_entr(p, scipy.special.softmax(z, axis=1)).sum(axis=1)
    assert_close(losses(impl, z, p), entropy + divergence, "loss")


@impls
@given(shape=shapes(), fill=real)
def test_cross_entropy_is_least_at_the_true_distribution(impl: str, shape, fill: Fill) -> None:
    p = distributions(fill, shape, zeros=False)
    truth, z = np.log(p), fill(*shape)
    least = losses(impl, truth, p)
    assert_close(least, scipy.special.entr(p).sum(axis=1), "entropy")
    assert (losses(impl, z, p) >= least - 1e-12).all()
    assert_close(gradient(impl, truth, p), np.zeros(shape), "gradient")


@impls
@given(shape=shapes(), fill=real, smoothing=smoothings)
def test_cross_entropy_lies_above_its_tangents(impl, shape, fill: Fill, smoothing: float) -> None:
    """By no more than an eighth of the step's range squared, so that no other gradient will do.

    Along a step, the second derivative of log(sum(exp)) is the variance of the step under softmax,
    which lies between 0 and a quarter of its range squared.
    """
    z, direction, target = fill(*shape), fill(*shape), labels(fill, shape)
    dz = gradient(impl, z, target, label_smoothing=smoothing)
    for step in (1, -1, 1e-4, -1e-4):
        v = z + step * direction
        after = losses(impl, v, target, label_smoothing=smoothing)
        before = losses(impl, z, target, label_smoothing=smoothing)
        above = after - before - (dz * (v - z)).sum(axis=1)
        assert (above >= -1e-12).all()
        assert (above <= np.ptp(v - z, axis=1) ** 2 / 8 + 1e-12).all()


# --------------------------------------------------------------------------- targets, reductions


@impls
@given(shape=shapes(), fill=real)
def test_a_class_is_the_distribution_that_is_certain_of_it(impl: str, shape, fill: Fill) -> None:
    z, target = fill(*shape), labels(fill, shape)
    certain = one_hot(target, shape[1])
    assert_close(losses(impl, z, target), losses(impl, z, certain), "loss")
    assert_close(gradient(impl, z, target), gradient(impl, z, certain), "gradient")


@impls
@given(shape=shapes(), fill=real, smoothing=smoothings)
def test_smoothing_mixes_the_target_with_the_uniform_distribution(
    impl: str, shape: tuple[int, ...], fill: Fill, smoothing: float
) -> None:
    """The loss is linear in the target, so the losses mix as well."""
    z, target = fill(*shape), labels(fill, shape)
    uniform = np.full(shape, 1 / shape[1])
    for p, given_as in ((one_hot(target, shape[1]), target), (distributions(fill, shape),) * 2):
        mixture = (1 - smoothing) * p + smoothing * uniform
        smoothed = losses(impl, z, given_as, label_smoothing=smoothing)
        assert_close(smoothed, losses(impl, z, mixture), "mixture")
        parts = (1 - smoothing) * losses(impl, z, p) + smoothing * losses(impl, z, uniform)
        assert_close(smoothed, parts, "parts")
        dz = gradient(impl, z, given_as, label_smoothing=smoothing)
        assert_close(dz, gradient(impl, z, mixture), "gradient")


@impls
@pytest.mark.parametrize("loss", [cross_entropy, nll_loss])
@given(shape=shapes(), fill=real, weighted=st.booleans())
def test_the_mean_is_the_sum_over_what_the_samples_weigh(
    loss: ModuleType, impl: str, shape: tuple[int, ...], fill: Fill, weighted: bool
) -> None:
    z, target = fill(*shape), labels(fill, shape)
    weight = fill.rng.uniform(0.5, 2, shape[1]) if weighted else None
    weighs = weight[target].sum() if weighted else target.size
    (each, of_each), (added, of_sum), (mean, of_mean) = (
        loss.forward(z, target, weight, reduction=reduction, impl=impl)
        for reduction in ("none", "sum", "mean")
    )
    scale = np.abs(each).sum()
    assert_close(added, np.asarray(each.sum()), "sum", scale)
    assert_close(mean, np.asarray(each.sum() / weighs), "mean", scale)
    dz = loss.backward(1.0, of_sum, impl=impl)
    assert_close(loss.backward(np.ones_like(each), of_each, impl=impl), dz, "gradient of each")
    assert_close(loss.backward(1.0, of_mean, impl=impl), dz / weighs, "gradient of the mean")


@impls
@given(
    shape=shapes(),
    fill=real,
    weighted=st.booleans(),
    reduction=st.sampled_from(["none", "sum", "mean"]),
)
def test_cross_entropy_is_the_likelihood_of_log_softmax(
    impl: str, shape: tuple[int, ...], fill: Fill, weighted: bool, reduction: str
) -> None:
    z, target = fill(*shape), labels(fill, shape)
    options = {"weight": fill.rng.uniform(0.5, 2, shape[1])} if weighted else {}
    options |= {"ignore_index": int(target.flat[0])} if target.max() > target.min() else {}
    options |= {"reduction": reduction, "impl": impl}
    log_p, chances = log_softmax.forward(z, 1, impl=impl)
    y, likelihood = nll_loss.forward(log_p, target, **options)
    direct, cache = cross_entropy.forward(z, target, **options)
    assert_close(direct, y, "loss")
    dy = fill.rng.standard_normal(y.shape)
    through = log_softmax.backward(nll_loss.backward(dy, likelihood, impl=impl), chances, impl=impl)
    assert_close(cross_entropy.backward(dy, cache, impl=impl), through, "gradient")

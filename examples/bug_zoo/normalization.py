"""Batch normalisation: statistics that move with x, and the one that is kept."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from examples.bug_zoo.animal import Animal
from minicnn.testing import strategies as mst

AXES, EPS = (0, 2, 3), 1e-5


def batch_norm(x, weight):
    mean = x.mean(axis=AXES, keepdims=True)
    inverse_std = 1 / np.sqrt(x.var(axis=AXES, keepdims=True) + x.dtype.type(EPS))
    x_hat = (x - mean) * inverse_std
    return weight[:, None, None] * x_hat, (x_hat, inverse_std, weight)


def batch_norm_backward(dy, cache):
    """x_hat moves with x itself, with the mean, and with the variance: three terms."""
    x_hat, inverse_std, weight = cache
    dx_hat = weight[:, None, None] * dy
    dx = inverse_std * (dx_hat - _mean(dx_hat) - x_hat * _mean(dx_hat * x_hat))
    return dx, (dy * x_hat).sum(axis=AXES)


def mean_as_a_constant(dy, cache):
    x_hat, inverse_std, weight = cache
    dx_hat = weight[:, None, None] * dy
    dx = inverse_std * (dx_hat - x_hat * _mean(dx_hat * x_hat))
    return dx, (dy * x_hat).sum(axis=AXES)


def variance_as_a_constant(dy, cache):
    x_hat, inverse_std, weight = cache
    dx_hat = weight[:, None, None] * dy
    return inverse_std * (dx_hat - _mean(dx_hat)), (dy * x_hat).sum(axis=AXES)


def _mean(a):
    return a.mean(axis=AXES, keepdims=True)


def running_variance(x, running_var, momentum=0.1):
    """Return what the running variance becomes; nobody asks for its gradient."""
    unbiased = x.var(axis=AXES, ddof=1)
    return (1 - momentum) * running_var + momentum * unbiased, None


def biased_running_variance(x, running_var, momentum=0.1):
    return (1 - momentum) * running_var + momentum * x.var(axis=AXES), None


def no_gradients(dy, cache):
    return ()


@st.composite
def images_and_weights(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, c, h, w = (draw(st.integers(least, least + 2)) for least in (3, 1, 1, 1))
    fill = draw(mst.digits())
    return fill(n, c, h, w), fill(c)


updates = st.builds(
    lambda arrays, momentum: (*arrays, {"momentum": momentum}),
    images_and_weights(),
    st.sampled_from([1.0, 0.1]),
)

LAYER = (batch_norm, batch_norm_backward)

ANIMALS = [
    Animal(
        "batch norm, mean as a constant",
        "In x_hat = (x - mean) / std, the derivative with respect to x seems to be 1 / std, "
        "because the mean looks like a number. But the mean is a sum over all x, so each x "
        "acts on every x_hat through it.",
        LAYER, (batch_norm, mean_as_a_constant), images_and_weights(), "a mean, a maximum",
    ),
    Animal(
        "batch norm, variance as a constant",
        "Here the mean is handled and the variance is not, although every x changes it. The "
        "missing part is the gradient along x itself: stretching x changes nothing in y.",
        LAYER, (batch_norm, variance_as_a_constant), images_and_weights(), "a variance or a norm",
    ),
    Animal(
        "running variance biased",
        "Training divides by the biased variance, so it seems natural to store it. Every "
        "framework stores the unbiased one. With thousands of pixels the difference is "
        "invisible, with small batches it is large. The gradient is right; only a comparison "
        "shows the mistake.",
        (running_variance, no_gradients), (biased_running_variance, no_gradients),
        updates, "- 1) /", compare=True, how={"dtypes": ()},
    ),
]  # fmt: skip

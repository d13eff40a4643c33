"""Training: a step of Adam, and dropout. Their gradients are right; what they do is not."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from examples.bug_zoo.animal import Animal
from minicnn.testing import strategies as mst

# ------------------------------------------------------------------------------------------ adam


def adam(data, grad, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, correct=True):
    """Return the parameters after the first step, from moments of 0."""
    m, v = (1 - beta1) * grad, (1 - beta2) * grad**2
    if correct:
        m, v = m / (1 - beta1), v / (1 - beta2)
    return data - lr * m / (np.sqrt(v) + eps), None


def adam_without_correction(data, grad):
    return adam(data, grad, correct=False)


def no_gradients(dy, cache):
    return ()


@st.composite
def parameters_and_gradients(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    fill, size = draw(mst.digits()), draw(st.integers(1, 4))
    return fill(size), fill(size)


# --------------------------------------------------------------------------------------- dropout


def dropout(x, p, rng):
    kept = rng.random(x.shape) >= p
    scale = x.dtype.type(1 / (1 - p))
    return x * kept * scale, kept * scale


def dropout_unscaled(x, p, rng):
    kept = (rng.random(x.shape) >= p).astype(x.dtype)
    return x * kept, kept


def masked(dy, mask):
    return dy * mask


@st.composite
def arrays_and_options(draw: st.DrawFn) -> tuple[np.ndarray, dict]:
    x = draw(mst.digits())(draw(st.integers(1, 6)))
    rng = np.random.default_rng(draw(mst.seeds))
    return x, {"p": draw(st.sampled_from([0.1, 0.25, 0.4])), "rng": rng}


ANIMALS = [
    Animal(
        "Adam without bias correction",
        "The moments begin at 0 and are too small at first; the correction only matters for some "
        "steps. In the first it is a factor of (1 - beta1) / sqrt(1 - beta2) = 3.16, and the "
        "second moment stays too small for a thousand more.",
        (adam, no_gradients), (adam_without_correction, no_gradients), parameters_and_gradients(),
        None, compare=True, how={"dtypes": ()},
    ),
    Animal(
        "dropout not scaled",
        "Setting numbers to 0 is all that the name says, and forward and backward agree. But then "
        "inference sees sums that are 1 / (1 - p) times those of training.",
        (dropout, masked), (dropout_unscaled, masked), arrays_and_options(), "1 - p", compare=True,
    ),
]  # fmt: skip

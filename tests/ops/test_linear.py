"""The linear layer where few images meet weights that no cache holds: threads read these."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.ops import linear
from minicnn.testing.strategies import seeds
from tests.arrays import assert_close, assert_threads_change_no_bit

CALLED = linear._multiply, linear._multiply_back, linear._multiply_outer


@given(
    batch=st.sampled_from([(), (1,), (3,), (2, 4), (8,), (9,), (0,)]),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    turned=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=seeds,
)
def test_equals_the_textbook(
    batch: tuple, inputs: int, outputs: int, turned: bool, dtype: type, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*batch, inputs)).astype(dtype)
    weight = rng.standard_normal((outputs, inputs)).astype(dtype)
    if turned:
        weight = weight.T.copy().T
    dy = rng.standard_normal((*batch, outputs)).astype(dtype)
    x.flags.writeable = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "NEAR", 0)
        y, cache = linear.forward(x, weight, weight[:, 0])
        ours = linear.backward(dy, cache)
    expected, cache = linear.forward(x, weight, weight[:, 0], impl="textbook")
    theirs = linear.backward(dy, cache, impl="textbook")
    for a, b in zip((y, *ours), (expected, *theirs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == dtype
        assert_close(a, b, "linear", scale=40)


def test_threads_are_asked_for_few_images_and_many_weights_alone(monkeypatch) -> None:
    called = []
    for kernel in CALLED:
        monkeypatch.setattr(
            linear, kernel.__name__, lambda *args, name=kernel.__name__: called.append(name)
        )
    for images, outputs in ((8, 600), (9, 600), (8, 400)):
        x, weight = np.ones((images, 600), np.float32), np.ones((outputs, 600), np.float32)
        y, cache = linear.forward(x, weight)
        linear.backward(y, cache)
    assert called == [kernel.__name__ for kernel in CALLED]


def test_the_number_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((3, 601)), rng.standard_normal((599, 601))

    def results() -> list[np.ndarray]:
        y, cache = linear.forward(x, weight)
        return [y, *linear.backward(y, cache)[:2]]

    assert_threads_change_no_bit(results)

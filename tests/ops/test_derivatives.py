"""Backward is the transpose of the derivative of forward, by forward alone: no oracle is asked.

With J the derivative at x, <dy, J v> = <J^T dy, v> for every v and dy; the left side needs forward
only, the right side backward only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.testing.strategies import CALLS, WIDE, Call, Fill
from tests.arrays import MULTILINEAR, impls

LINEAR = sorted(MULTILINEAR | {"dropout"})
SMOOTH = ["cross_entropy", "gelu", "log_softmax", "sigmoid", "softmax", "tanh"]
WITH_KINKS = ["leaky_relu", "max_pool2d", "relu"]


def forward(call: Call, i: int, value: np.ndarray, impl: str) -> np.ndarray:
    """Return y with ``value`` in the place of argument ``i``."""
    arrays = (*call.arrays[:i], value, *call.arrays[i + 1 :])
    return Call(call.name, call.fill, arrays, call.options).forward(impl)[0]


def widened(call: Call) -> Call:
    """Return the same call in float64, where the identity holds to many digits."""
    arrays = tuple(
        a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in call.arrays
    )
    return Call(call.name, call.fill, arrays, call.options, call.differentiable)


def assert_transpose(
    call: Call, i: int, jv: np.ndarray, v: np.ndarray, impl: str, tolerance: float, size: float = 0
) -> None:
    """Raise unless <dy, jv> = <dx, v> for the gradient of argument ``i``.

    ``size`` is that of the numbers whose difference jv is.
    """
    y, cache = call.forward(impl)
    dy = call.fill.rng.standard_normal(y.shape)
    gradient = call.backward(dy, cache, impl)[i]
    left, right = dy * jv, gradient * v
    scale = max(np.abs(left).sum(), np.abs(right).sum(), np.abs(dy).sum() * size, 1.0)
    assert abs(left.sum() - right.sum()) <= tolerance * scale


def drawn(data: st.DataObject, name: str) -> Call:
    return widened(data.draw(CALLS[name](WIDE)))


@impls
@pytest.mark.parametrize("name", LINEAR)
@given(data=st.data())
def test_of_linear_operations(name: str, impl: str, data: st.DataObject) -> None:
    call = drawn(data, name)
    if not np.isfinite(call.forward(impl)[0]).all():
        return  # the mean of nothing
    for i, x in enumerate(call.arrays[: call.differentiable]):
        if x is not None:
            v = call.fill.rng.standard_normal(x.shape)
            at_zero = forward(call, i, np.zeros_like(v), impl)
            jv = forward(call, i, v, impl) - at_zero
            assert_transpose(call, i, jv, v, impl, 1e-12, np.abs(at_zero).max(initial=0))


def difference(call: Call, x: np.ndarray, v: np.ndarray, step: float, impl: str) -> np.ndarray:
    """Return the central difference of forward along ``v``."""
    return (forward(call, 0, x + step * v, impl) - forward(call, 0, x - step * v, impl)) / (
        2 * step
    )


@impls
@pytest.mark.parametrize("name", SMOOTH)
@given(data=st.data())
def test_of_smooth_operations(name: str, impl: str, data: st.DataObject) -> None:
    call = drawn(data, name)
    x = call.fill.rng.standard_normal(call.arrays[0].shape)
    call = Call(name, call.fill, (x, *call.arrays[1:]), call.options)
    if not np.isfinite(call.forward(impl)[0]).all():
        return
    v = call.fill.rng.standard_normal(x.shape)
    assert_transpose(call, 0, difference(call, x, v, 1e-5, impl), v, impl, 1e-8)


@impls
@pytest.mark.parametrize("name", WITH_KINKS)
@given(data=st.data())
def test_of_piecewise_linear_operations(name: str, impl: str, data: st.DataObject) -> None:
    call = drawn(data, name)
    shape, size = call.arrays[0].shape, call.arrays[0].size
    # All apart, none 0: within the step nothing changes its order or its sign.
    x = (call.fill.rng.permutation(size) - size // 2 + 0.5).reshape(shape)
    call = Call(name, call.fill, (x,), call.options)
    v = call.fill.rng.uniform(-1, 1, shape)
    assert_transpose(call, 0, difference(call, x, v, 0.125, impl), v, impl, 1e-10)


# -------------------------------------------------------------------- the check can say no


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "halved": lambda dy: dy / 2,
    "shifted": lambda dy: np.roll(dy, 1),
    "zero": lambda dy: 0 * dy,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_gradient_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Fill(np.float64, "normal", ("contiguous",), frozen=True, seed=0)
    call, v = Call("relu", fill, (np.ones(5),), {}), fill(5)
    assert_transpose(call, 0, v, v, "fast", 1e-12)  # where x > 0, ReLU is the identity
    monkeypatch.setattr(call.op, "backward", lambda dy, cache, impl: WRONG[wrong](dy))
    with pytest.raises(AssertionError):
        assert_transpose(call, 0, v, v, "fast", 1e-12)

"""Every operation and every implementation against torch: the value and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.testing.strategies import CALLS, WIDE
from tests import oracle
from tests.arrays import assert_close, impls, untouched

COMPARABLE = sorted(CALLS.keys() - {"dropout"})  # torch draws other masks


@impls
@pytest.mark.parametrize("name", COMPARABLE)
@given(data=st.data())
def test_value_and_gradients_equal_torchs(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    expected, dy, gradients = oracle.answer(call)
    scale, *scales = oracle.scales(call)
    with untouched(*call.arrays, dy):
        y, cache = call.forward(impl)
        ours = call.backward(dy, cache, impl)
    assert y.dtype == call.dtype
    assert_close(y, expected, f"y of {call}", scale)
    assert not any(np.may_share_memory(y, a) for a in call.arrays if a is not None)
    assert len(ours) == len(gradients)
    for i, (gradient, theirs, size) in enumerate(zip(ours, gradients, scales, strict=True)):
        if theirs is None:
            assert gradient is None
            continue
        assert gradient.dtype == call.dtype
        assert_close(gradient, theirs, f"gradient {i} of {call}", size)
        assert not np.may_share_memory(gradient, dy)

"""Every operation and every implementation against torch: the value and all gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from minicnn import ops
from minicnn.testing.strategies import CALLS, WIDE
from tests import oracle
from tests.arrays import assert_close, impls, sizes_of_terms, untouched

COMPARABLE = sorted(CALLS.keys() - {"dropout"})  # torch draws other masks


@impls
@pytest.mark.parametrize("name", COMPARABLE)
@given(data=st.data())
def test_value_and_gradients_equal_torchs(name: str, impl: str, data: st.DataObject) -> None:
    call = data.draw(CALLS[name](WIDE))
    expected, dy, gradients = oracle.answer(call)
    scale, *scales = sizes_of_terms(call)
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


DEFAULTS = {
    "avg_pool2d": torch.nn.AvgPool2d,
    "batch_norm": F.batch_norm,
    "conv2d": torch.nn.Conv2d,
    "cross_entropy": F.cross_entropy,
    "dropout": F.dropout,
    "fold": F.fold,
    "leaky_relu": F.leaky_relu,
    "local_response_norm": F.local_response_norm,
    "max_pool2d": torch.nn.MaxPool2d,
    "nll_loss": F.nll_loss,
    "unfold": F.unfold,
}


def defaults(function: Callable) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_torchs(name: str) -> None:
    ours, theirs = defaults(getattr(ops, name).forward), defaults(DEFAULTS[name])
    ours = {
        option: value for option, value in ours.items() if option in theirs and option != "bias"
    }
    assert ours
    assert ours == {option: theirs[option] for option in ours}

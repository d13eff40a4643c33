"""Which pixel wins: torch tells its place in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given

from minicnn.ops import max_pool2d
from minicnn.testing.strategies import WIDE, calls
from tests.arrays import impls
from tests.oracle import to_numpy, to_torch


def places(cache: max_pool2d.Cache) -> np.ndarray:
    """Return where in the image each winner lies, as row * width + column."""
    g = cache.windows
    r, s = np.divmod(cache.winner.astype(np.int64), g.kw)
    rows = np.arange(g.oh)[:, None] * g.sh + r * g.dh - g.top
    columns = np.arange(g.ow) * g.sw + s * g.dw - g.left
    return rows * g.w + columns


def torchs_places(x: np.ndarray, *args, **options) -> np.ndarray:
    return to_numpy(F.max_pool2d(to_torch(x), *args, **options, return_indices=True)[1])


@impls
@given(call=calls.max_pool2d(WIDE))
def test_winners_are_torchs(impl: str, call: calls.Call) -> None:
    _, cache = call.forward(impl)
    np.testing.assert_array_equal(places(cache), torchs_places(call.arrays[0], **call.options))


@impls
@pytest.mark.parametrize("value", [0.0, -np.inf, np.nan, np.inf])
def test_of_equals_the_first_wins_but_of_nans_the_last(impl: str, value: float) -> None:
    x = np.full((2, 3, 7, 5), value)
    _, cache = max_pool2d.forward(x, (3, 2), 2, 1, impl=impl)
    np.testing.assert_array_equal(places(cache), torchs_places(x, (3, 2), 2, 1))


@impls
def test_zeros_of_either_sign_are_equals(impl: str) -> None:
    x = np.array([-0.0, 0.0, 0.0, -0.0]).reshape(1, 1, 2, 2)
    _, cache = max_pool2d.forward(x, 2, impl=impl)
    assert places(cache).item() == torchs_places(x, 2).item() == 0


@impls
@pytest.mark.parametrize("kernel", [(15, 17), (16, 16), (300, 1)])
def test_winners_in_windows_of_more_pixels_than_a_byte_counts(impl: str, kernel) -> None:
    x = np.random.default_rng(0).integers(0, 99, (2, 3, 301, 18)).astype(np.float32)
    _, cache = max_pool2d.forward(x, kernel, impl=impl)
    np.testing.assert_array_equal(places(cache), torchs_places(x, kernel))

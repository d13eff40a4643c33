"""How results are compared, and what most tests are run over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numba
import numpy as np
import pytest

from minicnn.backend import IMPLS
from minicnn.testing.strategies import Call

impls = pytest.mark.parametrize("impl", IMPLS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled in this run")
trains = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="training takes hours where nothing is compiled"
)
large = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="loops of this size take minutes as plain Python"
)
whole_networks = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="whole networks take too long as plain Python"
)

# Each argument enters as a factor: the sum of the magnitudes of all terms is the same call on
# absolute values.
MULTILINEAR = {
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "conv2d",
    "fold",
    "linear",
    "nll_loss",
    "unfold",
}

TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}  # relative to the scale of the result


def assert_close(actual: np.ndarray, expected: np.ndarray, what: str, scale: float = 1.0) -> None:
    """Raise unless ``actual`` is ``expected`` but for rounding in ``actual``'s dtype.

    The difference is measured against the greatest of ``expected``, of ``scale`` and of 1. NaN and
    infinities have to stand at the same places.
    """
    assert isinstance(actual, np.ndarray), f"{what}: {type(actual).__name__} is no array"
    assert actual.shape == expected.shape, f"{what}: {actual.shape} is not {expected.shape}"
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, scale, finite.max(initial=0))
    tolerance = TOLERANCE[actual.dtype.type] * scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=what)


def sizes_of_terms(call: Call) -> tuple[float, ...]:
    """Return how large the terms are that y and each gradient are sums of, or ones."""
    if call.name not in MULTILINEAR:
        return (1.0,) * (1 + call.differentiable)
    arrays = [np.abs(a) if a is not None and a.dtype.kind == "f" else a for a in call.arrays]
    magnitudes = Call(call.name, call.fill, tuple(arrays), call.options, call.differentiable)
    y, cache = magnitudes.forward("textbook")
    gradients = magnitudes.backward(np.full_like(y, 3), cache, "textbook")
    return tuple(
        0.0 if a is None else np.nan_to_num(np.abs(a)).max(initial=0) for a in (y, *gradients)
    )


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Have kernels use so many threads."""
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def assert_threads_change_no_bit(results: Callable[[], Iterable[np.ndarray]]) -> None:
    """Raise unless ``results()`` has the same bits on one thread and on all that there are."""
    most = numba.config.NUMBA_NUM_THREADS
    if most < 2:
        pytest.skip("Numba is held to one thread")
    with on_threads(1):
        alone = [array.tobytes() for array in results()]
    with on_threads(most):
        shared = [array.tobytes() for array in results()]
    assert shared == alone


@contextmanager
def untouched(*arrays: np.ndarray | None) -> Iterator[None]:
    """Raise if one of the arrays, or the memory it lies in, is different afterwards."""
    bases = [a if a.base is None else a.base for a in arrays if a is not None]
    before = [base.tobytes() for base in bases]
    yield
    for base, bits in zip(bases, before, strict=True):
        assert base.tobytes() == bits, "an argument was written to"

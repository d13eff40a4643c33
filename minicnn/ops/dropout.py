"""Dropout: in training, each number is set to 0 with probability p, the others grow by 1/(1-p).

Shapes
    x, y, dx, dy: any, equal
Derivation
    With m = 1 where a number is kept and s = 1/(1-p), y = m * s * x, so dx = m * s * dy. The
    expectation of y is (1-p) * s * x = x: inference needs no scaling, and is the identity.
Conventions
    Numbers are drawn from ``rng`` in the order of x's indices, not of its memory.
Source
    Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import prange

from minicnn.backend import IMPLS, Impl, flat, flat_like, kernel
from minicnn.shapes import check_choice, check_float, check_gradient


class Cache(NamedTuple):
    kept: np.ndarray | None  # None: all
    scale: np.floating
    shape: tuple[int, ...]


def forward(
    x: Float[np.ndarray, "*shape"],
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    impl: Impl = "fast",
) -> tuple[Float[np.ndarray, "*shape"], Cache]:
    """Return ``(y, cache)``. In training, ``rng`` is needed; it moves on by ``x.size`` draws."""
    check_choice("dropout", "impl", impl, IMPLS)
    dtype = check_float("dropout", x=x)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}.")
    if not training or p == 0:
        cache = Cache(None, dtype.type(1), x.shape)
        return _mask(x, cache, impl), cache
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"dropout: training needs rng, a numpy.random.Generator, got {type(rng).__name__}. "
            "Use rng=np.random.default_rng(seed)."
        )
    kept = rng.random(x.shape, dtype=np.float32) >= p
    cache = Cache(kept, dtype.type(0 if p == 1 else 1 / (1 - p)), x.shape)
    return _mask(x, cache, impl), cache


def backward(
    dy: Float[np.ndarray, "*shape"], cache: Cache, *, impl: Impl = "fast"
) -> Float[np.ndarray, "*shape"]:
    """Return ``dx``."""
    check_choice("dropout", "impl", impl, IMPLS)
    check_gradient("dropout", dy, cache.shape, cache.scale.dtype)
    return _mask(dy, cache, impl)


def _mask(v: np.ndarray, cache: Cache, impl: Impl) -> np.ndarray:
    """Return m * s * v: with v = x that is y, with v = dy it is dx."""
    if cache.kept is None:
        return v.copy(order="K")
    if impl == "textbook":
        return np.asarray(cache.kept * cache.scale * v)
    out = np.empty_like(v)
    _mask_fast(flat_like(v, out), flat_like(cache.kept, out), cache.scale, flat(out))
    return out


@kernel(parallel=True)
def _mask_fast(v, kept, scale, out):
    for i in prange(v.size):
        out[i] = kept[i] * scale * v[i]

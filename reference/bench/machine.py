"""What the machine can do at most: multiply-adds in registers, matrix products, memory.

No step can take less time than its products at the first rate (but fewer products, as Winograd's,
may do), nor less than its bytes at the rate of memory: the roofline of Williams, Waterman &
Patterson (2009). Matrix products of whole libraries show how near to it real code comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads, njit, prange, set_num_threads

from minicnn.kernels.simd import VECTOR_BYTES, Tile, lanes_of, load
from minicnn.kernels.simd_rows import add_products, load_rows, steps, store_rows

CHAINS = 12  # of multiply-adds that do not wait for each other: latency 4 times 2 units, and more
LANES = lanes_of(np.dtype(np.float32))
_TILE = Tile(CHAINS, VECTOR_BYTES)
ROUNDS = 200_000  # of CHAINS * LANES multiply-adds; some 5 ms
SIDE = 1536  # of the matrices
TRIAD = 2**24  # elements of each of three vectors: 64 MB each, more than most caches hold
REPEATS = 5  # of which the fastest counts


class Peak(NamedTuple):
    """The most that was measured on so many threads."""

    threads: int
    fma: float  # FLOP/s, of fused multiply-adds in registers
    sgemm_torch: float  # FLOP/s
    sgemm_numpy: float  # FLOP/s
    memory: float  # bytes/s read and written


@njit
def _multiply_add(vectors, factors, rounds):
    """Add a number times a vector to CHAINS vectors, ``rounds`` times: ``v = v + a * b``."""
    places, one = steps(0, factors.size, _TILE), steps(0, 0, _TILE)
    factor, sums = load(factors, 0, _TILE), load_rows(vectors, places, _TILE)
    for _ in range(rounds):
        sums = add_products(sums, factors, one, 0, factor)
    store_rows(sums, vectors, places)


@njit(parallel=True)
def _multiply_adds(vectors, factors, rounds):
    for thread in prange(vectors.shape[0]):
        _multiply_add(vectors[thread], factors, rounds)


@njit(parallel=True)
def _triad(a, b, c):
    for i in prange(a.size):
        a[i] = b[i] + np.float32(2) * c[i]


def measure(threads: int) -> Peak:
    """Return what this machine can do on so many threads; it takes a second."""
    import torch

    from reference.bench.sides.peers import use_blas_threads

    before = get_num_threads(), torch.get_num_threads(), use_blas_threads(threads)
    set_num_threads(threads)
    torch.set_num_threads(threads)
    chains = np.arange(threads * CHAINS * LANES, dtype=np.float32).reshape(threads, -1)
    factors = np.full(LANES, 0.5, np.float32)
    vectors = [np.ones(TRIAD, np.float32) for _ in range(3)]
    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    tensor = torch.tensor(matrix)
    try:
        return Peak(
            threads,
            2 * ROUNDS * chains.size / _fastest(_multiply_adds, chains, factors, ROUNDS),
            2 * SIDE**3 / _fastest(torch.mm, tensor, tensor),
            2 * SIDE**3 / _fastest(np.matmul, matrix, matrix),
            sum(vector.nbytes for vector in vectors) / _fastest(_triad, *vectors),
        )
    finally:
        set_num_threads(before[0])
        torch.set_num_threads(before[1])
        use_blas_threads(before[2])


def _fastest(function: Callable, *arguments: Any) -> float:
    """Return the seconds of the fastest of some calls, after one that does not count."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])

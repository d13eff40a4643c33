"""What the machine can do at most: multiply-adds in registers, matrix products, memory.

No step can take less time than its products at the first rate (but fewer products, as Winograd's,
may do), nor less than its bytes at the rate of memory: the roofline of Williams, Waterman &
Patterson (2009). Matrix products of whole libraries show how near to it real code comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, prange, set_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic

CHAINS = 12  # of multiply-adds that do not wait for each other: latency 4 times 2 units, and more
LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8
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


@intrinsic
def _multiply_add(typing, rounds):
    """Run CHAINS vectors of LANES float32 through ``rounds`` of ``v = v * a + b``; return a sum."""

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), LANES)
        a, b = (ir.Constant(vector, [x] * LANES) for x in (0.5, 1.0))
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )
        starts = (ir.Constant(vector, [float(i)] * LANES) for i in range(CHAINS))
        chains = [cgutils.alloca_once_value(builder, start) for start in starts]
        with cgutils.for_range(builder, arguments[0]):
            for chain in chains:
                builder.store(builder.call(fma, [builder.load(chain), a, b]), chain)
        total = builder.load(chains[0])
        for chain in chains[1:]:
            total = builder.fadd(total, builder.load(chain))
        lanes = [builder.extract_element(total, ir.IntType(32)(i)) for i in range(LANES)]
        answer = lanes[0]
        for lane in lanes[1:]:
            answer = builder.fadd(answer, lane)
        return answer

    return types.float32(types.int64), generate


@njit(parallel=True)
def _multiply_adds(sums, rounds):
    for thread in prange(sums.size):
        sums[thread] = _multiply_add(rounds)  # type: ignore[call-arg]


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
    sums = np.zeros(threads, np.float32)
    vectors = [np.ones(TRIAD, np.float32) for _ in range(3)]
    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    tensor = torch.tensor(matrix)
    try:
        return Peak(
            threads,
            2 * threads * ROUNDS * CHAINS * LANES / _fastest(_multiply_adds, sums, ROUNDS),
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

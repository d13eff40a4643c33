"""What every operation needs of the machine: kernels, arrangement in memory, threads of BLAS."""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numba
import numpy as np
from numba.extending import typeof_impl
from threadpoolctl import ThreadpoolController

from minicnn import kernel_cache, numba_internals, pool

Impl = Literal["fast", "textbook"]
IMPLS: tuple[Impl, ...] = ("fast", "textbook")
LINE = 64  # bytes of a line of the cache, or a multiple of them

# Additions may be reordered, so that sums run on vectors, and fused with products. That also undoes
# an order chosen for its rounding, as in log_softmax: hence ``reorder``. NaN and infinities keep
# their meaning: "nnan" and "ninf" stay out.
_FASTMATH = {"reassoc", "contract", "nsz"}


def kernel(
    function: Callable | None = None,
    *,
    parallel: bool = False,
    shares: bool = False,
    reorder: bool = True,
) -> Any:
    """Compile with Numba, cached on disk.

    parallel   Iterations of ``prange`` share the cores.
    shares     It calls ``share`` of parallel.py, as the kernels of ``shared`` do.
    reorder    ``False`` keeps the order of additions, where rounding depends on it.
    """
    if function is None:
        return functools.partial(kernel, parallel=parallel, shares=shares, reorder=reorder)
    compiled = _compile(function, reorder, parallel=parallel)
    return pool.launched(compiled) if parallel or shares else compiled


def inner(
    function: Callable | None = None,
    *,
    allocates: bool = False,
    reorder: bool = True,
    inline: bool = False,
) -> Any:
    """Compile what only kernels call, without a way in from Python, which takes as long again.

    ``inline`` has LLVM copy it to where it is called; else LLVM weighs that by the size.

    Unless it ``allocates`` arrays, it does not count references to any: each count is a locked
    instruction, and in a loop over pixels they take longer than the pixels. What it writes does
    not overlap with the other arrays that it is given.
    """
    if function is None:
        return functools.partial(inner, allocates=allocates, reorder=reorder, inline=inline)
    options = {**numba_internals.counting_references(allocates), **numba_internals.NO_WAY_IN}
    return _hidden(_compile(function, reorder, forceinline=inline, **options))


def task(function: Callable) -> Any:
    """Compile a task of ``share``, see parallel.py. Of overlaps, the same holds as for inner."""
    return _hidden(_compile(function, True, **numba_internals.NO_WAY_IN))


def _compile(function: Callable, reorder: bool, **options: Any) -> Any:
    fastmath = _FASTMATH if reorder else {"contract"}
    return kernel_cache.enable(
        numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath, **options)
    )


class _Hidden:
    """A kernel for kernels. Numba takes it for the kernel; called from Python, it would crash."""

    def __init__(self, compiled: Any) -> None:
        functools.update_wrapper(self, compiled, updated=())
        self.__wrapped__ = compiled
        self._name = f"{compiled.__module__}.{compiled.__name__}"

    def __call__(self, *args: Any) -> None:
        raise TypeError(
            f"{self._name} is compiled for kernels to call it, not Python. To call it from Python, "
            "set NUMBA_DISABLE_JIT=1 before the import."
        )


def _hidden(compiled: Any) -> Any:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return compiled
    numba_internals.without_overlap(compiled)
    return _Hidden(compiled)


@typeof_impl.register(_Hidden)
def _type_of_hidden(value: _Hidden, context: Any) -> Any:
    return typeof_impl(value.__wrapped__, context)


_said_to_compile = False


def _say_once(compiled: Any) -> None:
    """Say on stderr that the wait is for the compiler."""
    global _said_to_compile
    ours = getattr(getattr(compiled, "py_func", None), "__module__", "") or ""
    if ours.startswith("minicnn") and not _said_to_compile:
        _said_to_compile = True
        print(
            "minicnn: compiling kernels for this processor; "
            "this takes some seconds and is cached for the next time.",
            file=sys.stderr,
        )


numba_internals.when_compiling(_say_once)


def nhwc(x: np.ndarray) -> np.ndarray:
    """Return ``x`` (n, c, h, w) as a contiguous array (n, h, w, c), copied only if it has to be.

    Read-only arrays are copied as well: to Numba they are another type, and a copy costs less
    than compiling every kernel twice.
    """
    return np.require(x.transpose(0, 2, 3, 1), requirements=["C", "W"])


def nchw(x: np.ndarray) -> np.ndarray:
    """Return a view (n, c, h, w) of the contiguous array (n, h, w, c): channels last in memory."""
    return x.transpose(0, 3, 1, 2)


def dim_last(x: np.ndarray, dim: int) -> np.ndarray:
    """Return ``x`` contiguous with the axis ``dim`` moved to the end, copied only if need be."""
    return np.require(np.moveaxis(x, dim, -1), requirements=["C", "W"])


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array like numpy.empty's that begins where a line of the cache does.

    A vector that reaches into a second line takes twice as long to read, and longer to write.
    """
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size].view(dtype).reshape(shape)


def flat(x: np.ndarray) -> np.ndarray:
    """Return the elements of ``x`` as one contiguous vector in the order of memory.

    A copy is made only where there are gaps, or where ``x`` is read-only.
    """
    return np.require(x.ravel(order="K"), requirements=["C", "W"])


def flat_like(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``x`` as one contiguous vector in the order in which ``flat`` takes ``y``."""
    if x.strides != y.strides:
        x, source = np.empty_like(y, dtype=x.dtype), x
        x[...] = source
    return flat(x)


# Threads that wait for others spin for a while, then sleep. libgomp's own choice is to spin for
# milliseconds, which is for nothing where another process has taken the core: two busy processes
# made a step 60 times slower, with this count 3 times. libgomp reads it when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _keep_freed_memory() -> None:
    """Have malloc reuse what arrays give back, instead of returning it to the system each time.

    A page that comes fresh from the system is cleared when it is first touched, which takes longer
    than filling it. glibc sets its threshold by the largest block freed so far, up to 32 MB; this
    block is never touched, so it takes no memory. Elsewhere it does nothing.
    """
    np.empty(2**25 - 2**16, np.uint8)


_keep_freed_memory()


class _OneThread:
    """Holds BLAS to one thread while at least one Python thread is inside; then restores it.

    Most builds of BLAS have one number of threads for the process; those on OpenMP have one for
    each Python thread, which therefore comes and goes by itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = threading.local()
        self._inside = 0
        self._before: list[int] = []

    @functools.cached_property
    def _libraries(self) -> list[Any]:
        """Those loaded by the first time, NumPy's among them: the products here are NumPy's."""
        return ThreadpoolController().select(user_api="blas").lib_controllers

    def _release(self) -> None:
        """Have threadpoolctl obey any Python thread again, not only the first that called it."""
        for library in self._libraries:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    def enter(self) -> None:
        self._own.depth = getattr(self._own, "depth", 0) + 1
        if self._own.depth > 1:
            return
        with self._lock:
            if self._inside == 0:
                self._before = [library.get_num_threads() for library in self._libraries]
                self._release()
            self._inside += 1
            for library in self._libraries:
                library.set_num_threads(1)

    def leave(self) -> None:
        self._own.depth -= 1
        if self._own.depth:
            return
        with self._lock:
            self._inside -= 1
            last = self._inside == 0
            if last:
                self._release()
            for library, threads in zip(self._libraries, self._before, strict=True):
                if last or getattr(library, "threading_layer", "") == "openmp":
                    library.set_num_threads(threads)
            if last:
                self._release()


_one_thread = _OneThread()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold NumPy's matrix products to one thread.

    BLAS and Numba each keep a pool of threads that wait by spinning. Side by side they fight for
    the cores, and a step of 0.6 ms takes 8. So the cores belong to Numba's pool, and a product
    beside it runs on one thread. It also makes the result independent of the number of cores.
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()

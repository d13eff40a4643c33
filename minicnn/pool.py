"""Numba's pool of threads: how many of them work, who may call them, and what a fork leaves.

``set_threads`` holds for every Python thread, where ``numba.set_num_threads`` holds for the one
that calls it. The number of threads changes no bit of any result, so it may change at any time.

Under GNU OpenMP, Linux's default, the threads of a pool do not exist any more in a fork of their
process, and the pool would wait for them for ever; Numba ends such a process. Here the fork goes on
instead: the one Python thread that it has computes alone, and threads that it starts get a pool of
their own.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba

from minicnn import numba_internals
from minicnn.shapes import integer

DISABLED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]


class _Local(threading.local):
    obeyed = 0  # the order that this Python thread has obeyed last
    left_by_fork = False  # its pool had threads that a fork did not copy


_local = _Local()
_order = 1  # counts what all Python threads have to obey: numbers of threads, and forks
_threads: int | None = None  # that kernels work on; None: as Numba has it
_demanded = False  # whether the user has set it; then minicnn leaves it as it is


def most_threads() -> int:
    """Return how many threads there are to compute with."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def set_threads(n: int | None) -> None:
    """Compute on ``n`` threads from now on; None leaves the choice to minicnn again.

    Results are the same, bit for bit. Left alone, minicnn takes as many threads as there are cores,
    and a training or an evaluation fewer, as long as other programs keep cores busy. Raises
    ValueError where there are not so many threads.
    """
    global _demanded
    if n is not None:
        integer("set_threads", "n", n, 1)
        if n > most_threads():
            raise ValueError(
                f"set_threads: there are {most_threads()} threads, got {n}. Use at most as many, "
                "or set NUMBA_NUM_THREADS before the import."
            )
    _demanded = n is not None
    order(most_threads() if n is None else n)


def threads() -> int:
    """Return on how many threads kernels work that this Python thread calls."""
    if DISABLED:
        return 1
    _obey()
    return int(numba.get_num_threads())


def demanded() -> bool:
    """Whether the user has said how many threads to take."""
    return _demanded


def order(n: int) -> None:
    """Have every Python thread compute on ``n`` threads, from its next kernel on."""
    global _order, _threads
    _threads = n
    _order += 1


def give_back(n: int) -> None:
    """End what ``order`` began, in the Python thread that computed on ``n`` threads before."""
    global _threads, _order
    _threads = None
    _order += 1
    numba.set_num_threads(n)
    _local.obeyed = _order


def launched(compiled: Callable) -> Callable:
    """Return a parallel kernel that obeys, works after a fork, and takes its turn if need be."""
    if DISABLED:
        return compiled
    if _takes_one_caller():

        @functools.wraps(compiled)
        def run_in_turn(*args: Any) -> Any:
            if _local.obeyed != _order:
                _obey()
            with _turn:
                return compiled(*args)

        return run_in_turn

    @functools.wraps(compiled)
    def run(*args: Any) -> Any:
        if _local.obeyed != _order:
            _obey()
        return compiled(*args)

    return run


def _obey() -> None:
    """Start the threads, and set how many of them work for this Python thread."""
    obeyed = _order
    numba.get_num_threads()  # starts them, in a process that has none yet
    if _forked and numba.threading_layer() == "omp" and sys.platform == "linux":
        _relaunch()
    if _local.left_by_fork:
        numba.set_num_threads(1)
    elif _threads is not None:
        numba.set_num_threads(min(_threads, most_threads()))
    _local.obeyed = obeyed


# ---------------------------------------------------------------------------------- one at a time


@functools.cache
def _takes_one_caller() -> bool:
    """Whether Numba's pool of threads stops the process when two Python threads call it at once.

    OpenMP and TBB serve both. Where neither is installed, Numba has a pool of its own that does so.
    """
    chosen = numba.config.THREADING_LAYER  # type: ignore[attr-defined]
    if chosen == "default":
        layers = numba.config.THREADING_LAYER_PRIORITY  # type: ignore[attr-defined]
    else:
        groups = {"forksafe": ["tbb"], "threadsafe": ["tbb", "omp"], "safe": ["tbb"]}
        layers = groups.get(chosen, [chosen])
    for layer in layers:  # the first that can be loaded, as Numba itself chooses
        if numba_internals.loads(layer):
            return bool(layer == "workqueue")
    return True


_turn = threading.Lock()


# ------------------------------------------------------------------------------------- after forks

_forked = False  # this process is a fork of one that may have used the pool


def _after_fork() -> None:
    global _forked, _turn, _order
    _forked, _turn = True, threading.Lock()  # who held the old one is not here
    _local.left_by_fork = True
    _order += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _relaunched(process: int) -> None:
    """Tell Numba, once, that the pool belongs to this process."""
    numba_internals.relaunch_openmp(most_threads())


def _relaunch() -> None:
    _relaunched(os.getpid())

"""share: each task once, on the threads there are, and what a task raises reaches the caller."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.backend import kernel, task
from minicnn.kernels.parallel import share, shared
from tests.arrays import compiled, on_threads


@task
def _count(task, times, scale, place):
    times[task] += scale * place[1][task]


@kernel(shares=True)
def count(tasks, times, scale, place):
    share(tasks, _count, (times, scale, place))


@shared(limited=True)
def count_alone(task, times, scale, place):
    """Count."""
    times[task] += scale * place[1][task]


@shared
def tell(task, tasks, told):
    told[task] = tasks


@task
def _fail(task, done, bad):
    if task == bad:
        raise ValueError("task of no use")
    done[task] = 1


@kernel(shares=True)
def fail(tasks, done, bad):
    share(tasks, _fail, (done, bad))


@numba.njit
def _help(task, done, seen):
    """Task 0 waits until somebody else has done task 1 of the same part."""
    if task == 0:
        for _ in range(20_000_000_000):  # half a minute: the other may have to wait for a core
            if done[1] + numba.get_thread_id() - numba.get_thread_id() > 0:  # read each time
                seen[0] = 1
                break
    if task == 2:
        seen[1] = done[1]
    done[task] = 1


@task
def _return(task, values):
    values[task] = 1
    return task


@kernel(shares=True)
def returning(values):
    share(1, _return, (values,))


@kernel(shares=True)
def help_out(done, seen):
    share(4, _help, (done, seen))


@given(tasks=st.integers(0, 200), threads=st.integers(1, 5))
def test_each_task_is_done_once(tasks: int, threads: int) -> None:
    times, values = np.zeros(200), np.arange(1.0, 201)
    count(tasks, times, 2.0, (7, values))
    count_alone(tasks, threads, times, 1.0, (7, values))
    np.testing.assert_array_equal(times[:tasks], 3 * values[:tasks])
    assert not times[tasks:].any()


@given(tasks=st.integers(1, 50), data=st.data())
def test_what_a_task_raises_reaches_the_caller_once(tasks: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, tasks - 1))
    done = np.zeros(tasks)
    with pytest.raises(ValueError, match="of no use"):
        fail(tasks, done, bad)
    assert done[bad] == 0
    fail(tasks, done, -1)
    assert done.all()


def test_a_kernel_made_of_its_task_keeps_name_and_docstring_and_may_know_how_many_there_are() -> (
    None
):
    assert (count_alone.__name__, count_alone.__doc__) == ("count_alone", "Count.")
    told = np.zeros(5)
    tell(4, told)
    np.testing.assert_array_equal(told, [4, 4, 4, 4, 0])


@compiled
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
def test_each_thread_begins_with_its_own_part_and_then_helps_the_others() -> None:
    done, seen = np.zeros(4, np.int64), np.zeros(2, np.int64)
    with on_threads(2):
        help_out(done, seen)
    assert done.all()
    assert seen[0], "nobody has helped"
    if numba.threading_layer() == "omp":
        assert not seen[1], "the second thread has begun with the first one's part"


@compiled
def test_a_task_that_returns_something_is_refused() -> None:
    with pytest.raises(numba.TypingError, match=r"a task returns nothing, but .* returns int64"):
        returning(np.zeros(1))


def test_python_threads_share_at_once() -> None:
    results = [np.zeros(100) for _ in range(4)]

    def run(times: np.ndarray) -> None:
        for _ in range(50):
            count(100, times, 1.0, (0, np.ones(100)))

    workers = [threading.Thread(target=run, args=(times,)) for times in results]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for times in results:
        np.testing.assert_array_equal(times, 50)


@compiled
def test_a_kernel_for_kernels_refuses_python() -> None:
    with pytest.raises(TypeError, match=r"tests\.test_threads\._count is compiled for kernels"):
        _count(0, np.zeros(1), 1.0, (0, np.ones(1)))


ONE_CALL = """
import numpy as np
from tests.test_threads import count
times = np.zeros(5)
count(5, times, 1.0, (0, np.ones(5)))
while not hasattr(count, "stats"):
    count = count.__wrapped__
print(times, sum(count.stats.cache_hits.values()))
"""


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_cached_kernel_finds_the_pool(tmp_path: Path, layer: str) -> None:
    environment = {
        **os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_THREADING_LAYER": layer
    }  # fmt: skip
    for hits in range(2):
        done = subprocess.run(
            [sys.executable, "-c", ONE_CALL], env=environment, capture_output=True, text=True
        )
        assert done.stdout == f"[1. 1. 1. 1. 1.] {hits}\n", done.stderr


def test_names_that_a_kernel_made_of_its_task_needs_are_refused() -> None:
    def work(task, threads):
        pass

    with pytest.raises(TypeError, match="@shared: work has a parameter 'threads'"):
        shared(work, limited=True)

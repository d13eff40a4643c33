"""The pool: its size, forks, and how a loop finds the number of threads that makes it fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import numba
import numpy as np
import pytest

import minicnn
from minicnn import pace, pool
from tests.arrays import compiled

several = pytest.mark.skipif(pool.most_threads() < 2, reason="one thread")


@compiled
@several
def test_set_threads_holds_until_it_is_taken_back() -> None:
    try:
        minicnn.set_threads(1)
        assert pool.threads() == numba.get_num_threads() == 1
        assert pool.demanded()
    finally:
        minicnn.set_threads(None)
    assert pool.threads() == pool.most_threads()
    assert not pool.demanded()


@pytest.mark.parametrize("n", [0, -1, pool.most_threads() + 1])
def test_a_number_of_threads_that_there_is_not_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="set_threads: "):
        minicnn.set_threads(n)


FORKS = """
import os, threading, sys
import numpy as np
from minicnn import ops
x = np.random.default_rng(0).standard_normal((8, 3, 32, 32), np.float32)
weight = np.ones((4, 3, 3, 3), np.float32)
def compute():
    y, cache = ops.conv2d.forward(x, weight)
    return y.tobytes() + ops.relu.forward(y)[0].tobytes()
before = compute()
process = os.fork()
if process == 0:
    found = [compute()]
    thread = threading.Thread(target=lambda: found.append(compute()))
    thread.start()
    thread.join()
    os._exit(0 if found == [before] * 2 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("layer", ["default", "workqueue"])
@pytest.mark.slow
def test_a_fork_of_a_process_that_has_computed_computes(layer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], env={**os.environ, "NUMBA_THREADING_LAYER": layer},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "0\n", done.stderr


# ------------------------------------------------------------------------------------------ pace


class Machine:
    """A clock, and steps that last as long as ``cost`` says of a number of threads."""

    def __init__(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.threads, self.log = 0.0, most, list[int]()
        monkeypatch.setattr(pool, "threads", lambda: most)
        monkeypatch.setattr(pool, "demanded", lambda: False)
        monkeypatch.setattr(pool, "order", self._order)
        monkeypatch.setattr(pool, "give_back", self._order)
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)

    def _order(self, n: int) -> None:
        self.threads = n

    def run(self, chosen: pace.Pace, seconds: float, cost: Callable[[int], float]) -> float:
        """Take steps for so long; return how much longer they took than the best number's."""
        end, best, steps = self.now + seconds, min(map(cost, range(1, 17))), 0
        start = self.now
        with chosen:
            while self.now < end:
                self.now += cost(self.threads)
                chosen.lap()
                steps += 1
                self.log.append(self.threads)
        return (self.now - start) / (steps * best)


def quiet(threads: int) -> float:
    return 0.0003 + 0.0007 / min(threads, 2)


def busy(threads: int) -> float:
    return 0.08 if threads > 1 else 0.0057


def test_on_a_quiet_machine_all_threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, chosen = Machine(2, monkeypatch), pace.Pace()
    assert machine.run(chosen, 60, quiet) < 1.01
    assert chosen.threads == 2


def test_on_a_busy_machine_one_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, chosen = Machine(2, monkeypatch), pace.Pace()
    machine.run(chosen, 5, busy)
    assert chosen.threads == 1
    assert machine.run(chosen, 60, busy) < 1.1


def test_a_change_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, chosen = Machine(2, monkeypatch), pace.Pace()
    machine.run(chosen, 30, quiet)
    machine.run(chosen, 1.5, busy)
    assert chosen.threads == 1
    machine.run(chosen, 20, quiet)
    assert chosen.threads == 2


def test_of_many_threads_the_best_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def half_busy(threads: int) -> float:
        return 0.001 + 0.016 / threads if threads <= 8 else 0.05

    machine, chosen = Machine(16, monkeypatch), pace.Pace()
    machine.run(chosen, 5, half_busy)
    assert chosen.threads == 8
    assert machine.run(chosen, 60, half_busy) < 1.1


def test_who_has_set_the_number_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, chosen = Machine(2, monkeypatch), pace.Pace()
    monkeypatch.setattr(pool, "demanded", lambda: True)
    machine.run(chosen, 5, busy)
    assert set(machine.log) == {2}


@compiled
@several
def test_a_pace_leaves_the_number_as_it_was() -> None:
    before = pool.threads()
    with pace.Pace() as chosen:
        pool.order(1)
        assert pool.threads() == 1
        chosen.lap()
    assert pool.threads() == before


# ------------------------------------------------------------------------- where kernels are kept

PLACES = """
import json, os, sys, tempfile
import numba.core.caching as caching
def only_there(before):
    def ensure(self):
        if not self.get_cache_path().startswith(os.environ.get("ALLOWED", "//")):
            raise OSError("Read-only file system")
        before(self)
    return ensure
for kind in caching.CacheImpl._locator_classes:
    kind.ensure_cache_path = only_there(kind.ensure_cache_path)
from minicnn import ops
import numpy as np
y = ops.relu.forward(np.array([-1.0, 2.0], np.float32))[0]
from minicnn.ops import relu
compiled = next(v.__wrapped__ for v in vars(relu).values() if hasattr(v, "__wrapped__")
                and hasattr(v.__wrapped__, "stats"))
print(json.dumps([y.tolist(), getattr(compiled._cache, "cache_path", None)]))
"""


@compiled
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.slow
def test_where_nothing_may_be_written_kernels_find_another_place(tmp_path, allowed: bool) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    if allowed:
        environment["ALLOWED"] = str(tmp_path)
    else:
        (tmp_path / f"minicnn-kernels-{os.getuid()}").write_text("in the way", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PLACES], env=environment, capture_output=True, text=True
    )
    values, folder = json.loads(done.stdout.splitlines()[-1])
    assert np.array_equal(values, [0, 2])
    assert done.stderr.count("the package and the home folder cannot be written") == 1
    if allowed:
        assert folder.startswith(str(tmp_path))
        assert "kept in" in done.stderr
    else:
        assert folder is None
        assert "compiled anew in each process" in done.stderr


@pytest.mark.parametrize("chosen", ["workqueue", "forksafe", "safe", "threadsafe", "default"])
def test_only_numbas_own_pool_takes_one_caller(chosen: str, monkeypatch) -> None:
    takes_one_caller = pool._takes_one_caller.__wrapped__  # as in a fresh process
    there = set[str]()
    monkeypatch.setattr(pool.numba_internals, "loads", there.__contains__)
    monkeypatch.setattr(pool.numba.config, "THREADING_LAYER", chosen)
    monkeypatch.setattr(pool.numba.config, "THREADING_LAYER_PRIORITY", ["tbb", "omp", "workqueue"])
    assert takes_one_caller()  # nothing can be loaded
    there.add("workqueue")
    assert takes_one_caller()
    there.add("omp")
    assert takes_one_caller() == (chosen not in ("threadsafe", "default"))
    there.add("tbb")
    assert takes_one_caller() == (chosen == "workqueue")

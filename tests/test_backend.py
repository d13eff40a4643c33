"""Arrangement in memory, the notice of the compiler, BLAS on one thread, and NaN in kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import backend
from minicnn.backend import flat, flat_like, kernel, nchw, nhwc, single_threaded_blas
from minicnn.testing.strategies import LAYOUTS, arranged
from tests.arrays import compiled

layouts = st.sampled_from(LAYOUTS)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def counted(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


# ------------------------------------------------------------------------------- arrangement


@given(shape=st.tuples(*[st.integers(0, 4)] * 4), layout=layouts, frozen=st.booleans())
def test_nhwc_is_contiguous_writeable_and_equal(shape, layout: str, frozen: bool) -> None:
    x = arranged(counted(shape), layout)
    x.setflags(write=not frozen)
    moved = nhwc(x)
    assert moved.flags.c_contiguous
    assert moved.flags.writeable
    np.testing.assert_array_equal(moved, x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(nchw(moved), x)
    assert frozen <= (not np.shares_memory(moved, x))


def test_nhwc_and_back_copies_nothing_where_channels_are_last() -> None:
    x = nchw(np.zeros((2, 3, 4, 5)))
    assert x.shape == (2, 5, 3, 4)
    assert np.shares_memory(nhwc(x), x)


@given(shape=shapes, layout=layouts, frozen=st.booleans())
def test_flat_holds_every_element_once(shape, layout: str, frozen: bool) -> None:
    x = arranged(counted(shape), layout)
    x.setflags(write=not frozen)
    vector = flat(x)
    assert vector.flags.c_contiguous
    assert vector.flags.writeable
    assert sorted(vector.tolist()) == list(range(x.size))


@given(shape=shapes, layout=layouts)
def test_what_is_written_to_flat_of_a_new_array_arrives(shape, layout: str) -> None:
    y = np.empty_like(arranged(counted(shape), layout))
    flat(y)[:] = 7
    assert (y == 7).all()


@given(shape=shapes, one=layouts, other=layouts)
def test_flat_like_pairs_the_elements(shape, one: str, other: str) -> None:
    x = arranged(counted(shape), one)
    y = np.empty_like(arranged(counted(shape), other))
    flat(y)[:] = flat_like(x, y)
    np.testing.assert_array_equal(y, x)


# -------------------------------------------------------------------------------- the compiler


@compiled
def test_sums_may_be_reordered_but_nan_and_infinity_stay() -> None:
    @kernel
    def classify(x, out):
        for i in range(x.size):
            out[i] = 1 if x[i] != x[i] else 2 if x[i] == np.inf else 3 if x[i] == -np.inf else 0

    out = np.zeros(4)
    classify(np.array([np.nan, np.inf, -np.inf, 1.0]), out)
    np.testing.assert_array_equal(out, [1, 2, 3, 0])


@compiled
def test_division_by_zero_is_numpys() -> None:
    @kernel
    def divide(x, out):
        out[0] = x[0] / x[1]

    out = np.zeros(1)
    divide(np.array([1.0, 0.0]), out)
    assert out[0] == np.inf


def of_module(module: str) -> SimpleNamespace:
    """Return what Numba makes of a function of this module, as far as the notice looks at it."""
    return SimpleNamespace(py_func=SimpleNamespace(__module__=module))


def test_the_notice_comes_once_and_for_our_kernels_only(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_said_to_compile", False)
    backend._say_once(of_module("somebody.else"))
    backend._say_once(None)
    assert capsys.readouterr() == ("", "")
    backend._say_once(of_module("minicnn.ops.relu"))
    backend._say_once(of_module("minicnn.kernels.conv_direct"))
    assert capsys.readouterr() == ("", NOTICE)


NOTICE = (
    "minicnn: compiling kernels for this processor; "
    "this takes some seconds and is cached for the next time.\n"
)

ONE_CALL = """
import numpy as np
from minicnn.ops import relu
relu.forward(np.ones(3, np.float32))
relu.forward(np.ones(3, np.float64))
"""


@pytest.mark.slow
@compiled
def test_the_notice_comes_when_nothing_is_cached_and_not_when_all_is(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", ONE_CALL], env=environment, capture_output=True, check=True
        ).stderr.decode()
        for _ in range(2)
    ]
    assert said == [NOTICE, ""]


# --------------------------------------------------------------------------- BLAS on one thread


def blas() -> list[Any]:
    """Return the libraries that backend holds: those that were loaded when it first did, among
    them NumPy's, whose products these are."""
    libraries = backend._one_thread._libraries
    assert any("numpy" in library.filepath for library in libraries) or len(libraries) == 1
    return libraries


def blas_threads() -> set[int]:
    return {library.get_num_threads() for library in blas()}


@pytest.fixture
def several() -> Iterator[set[int]]:
    """Return how many threads BLAS has outside; leave it as it was, whatever a test does."""
    before = [library.get_num_threads() for library in blas()]
    if not before or min(before) == 1:
        pytest.skip("BLAS has one thread here anyway")
    release()
    yield set(before)
    release()
    for library, threads in zip(blas(), before, strict=True):
        library.set_num_threads(threads)
    release()


def release() -> None:
    """Forget which Python thread called first: threadpoolctl obeys that one alone."""
    for library in blas():
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def test_inside_blas_has_one_thread_and_afterwards_what_it_had(several: set[int]) -> None:
    with single_threaded_blas():
        assert blas_threads() == {1}
    assert blas_threads() == several


def test_the_inner_of_two_changes_nothing(several: set[int]) -> None:
    with single_threaded_blas():
        with single_threaded_blas():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == several


def test_an_exception_restores_the_threads_of_blas(several: set[int]) -> None:
    with pytest.raises(KeyError), single_threaded_blas(), single_threaded_blas():
        raise KeyError
    assert blas_threads() == several


def test_another_python_thread_is_held_to_one_as_well(several: set[int]) -> None:
    seen = []

    def work() -> None:
        with single_threaded_blas():
            seen.append(blas_threads())

    work()  # the first caller of all is this thread
    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert seen == [{1}, {1}]
    assert blas_threads() == several


def test_the_last_of_two_python_threads_restores_the_threads_of_blas(several: set[int]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with single_threaded_blas():
            inside.set()
            leave.wait(30)

    other = threading.Thread(target=work)
    with single_threaded_blas():  # this thread comes first and leaves first
        other.start()
        inside.wait(30)
    after_the_first = blas_threads()
    leave.set()
    other.join()
    assert after_the_first == {1}
    assert blas_threads() == several


def test_many_python_threads_leave_blas_as_it_was(several: set[int]) -> None:
    def work() -> None:
        for _ in range(50):
            with single_threaded_blas():
                np.ones((4, 4)) @ np.ones((4, 4))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blas_threads() == several


# ------------------------------------------------------------------------- several Python threads

TWO_THREADS = """
import threading
import numpy as np
from minicnn import fuse, models

model = fuse(models.lenet5(rng=np.random.default_rng(0)))
images = [np.random.default_rng(i).standard_normal((16, 1, 28, 28)).astype("f4") for i in range(2)]
alone = [model(x).tobytes() for x in images]
same = [True, True]

def infer(i):
    for _ in range(50):
        same[i] &= model(images[i]).tobytes() == alone[i]

threads = [threading.Thread(target=infer, args=(i,)) for i in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(same)
"""


@pytest.mark.slow
@compiled
@pytest.mark.parametrize(
    ("layer", "order"),
    [
        ("default", "tbb omp workqueue"),
        ("default", "workqueue omp tbb"),
        ("workqueue", "tbb omp workqueue"),
        ("forksafe", "tbb omp workqueue"),
    ],
)
def test_two_python_threads_may_run_networks_at_once(layer: str, order: str) -> None:
    environment = {
        **os.environ, "NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer,
        "NUMBA_THREADING_LAYER_PRIORITY": order,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "[True, True]\n"), done.stderr

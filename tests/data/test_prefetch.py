from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from minicnn.data.prefetch import prefetch


def at_work() -> list[threading.Thread]:
    """The threads that prefetch."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert at_work() == []


@pytest.mark.parametrize("ahead", [1, 2, 50])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_items_come_in_their_order(n, ahead):
    assert list(prefetch(range(n), ahead)) == list(range(n))


def test_items_that_are_false_or_none_come_as_well():
    assert list(prefetch([None, 0, False, ()], 2)) == [None, 0, False, ()]


def test_so_many_are_made_before_they_are_asked_for():
    made: list[int] = []
    reached = {2: threading.Event(), 3: threading.Event()}

    def items() -> Iterator[int]:
        for i in range(9):
            made.append(i)
            if i in reached:
                reached[i].set()
            yield i

    taken = prefetch(items(), 2)
    assert made == []  # nothing is done before the first is asked for
    assert next(taken) == 0
    assert reached[2].wait(10)  # two more while we hold the first
    assert not reached[3].wait(0.05)
    assert made == [0, 1, 2]
    assert next(taken) == 1
    assert reached[3].wait(10)
    taken.close()


def test_items_are_made_by_another_thread():
    makers = prefetch((threading.current_thread().name for _ in range(3)), 1)
    names = set(makers)
    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_an_error_comes_where_the_item_would_have():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    taken = prefetch(items(), 5)
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(taken)


def test_the_thread_ends_when_the_loop_is_left():
    for item in prefetch(range(100), 3):
        if item == 4:
            break
    assert at_work() == []


def test_the_thread_ends_when_the_loop_raises():
    def loop() -> None:
        for item in prefetch(range(100), 3):
            assert at_work() != []
            1 / (item - 2)

    with pytest.raises(ZeroDivisionError):
        loop()
    assert at_work() == []


def test_what_is_queued_when_the_loop_is_left_is_not_made():
    made: list[int] = []
    left = threading.Event()

    def items() -> Iterator[int]:
        for i in range(9):
            made.append(i)
            if i == 1:
                left.wait(10)
            yield i

    taken = prefetch(items(), 3)
    assert next(taken) == 0
    threading.Timer(0.2, left.set).start()  # while close waits for what is being made
    taken.close()
    assert made in ([0], [0, 1])


def test_with_nothing_ahead_there_is_no_thread():
    makers = prefetch((threading.current_thread().name for _ in range(3)), 0)
    assert list(makers) == [threading.current_thread().name] * 3


def test_what_is_never_asked_for_starts_no_thread():
    taken = prefetch(range(3), 2)
    assert at_work() == []
    del taken


@pytest.mark.slow
def test_a_program_may_end_within_the_loop():
    code = (
        "from itertools import count\n"
        "from minicnn.data.prefetch import prefetch\n"
        "items = prefetch(count(), 2)\n"
        "print(next(items))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0\n", "")

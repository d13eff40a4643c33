"""Making what comes next in a background thread, while the caller works on what it has."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield ``items`` in their order; up to ``ahead`` of them are made before they are asked for.

    The thread begins when the first is asked for, and ends with the last or when the caller leaves
    the loop; with 0 ``ahead`` there is none. What ``items`` raises is raised where the item would
    have come.
    """
    if not ahead:
        yield from items
        return
    end = object()
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        coming = deque(pool.submit(next, iterator, end) for _ in range(ahead))
        while (item := coming.popleft().result()) is not end:
            coming.append(pool.submit(next, iterator, end))
            yield item  # type: ignore[misc]  # it is an item, as it is not the end
    finally:
        pool.shutdown(cancel_futures=True)

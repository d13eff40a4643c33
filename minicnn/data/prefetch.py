"""Making the next items in a background thread, while the caller works on the current one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield ``items`` in their order; a thread makes up to ``ahead`` of them in advance.

    The thread starts with the first item, and ends with the last one or when the caller leaves the
    loop. With ``ahead`` 0 there is no thread. An error in ``items`` is raised in place of the item.
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

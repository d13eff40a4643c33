"""What came of a fault."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 20, 10**9  # the most that reading a damaged file may take, in seconds and bytes
BAD = ("SILENT", "TRACEBACK", "SLOW", "LARGE")


class Told(Exception):
    """What is wrong, as the user reads it."""


class TooSlow(BaseException):
    """Reading lasted longer than it may."""


class Count:
    """Counts outcomes by what was damaged, and keeps what led to a bad one."""

    def __init__(self, keep: Path) -> None:
        self.of: dict[str, Counter[str]] = {}
        self._keep, self.reports = keep, list[str]()

    def add(self, what: str, outcome: str, detail: str = "", content: bytes | None = None) -> None:
        self.of.setdefault(what, Counter())[outcome] += 1
        if outcome not in BAD:
            return
        where = ""
        if content is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            file = self._keep / f"{len(self.reports):04d}-{what.replace('/', '-')}"
            file.write_bytes(content)
            where = f" (kept: {file})"
        self.reports.append(f"{outcome} {what}{where}: {detail}")

    @property
    def bad(self) -> int:
        return sum(counts[outcome] for counts in self.of.values() for outcome in BAD)

    def table(self) -> str:
        names = ("told", "same", "unseen", *BAD)
        lines = [f"{'what':26}" + "".join(f"{name:>11}" for name in names)]
        for what, counts in self.of.items():
            lines.append(f"{what:26}" + "".join(f"{counts[name]:11}" for name in names))
        total = sum((counts for counts in self.of.values()), Counter[str]())
        lines.append(f"{'in all':26}" + "".join(f"{total[name]:11}" for name in names))
        return "\n".join(lines)


def judge(read: Callable[[], Any], good: Any, file: str, checked: bool) -> tuple[str, str]:
    """Return ``(outcome, detail)`` of reading a damaged file, which gave ``good`` before.

    ``read`` raises Told with the message that the user gets, in which ``file`` must be named.
    """
    memory, start = _peak(), time.monotonic()
    try:
        with _limited():
            outcome, detail = ("same", "") if equal(read(), good) else ("unseen", "")
            if outcome == "unseen" and checked:
                outcome, detail = "SILENT", "other numbers, and no word"
    except Told as told:
        text = str(told)
        outcome, detail = "told", text
        if file not in text or not text.strip() or "Traceback" in text:
            outcome, detail = "TRACEBACK", f"the message names no {file}: {text!r}"
    except TooSlow:
        outcome, detail = "SLOW", f"not done after {SECONDS} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome, detail = "TRACEBACK", "".join(traceback.format_exception(error)[-3:])
    if time.monotonic() - start > SECONDS:
        outcome, detail = "SLOW", f"{time.monotonic() - start:.0f} s"
    elif _peak() - memory > MEMORY:
        outcome, detail = "LARGE", f"{(_peak() - memory) / 1e9:.1f} GB"
    return outcome, detail


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "dtype"):
        return a.dtype == b.dtype and a.shape == b.shape and bytes(a.data) == bytes(b.data)
    return bool(a == b)

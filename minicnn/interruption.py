"""Ctrl-C and SIGTERM: the first one stops at the next good moment, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def hear_interrupts() -> None:
    """Let Ctrl-C and ``kill -INT`` stop this process, even if it was started with them ignored.

    A shell script starts its background processes with SIGINT ignored, and so does ``nohup``. A
    training would then end with a checkpoint only on SIGTERM. So the command listens to SIGINT too.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Interrupted(Exception):
    """The run was stopped by the user and can be resumed."""


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; a second one stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # only the main thread hears signals
        return

    def stop(number: int, frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield stopped
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)

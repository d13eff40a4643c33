"""A word on stderr where a command keeps somebody waiting: the first after two seconds.

It runs in a thread of its own, so that it speaks while modules are imported or kernels compiled.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Self, TextIO

FIRST = 2.0  # seconds
EVERY = 10.0


class Waiting:
    """Within ``with Waiting("minicnn gradcheck") as waiting``, ``waiting.say(text)`` says at what.

    What is said appears only if it takes longer than FIRST seconds, and then every EVERY seconds.
    """

    def __init__(self, name: str, text: str = "starting", stream: TextIO | None = None) -> None:
        self.name, self.text, self.stream = name, text, stream
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def say(self, text: str) -> None:
        """Say what is being done from now on."""
        self.text = text

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._done.set()
        self._thread.join()

    def _speak(self) -> None:
        wait = FIRST
        while not self._done.wait(wait):
            seconds = time.perf_counter() - self._begun
            stream = self.stream or sys.stderr
            print(f"{self.name}: {self.text} ({seconds:.0f} s)", file=stream, flush=True)
            wait = EVERY

"""The number of threads for a loop of equal steps, chosen by measuring.

On a quiet machine each thread has its own core, and using all cores is fastest. When other programs
keep the cores busy, a thread may wait some milliseconds for its turn. All other threads wait for it
at the end of every operation, so two threads can be ten times slower than one. A pace therefore
measures the steps. From time to time it tries half or twice the threads for a few steps, and keeps
the better number. The results are the same, bit for bit.

    with Pace() as pace:
        for x, target in batches:
            step(x, target)
            pace.lap(len(x))

There is a trial at the beginning, when the time of a step changes, and after a pause. The pause is
longer after an expensive trial. So all trials together cost a few per cent under load, and almost
nothing on a quiet machine.
"""

from __future__ import annotations

import time
from types import TracebackType

from minicnn import pool

WARM_UP = 2  # first laps may compile, so they do not count
STEADY, TRIAL = 0.2, 0.05  # seconds that are measured: of the number in use, and of another
LEAST_LAPS = 2
BETTER = 0.9  # of the time; another number must be at least this much better
CHANGED = 1.4  # times faster or slower, for a trial before the pause is over
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds


class _Window:
    """The time of some laps."""

    def __init__(self) -> None:
        self.laps, self.work, self.seconds = 0, 0.0, 0.0

    def add(self, work: float, seconds: float) -> None:
        self.laps += 1
        self.work += work
        self.seconds += seconds

    @property
    def cost(self) -> float:
        """Seconds for each unit of work."""
        return self.seconds / self.work


class Pace:
    """Chooses the number of threads of a loop. Entered again, it remembers what it measured.

    It uses at most as many threads as the Python thread that enters it. If the user has set the
    number by ``set_threads``, it does nothing.
    """

    def __init__(self) -> None:
        self._most = self.threads = 0
        self._warm_up = WARM_UP
        self._window = _Window()
        self._known: float | None = None  # cost of the number in use
        self._tried: int | None = None  # the number on trial
        self._upwards = False  # the direction of the next trial
        self._pause, self._due, self._free = FIRST_PAUSE, 0.0, 0.0
        self._clock = 0.0  # seconds of all laps; pauses are measured in them
        self._last = 0.0
        self._on = False

    def __enter__(self) -> Pace:
        most = pool.threads()
        if most != self._most:  # the old times were for another number
            self._most = self.threads = most
            self._known, self._pause, self._due, self._free = None, FIRST_PAUSE, 0.0, 0.0
        self._on = most > 1 and not pool.demanded()
        self._tried, self._window = None, _Window()
        self._use(self.threads)
        self._last = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on:
            pool.give_back(self._most)

    def lap(self, work: float = 1.0) -> None:
        """Record the end of a step that did ``work`` units of work."""
        if not self._on:
            return
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._clock += seconds
        if self._warm_up:
            self._warm_up -= 1
            return
        self._window.add(work, seconds)
        if self._tried is None:
            self._look(self._clock)
        else:
            self._judge(self._clock)

    # ---- the number in use

    def _look(self, now: float) -> None:
        """Begin a trial if one is due."""
        window = self._window
        if window.laps < LEAST_LAPS or window.seconds < STEADY:
            return
        before, self._known = self._known, window.cost
        self._window = _Window()
        changed = before is not None and not before / CHANGED < window.cost < before * CHANGED
        if changed:
            self._upwards = window.cost < before  # type: ignore[operator]
        if now >= self._due or (changed and now >= self._free):
            self._try()

    def _try(self) -> None:
        number = self.threads * 2 if self._upwards else self.threads // 2
        if not 1 <= number <= self._most:
            self._upwards = not self._upwards
            number = self.threads * 2 if self._upwards else self.threads // 2
        self._tried = min(max(number, 1), self._most)
        self._use(self._tried)

    # ---- a number on trial

    def _judge(self, now: float) -> None:
        """Keep the number on trial, go back to the one before, or wait for more laps."""
        window, known = self._window, self._known
        assert known is not None
        assert self._tried is not None
        hopeless = window.seconds > 3 * max(TRIAL, known * window.work)
        if not hopeless and (window.laps < LEAST_LAPS or window.seconds < TRIAL):
            return
        if window.cost < BETTER * known:
            self.threads, self._known = self._tried, window.cost
            self._pause, self._due, self._free = FIRST_PAUSE, now, now
        else:
            extra = max(0.0, window.seconds - known * window.work)
            self._pause = min(max(2 * self._pause, 100 * extra), LONGEST_PAUSE)
            self._due, self._free = now + self._pause, now + 20 * extra
            self._upwards = not self._upwards
            self._use(self.threads)
        self._tried, self._window = None, _Window()

    def _use(self, number: int) -> None:
        if self._on and number:
            pool.order(number)

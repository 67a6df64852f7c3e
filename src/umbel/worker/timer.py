"""``worker.timer``: calls of bootsteps that are due later, in a thread of their own."""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from umbel.clock import Clock

logger = logging.getLogger("umbel.worker")

#: Seconds that a worker's end waits for a call that hangs.
LAST_CALL = 1.0


class Entry:
    """A call that is due later, once or every `every` seconds, until it is cancelled."""

    def __init__(
        self,
        fun: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        every: float = 0.0,
    ) -> None:
        self.fun, self.args, self.kwargs = fun, args, dict(kwargs or {})
        self.every = every
        self.cancelled = False

    def __call__(self) -> Any:
        """Call the function now."""
        return self.fun(*self.args, **self.kwargs)

    def cancel(self) -> None:
        """Let it not be called any more."""
        self.cancelled = True


class Timer:
    """Calls functions when they are due, with the methods of kombu's timer; priorities have no effect.

    What raises is logged. `on_exit` is called where a function raises SystemExit, by which Celery's steps end
    their worker.
    """

    def __init__(self, clock: Clock, on_exit: Callable[[], object]) -> None:
        self._clock = clock
        self._on_exit = on_exit
        self._numbers = count()
        self._due: list[tuple[float, int, Entry]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def call_after(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Call a function `secs` seconds from now; return what can cancel that."""
        return self._enter(secs, Entry(fun, args, kwargs))

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Call a function every `secs` seconds; return what can cancel that."""
        return self._enter(secs, Entry(fun, args, kwargs, secs))

    def call_at(
        self,
        eta: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Call a function at a time, in seconds since the epoch; return what can cancel that."""
        return self._enter(eta - self._clock.time(), Entry(fun, args, kwargs))

    def cancel(self, tref: Entry) -> None:
        """Let a call not happen any more."""
        tref.cancel()

    def clear(self) -> None:
        """Cancel all calls."""
        with self._changed:
            self._due.clear()

    def end(self) -> None:
        """Call nothing any more; wait a moment for what is just being called."""
        with self._changed:
            self._ended = True
            self._due.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LAST_CALL)

    def _enter(self, seconds: float, entry: Entry) -> Entry:
        with self._changed:
            if not self._ended:
                due = self._clock.monotonic() + seconds
                heapq.heappush(self._due, (due, next(self._numbers), entry))
                self._changed.notify()
                self._begin()
        return entry

    def _begin(self) -> None:
        """Start the thread with the first call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="umbel-timer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self.step(self._clock.monotonic())
            with self._changed:
                if self._ended:
                    return
                pause = self._pause(self._clock.monotonic())
                if pause > 0:
                    self._changed.wait(min(pause, threading.TIMEOUT_MAX))

    def _pause(self, now: float) -> float:
        return self._due[0][0] - now if self._due else math.inf

    def step(self, now: float) -> None:
        """Call what is due."""
        while True:
            with self._changed:
                if self._pause(now) > 0:
                    return
                _, _, entry = heapq.heappop(self._due)
            if not entry.cancelled:
                self._call(entry)
            if entry.every and not entry.cancelled:
                self._enter(entry.every, entry)

    def _call(self, entry: Entry) -> None:
        try:
            entry()
        except SystemExit:
            logger.warning("%r, called by the timer, ends the worker.", entry.fun)
            entry.cancel()
            self._on_exit()
        except Exception:
            logger.exception("%r, called by the timer, raised.", entry.fun)

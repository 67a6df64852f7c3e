"""Soft time limits: SoftTimeLimitExceeded is raised in a task's function, and nowhere else.

The helper, which looks every few milliseconds while a task runs, sends the main thread a signal when the
limit has passed. That interrupts calls that wait, such as ``time.sleep`` or reading a socket, and costs
tasks without a limit nothing. It is SIGUSR1, as in Celery: timers of the system are left to tasks. The
signal's handler runs in the main thread, between two steps of it; so what it finds there holds until it
raises, and a signal that comes late, between two tasks or in the next one, raises nothing.

In a coroutine the error is raised at once while its own code runs, and else at what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import FrameType
from typing import Any

from umbel.clock import Clock
from umbel.exceptions import SoftTimeLimitExceeded
from umbel.options import warn_once
from umbel.worker.watched import Watched

logger = logging.getLogger("umbel.worker")

#: None where the system has no such signal.
SIGNAL: int | None = getattr(signal, "SIGUSR1", None)
#: Seconds after which the signal is sent again. One that comes just before a call begins to wait does not
#: interrupt it: Python takes note of it, and looks at its notes when the call has returned.
AGAIN = 0.1


class SoftLimit:
    """The soft limit of what runs in this process's main thread, one task at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thread = 0
        #: When the running task's limit passes; 0.0 when it has none, or has been told.
        self._deadline = 0.0
        self._sent = False
        self._again = 0.0
        #: The deadline that was told of last.
        self._told = 0.0
        #: Whether code of the task's own runs right now. Only the main thread reads and writes it.
        self._inside = False
        self._cancelled = False
        self._cancel: Callable[[], object] | None = None
        self._task: asyncio.Task[Any] | None = None

    # The main thread's side

    def begin(self, deadline: float) -> bool:
        """Let a limit count for the task that starts; False where there can be none."""
        if not self._thread and not self._listen():
            return False
        self._sent = False
        self._deadline = deadline
        return True

    def end(self) -> None:
        """Let it count no more."""
        self._deadline = 0.0

    def _listen(self) -> bool:
        """Take the signal from now on, where this is the main thread: no other gets signals."""
        if SIGNAL is None or threading.current_thread() is not threading.main_thread():
            return False
        signal.signal(SIGNAL, self._hear)
        self._thread = threading.get_ident()
        return True

    def call(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call a task's function; while it runs, the error may be raised in it."""
        self._inside = True
        try:
            return function(*args, **kwargs)
        finally:
            self._inside = False

    async def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await a task's coroutine; the error is raised in it, wherever it is by then."""
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await Watched(coroutine, self)
        finally:
            self._cancel = self._task = None

    def enter(self) -> None:
        """Note that code of the task's own runs from here on."""
        self._inside = True

    def leave(self) -> None:
        """Note that it does not."""
        self._inside = False

    def meant(self, error: BaseException) -> BaseException:
        """Return what a coroutine is to get: of our cancellation it sees only the limit."""
        if not self._cancelled or not isinstance(error, asyncio.CancelledError):
            return error
        self._cancelled = False
        if self._task is not None:
            self._task.uncancel()
        return SoftTimeLimitExceeded()

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        """Raise, if the task that runs now is the one that is meant."""
        if not 0.0 < self._deadline <= self._clock.monotonic():
            self._sent = False
        elif self._inside:
            self._inside = False
            self._deadline = 0.0
            raise SoftTimeLimitExceeded
        elif self._cancel is not None:
            self._deadline = 0.0
            self._cancelled = True
            self._cancel()
        else:  # on its way into the function: once more, a moment later
            self._sent = False

    # The helper's side

    def look(self, now: float) -> bool:
        """Send the signal if the limit has passed, until it is heard; True when this is the first time."""
        deadline = self._deadline
        if not 0.0 < deadline <= now or SIGNAL is None or (self._sent and now < self._again):
            return False
        if signal.getsignal(SIGNAL) != self._hear:
            warn_once(
                "Soft time limits have no effect: SIGUSR1, by which tasks are told of them, was given another"
                " handler."
            )
            return False
        is_first, self._told = self._told != deadline, deadline
        self._sent, self._again = True, now + AGAIN
        signal.pthread_kill(self._thread, SIGNAL)
        return is_first

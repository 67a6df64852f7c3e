"""Telling one of many tasks of a process that its time is over, wherever it is.

While code of the task's own runs, an error is raised in its thread; that reaches Python code only, so what
waits in C is told when that returns. A coroutine that waits is cancelled. Nothing is ever raised in code of
ours: what was sent, and did not come in time, is taken back.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from umbel.exceptions import Ignore
from umbel.worker.watched import Watched

#: https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc


class _TakenBack(BaseException):
    """Comes in the place of what was sent and is not to come any more."""


def _send(thread: int, error: type[BaseException]) -> None:
    """Have an error raised in a thread, as soon as it runs Python code, instead of what was sent before."""
    _raise_in(ctypes.c_ulong(thread), ctypes.py_object(error))


def _take_back() -> None:
    """Let what was sent to this thread come to nothing.

    Sending no error would do that, too; but then Python 3.11 goes on looking for one in all threads, and a
    function that a debugger or a measurement of coverage traces never begins.
    """
    try:
        _send(threading.get_ident(), _TakenBack)
        for _ in range(1000):  # it comes at the first turn
            pass
    except _TakenBack:
        pass


class Interrupt:
    """What is around one call's own code: a `Guard` of `umbel.trace`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The thread in which code of the task's own runs right now; 0 while none does.
        self._thread = 0
        #: Whether something was sent there that has not come yet, perhaps.
        self._sent = False
        #: What to raise when code of its own runs next, and what its cancellation means.
        self._due: type[BaseException] | None = None
        self._meaning: type[BaseException] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._waits = False
        #: Nobody waits for it any more: whatever it does, nothing follows.
        self.is_given_up = False

    # Where the task runs

    def call(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call a task's function."""
        try:
            self.enter()
            return function(*args, **kwargs)
        finally:
            while self._thread:
                try:
                    self.leave()
                except BaseException:  # noqa: BLE001, S112 - what was sent comes now
                    continue
            self._end()

    async def watched(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await a task's coroutine."""
        self.runs_on_loop()
        self._waits = True
        try:
            return await Watched(coroutine, self)
        finally:
            while self._thread:
                try:
                    self.leave()
                except BaseException:  # noqa: BLE001, S112 - as above
                    continue
            self._waits = False
            self._end()

    def runs_on_loop(self) -> None:
        """Say that the call has the event loop to itself while its code runs, or code of ours for it."""
        self._task = asyncio.current_task()

    def enter(self) -> None:
        """Note that code of its own runs from here on. Raises what it is to be told."""
        with self._lock:
            due, self._due = self._due, None
            if due is None:
                self._thread = threading.get_ident()
        if due is not None:
            raise due

    def leave(self) -> None:
        """Note that it does not, and take back what was sent and not raised."""
        with self._lock:
            self._thread = 0
            if self._sent:
                self._sent = False
                _take_back()

    def meant(self, error: BaseException) -> BaseException:
        """Return what a coroutine is to get: of our cancellation it sees only what that means."""
        meaning, self._meaning = self._meaning, None
        if meaning is None or not isinstance(error, asyncio.CancelledError):
            return error
        if self._task is not None:
            self._task.uncancel()
        return meaning()

    def _end(self) -> None:
        if self.is_given_up:
            raise Ignore("Its time was over, and its outcome is recorded.")

    # The helper's side

    def tell(self, error: type[BaseException]) -> None:
        """Raise an error in the call."""
        with self._lock:
            if self._thread:
                self._sent = True
                _send(self._thread, error)
            elif self._waits and self._task is not None:
                self._meaning = error
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
            else:  # on its way into its code, or out of it
                self._due = error

    def give_up(self) -> None:
        """End it if that is possible; what it does from now on counts for nothing."""
        self.is_given_up = True
        self.tell(SystemExit if self._task is None else asyncio.CancelledError)

    def holds_up_its_loop(self) -> bool:
        """Tell whether an event loop runs it right now, and no other."""
        task = self._task
        return task is not None and asyncio.current_task(task.get_loop()) is task

"""Running coroutines to their end, from code that is none."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from umbel import current
from umbel.forked import end_if_copied
from umbel.request import Request

R = TypeVar("R")
Drive = Callable[[Coroutine[Any, Any, Any]], Any]


#: Seconds that what coroutines have left in threads may take to end with their loop.
LINGER = 5.0

logger = logging.getLogger("umbel.worker")


class Calls(ThreadPoolExecutor):
    """The threads of ``asyncio.to_thread``. Their end is waited for, but not for ever, as asyncio would.

    A task that did not wait for its call has ended, and no process is to go on for that.
    """

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._calls: set[Future[Any]] = set()
        self._is_down = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a thread."""
        call = super().submit(fn, *args, **kwargs)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; wait for a moment for what they run, once."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        wait, self._is_down = wait and not self._is_down, True
        left = futures.wait(self._calls.copy(), LINGER).not_done if wait else ()
        if left:
            logger.warning(
                "%d calls that tasks have left in threads of asyncio (to_thread) are not waited for any"
                " longer.",
                len(left),
            )


def new_runner() -> asyncio.Runner:
    """Return what runs coroutines on a new event loop, and can be closed in time."""
    runner = asyncio.Runner()
    runner.get_loop().set_default_executor(Calls())
    return runner


class Loop:
    """An event loop for one task after the other, made when first needed."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        if self._runner is None:
            self._runner = new_runner()
        return self._runner.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """End the event loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


class SharedLoop:
    """An event loop in a thread of its own, on which other threads run coroutines at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._calls = Calls()

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, on the loop, while this thread waits."""
        return drive_on(self._running(), coroutine)

    def cancel_all(self) -> None:
        """Cancel what runs on the loop, without waiting for its end."""
        with self._lock:
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(_cancel_all, loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which is made when first needed."""
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(loop,), name="umbel-loop", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:  # the system allows none more; whoever comes next tries again
                    loop.close()
                    raise
                self._loop = loop
                self._calls = Calls()
                loop.set_default_executor(self._calls)
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    def close(self, within: float | None = None) -> None:
        """End the event loop and its thread, or wait so many seconds for what does not let it end.

        Calls that are left in threads have a time of their own.
        """
        if self._loop is not None and self._thread is not None:
            self._calls.shutdown()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(within)
            self._loop = self._thread = None


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def drive_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on a loop that runs in another thread, in the context of who calls."""
    context, here = contextvars.copy_context(), os.getpid()
    outcome: Future[Any] = Future()

    async def run() -> None:
        try:
            value = await coroutine
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            end_if_copied(here, str(coroutine), error)
            outcome.set_exception(error)
        else:
            end_if_copied(here, str(coroutine))  # which has this thread only: nobody waits in it
            outcome.set_result(value)

    loop.call_soon_threadsafe(lambda: _keep(loop.create_task(run(), context=context)))
    return outcome.result()


#: Loops hold their tasks by weak references only.
_kept: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _kept.add(task)
    task.add_done_callback(_kept.discard)


def drive_here(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, on a loop of its own; within a coroutine, on a thread of its own."""
    context = contextvars.copy_context()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:
            return runner.run(coroutine, context=context)
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            with asyncio.Runner() as runner:
                outcome.set_result(runner.run(coroutine, context=context))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="umbel-eager", daemon=True).start()
    return outcome.result()


async def within(request: Request, coroutine: Coroutine[Any, Any, R]) -> R:
    """Await a coroutine as the call `request`."""
    token = current.enter(request)
    try:
        return await coroutine
    finally:
        current.leave(token)

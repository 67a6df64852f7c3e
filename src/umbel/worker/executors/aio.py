"""The executor ``asyncio``: async tasks run together on one event loop, which has the main thread.

Plain tasks run in a few threads beside it. The desk, which fetches and settles, has a thread, too, since
drivers wait for their servers.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from umbel.driving import drive_on, new_runner
from umbel.trace import is_traced_by_others
from umbel.worker.executors.base import Executor, Works
from umbel.worker.executors.threads import LEAVES, Threads
from umbel.worker.outcome import Job, Waiting


class AsyncioExecutor(Executor):
    """Async tasks on the event loop, in `slots`; other tasks in `sync_threads` threads."""

    def __init__(self, slots: int, sync_threads: int) -> None:
        self.slots = slots
        self._sync_threads = sync_threads
        self._ready: deque[Waiting] = deque()
        #: The event loop's own: what runs on it.
        self._running: set[asyncio.Task[None]] = set()
        # The same for all: made anew for each, both would be kept as long as it is in flight.
        self._on_end = self._ended
        self._context = Context()
        self._hosted: tuple[asyncio.AbstractEventLoop, Works, Threads] | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end on the loop, while the thread that calls waits."""
        return drive_on(self._host[0], coroutine)

    @property
    def _host(self) -> tuple[asyncio.AbstractEventLoop, Works, Threads]:
        assert self._hosted is not None  # noqa: S101 - the desk is hosted
        return self._hosted

    def host(self, works: Works, desk: Callable[[], None]) -> None:
        """Run the event loop in this thread until `desk` returns, in another one."""
        runner = new_runner()
        try:
            runner.run(self._run(works, desk))
        finally:
            if (
                not self._running
            ):  # to close it would be to wait for what was given up and does not end
                runner.close()

    async def _run(self, works: Works, desk: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        threads = Threads(self._sync_threads, works.work, works.freed)
        self._hosted = loop, works, threads
        ended: asyncio.Future[None] = loop.create_future()

        def run() -> None:
            try:
                desk()
            except BaseException as error:  # noqa: BLE001 - raised where the loop runs
                loop.call_soon_threadsafe(ended.set_exception, error)
            else:
                loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=run, name="umbel-desk", daemon=True).start()
        try:
            await ended
        except BaseException:
            threads.end()  # and nobody waits for what they run: the process is about to end
            raise
        finally:
            await self._cancel_all()
        threads.close()

    def cancel(self) -> None:
        """Cancel what runs on the event loop."""
        self._host[0].call_soon_threadsafe(self._cancel)

    def cancel_call(self, item: Waiting) -> None:
        """Cancel what runs by the id of its call on the event loop."""
        call = item.prepared.call
        if call is not None and self.runs_async(item):
            self._host[0].call_soon_threadsafe(self._cancel_named, call.id)

    def _cancel_named(self, name: str) -> None:
        for task in self._running:
            if task.get_name() == name:
                task.cancel()

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def _cancel_all(self) -> None:
        """Cancel what still runs, and give it a moment to end."""
        self._cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=LEAVES)

    def submit(self, items: Sequence[Waiting]) -> None:
        """Run deliveries as soon as there are slots or, for plain tasks, threads."""
        loop, _, threads = self._host
        plain: list[Waiting] = []
        for item in items:
            (self._ready if self.runs_async(item) else plain).append(item)
        if plain:
            threads.submit(plain)
        if self._ready:
            loop.call_soon_threadsafe(self._fill)

    def _fill(self) -> None:
        """Begin what has a slot."""
        loop, works, _ = self._host
        while self._ready and len(self._running) < self.slots:
            try:
                item = self._ready.popleft()
            except IndexError:  # it was withdrawn just now
                return
            call = item.prepared.call
            # Its id is there already, and a name of asyncio's own would be made for each.
            name = "unreadable" if call is None else call.id
            task = loop.create_task(works.work_async(item), name=name, context=Context())
            self._running.add(task)
            task.add_done_callback(self._on_end, context=self._context)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._ready:
            self._fill()
        self._host[1].freed()

    def withdraw(self) -> list[Waiting]:
        """Take back what has not begun."""
        found = [] if self._hosted is None else self._hosted[2].withdraw()
        while self._ready:
            try:
                found.append(self._ready.popleft())
            except IndexError:  # it was begun just now
                break
        return found

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a slot or a thread."""
        return len(self._ready) + (0 if self._hosted is None else self._hosted[2].waiting)

    def full(self) -> set[bool]:
        """Return True if deliveries wait while all slots run one, False if they do while all threads do."""
        found = set()
        if self._ready and len(self._running) >= self.slots:
            found.add(True)
        if self._hosted is not None and self._hosted[2].is_full():
            found.add(False)
        return found

    def taken(self) -> set[bool]:
        """Return True if all slots run one, False if all threads do."""
        found = {True} if len(self._running) >= self.slots else set[bool]()
        return found | {False} if self._host[2].are_taken() else found

    def when_loop_goes_on(self, act: Callable[[], None]) -> None:
        """Call it behind what holds the event loop up."""
        self._host[0].call_soon_threadsafe(act)

    def runs_async(self, item: Waiting) -> bool:
        """Tell whether it is written, or chosen, to run here, and whoever watches tasks lets it."""
        job = item.prepared.work
        if not isinstance(job, Job):
            return True
        chosen = job.task.executor
        wanted = chosen == "asyncio" or (job.task.is_async and chosen != "threads")
        return wanted and not is_traced_by_others()

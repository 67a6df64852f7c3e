"""The executor ``threads``: each task has a thread, of which there are as many as slots."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from umbel.clock import SYSTEM
from umbel.driving import SharedLoop
from umbel.worker.executors.base import Executor, Works
from umbel.worker.outcome import Waiting

logger = logging.getLogger("umbel.worker")

Work = Callable[[Waiting], None]
#: Seconds that threads have to end. One that runs what was given up dies with the process.
LEAVES = 0.5


class Threads:
    """Up to `most` threads that run what is submitted; each is started when it is first needed."""

    def __init__(self, most: int, work: Work, freed: Callable[[], None]) -> None:
        self._most = most
        self._work, self._freed = work, freed
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy: set[int] = set()
        #: Whether the system allowed no further thread when one was last wanted.
        self._refused = False

    def submit(self, items: Sequence[Waiting]) -> None:
        """Run deliveries as soon as there are threads."""
        for item in items:
            self._queue.put(item)
        # Perhaps some more than needed: a thread that is about to take one counts for nothing here.
        for _ in range(min(self._queue.qsize(), self._most - len(self._threads))):
            if not self._start():
                return

    def _start(self) -> bool:
        """Start one more thread; False where the system allows none: those that there are have to do."""
        name = f"umbel-task-{len(self._threads) + 1}"
        # They die with the process: at a cold stop nobody waits for them.
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._refused:
                logger.warning(
                    "The system allows no more than %d of %d threads for tasks (%s): what they have no time"
                    " for goes back. Allow more threads, or lower -c or --sync-threads.",
                    *(len(self._threads), self._most, error),
                )
            self._refused = True
            return False
        self._refused = False
        self._threads.append(thread)
        return True

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a thread."""
        return self._queue.qsize()

    def is_full(self) -> bool:
        """Tell whether deliveries wait while all threads run one."""
        return self.waiting > 0 and self.are_taken()

    def are_taken(self) -> bool:
        """Tell whether all threads run one."""
        most = len(self._threads) if self._refused else self._most
        return len(self._busy) >= most

    def withdraw(self) -> list[Waiting]:
        """Take back what no thread has begun."""
        found: list[Waiting] = []
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return found
            if item is None:  # the end of a thread, which shall find it
                self._queue.put(None)
                return found
            found.append(item)

    def _run(self) -> None:
        me = threading.get_ident()
        while (item := self._queue.get()) is not None:
            self._busy.add(me)
            self._work(item)
            self._busy.discard(me)
            self._freed()

    def end(self) -> None:
        """Let the threads end after what they run."""
        for _ in self._threads:
            self._queue.put(None)

    def close(self) -> None:
        """End the threads, once nothing runs any more but what was given up."""
        self.end()
        deadline = SYSTEM.monotonic() + LEAVES
        for thread in self._threads:
            thread.join(max(deadline - SYSTEM.monotonic(), 0.0))


class ThreadExecutor(Executor):
    """Tasks in threads; coroutines of async tasks run together on one event loop, in a thread beside."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._loop = SharedLoop()
        self._threads: Threads | None = None

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, while the thread of its task waits."""
        return self._loop.drive(coroutine)

    def host(self, works: Works, desk: Callable[[], None]) -> None:
        """Run until `desk` returns, in this thread."""
        self._threads = Threads(self.slots, works.work, works.freed)
        try:
            desk()
        except BaseException:
            self._threads.end()  # and nobody waits for what they run: the process is about to end
            raise
        self._threads.close()
        self._loop.close(LEAVES)

    def submit(self, items: Sequence[Waiting]) -> None:
        """Run deliveries as soon as there are threads."""
        assert self._threads is not None  # noqa: S101 - the desk is hosted
        self._threads.submit(items)

    def withdraw(self) -> list[Waiting]:
        """Take back what no thread has begun."""
        return [] if self._threads is None else self._threads.withdraw()

    def cancel(self) -> None:
        """Cancel the coroutines for which threads wait."""
        self._loop.cancel_all()

    def cancel_call(self, item: Waiting) -> None:
        """Do nothing: nobody knows which of the coroutines is its."""

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a thread."""
        return 0 if self._threads is None else self._threads.waiting

    def full(self) -> set[bool]:
        """Return the one kind there is if deliveries wait while all threads run one."""
        return {False} if self._threads is not None and self._threads.is_full() else set()

    def taken(self) -> set[bool]:
        """Return the one kind there is if all threads run one."""
        return {False} if self._threads is not None and self._threads.are_taken() else set()

    def when_loop_goes_on(self, act: Callable[[], None]) -> None:
        """Do nothing: no delivery waits for an event loop."""

    def runs_async(self, item: Waiting) -> bool:
        """Say that everything runs in a thread."""
        return False

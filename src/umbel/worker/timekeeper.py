"""The timekeeper: a thread of the supervisor that kills children whose tasks exceed hard time limits.

It talks to no broker and runs no code of users, so nothing keeps it from being in time: neither a broker
that does not answer nor a task that holds the interpreter's lock.

A child and its supervisor must agree whether a task had ended in time. The child first lifts the deadline
of a task that has ended, then looks whether its page is condemned; the timekeeper first condemns it, waits a
moment, and then looks whether the deadline still stands. If it does the child is killed: should its task have
ended in that moment, it waits for that. If not, the page is pardoned. So no other task is ever hit, and each
has one outcome.

A child that runs many tasks gives up by itself what exceeds its limit (slot_limits.py), and the others go on.
It is killed only when it does not: something in it holds the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence

from umbel.clock import Clock
from umbel.worker.page import Page
from umbel.worker.processes import is_alive

logger = logging.getLogger("umbel.worker")

#: Most seconds between two looks: a task that begins in between may be this late, if its limit is so short.
TICK = 0.8
#: Seconds between condemning a page and reading it: time for a write to become visible.
SETTLES = 0.005


class Timekeeper:
    """Watches the pages of a node's children, which `pages` returns."""

    def __init__(self, clock: Clock, pages: Callable[[], Sequence[Page]]) -> None:
        self._clock = clock
        self._pages = pages
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-timekeeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End the thread, if it was started."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = TICK
        while not self._ended.wait(pause):
            try:
                pause = self.step(self._clock.monotonic())
            except Exception:
                # Whatever it is, limits depend on this thread: it must go on.
                logger.exception(
                    "The supervisor failed to look after time limits; it keeps trying."
                )
                pause = TICK

    def step(self, now: float) -> float:
        """Kill whose time is over; return for how many seconds nothing has to be done."""
        pause = TICK
        for page in self._pages():
            with contextlib.suppress(ValueError):  # its child was buried meanwhile
                deadline = page.hard_deadline
                if not deadline:
                    continue
                due = deadline + page.patience
                if due > now:
                    pause = min(pause, due - now)
                else:
                    self._end_child(page, now - page.patience)
        return pause

    def _end_child(self, page: Page, limit: float) -> None:
        """Kill a child in which something runs that should have ended by `limit`."""
        snapshot = page.read()
        if snapshot is None or snapshot.condemned:
            return
        late = snapshot.late(limit)
        if not late or not is_alive(snapshot.pid, snapshot.started):
            return
        page.condemn(late)
        self._clock.sleep(SETTLES)
        latest = page.read()
        if latest is not None and latest.is_late(late, limit):
            with contextlib.suppress(ProcessLookupError):
                os.kill(latest.pid, signal.SIGKILL)
        else:
            page.pardon()

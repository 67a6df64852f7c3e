"""Ending a task that is revoked while it runs, where it has its process to itself.

The process ends itself by the signal, and its supervisor takes over: it finds on the page for what that was
done. So whatever the task does, in C code, too, it ends, and nothing else is hurt: what had ended before is
settled first, and what waits is given back. Where the connection is the claim the supervisor has nothing to
take over: there the process says itself what became of the task.

Never does it hit the task after the one that was meant. The courier first says which it is about to end, and
then looks whether that still runs; who runs tasks first says that one has ended, and then looks whether it is
about to be ended. So at least one of them sees the other. If it is the courier, it leaves it; else the main
thread waits for the end, and begins nothing more.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
from collections.abc import Sequence, Sized
from typing import Any, Protocol

from umbel.app import Umbel
from umbel.exceptions import LeaseLost, OperationalError
from umbel.options import warn_once
from umbel.worker.execute import tell_beside
from umbel.worker.outcome import Revoked, Waiting
from umbel.worker.page import Page
from umbel.worker.revocations import Revocations
from umbel.worker.settler import Settler, give_up
from umbel.worker.softlimit import SoftLimit
from umbel.worker.stops import do_nothing

logger = logging.getLogger("umbel.worker")

#: Seconds that a task has which handles the signal itself; and between two looks whether it has ended.
GRACE, MOMENT = 3.0, 0.001
#: https://github.com/python/cpython/blob/3.11/Python/pylifecycle.c `PyOS_setsig`: any thread may call it.
_set_handler = ctypes.pythonapi.PyOS_setsig
_set_handler.argtypes, _set_handler.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p


class Runs(Protocol):
    """What a child is to who ends what it runs."""

    lock: threading.Lock
    revocations: Revocations
    current: Waiting | None
    #: What ran last and has ended, and what the process is about to end for.
    passed: Waiting | None
    condemned: Waiting | None
    holds: int

    @property
    def settler(self) -> Settler:
        """What settles for it."""

    @property
    def finished(self) -> Sized:
        """What is not settled yet."""

    def settle_finished(self, request: None = None, by_helper: bool = False) -> Sequence[Any]:
        """Settle what is finished, under the lock."""

    def release_waiting(self) -> int:
        """Give back what waits, under the lock."""


class Ends(Protocol):
    """Who ends what a child runs when that is revoked."""

    #: Whether the process is the child's own, which a supervisor replaces.
    may_end_process: bool

    def await_end(self, child: Runs) -> None:
        """Wait, where a task has just ended for which the process is about to end."""

    def is_owed(self, revocations: Revocations) -> bool:
        """Tell whether the courier is to `look`."""

    def look(self, child: Runs) -> None:
        """End what runs, if that is to be."""


class Termination:
    """Ends the process of a child that runs one task at a time."""

    def __init__(self, app: Umbel, page: Page) -> None:
        self._app = app
        self._clock = app.clock
        self._page = page
        self.may_end_process = False
        self._looked_at = 0

    def await_end(self, child: Runs) -> None:
        """Wait for the end of the process, or until it is clear that there will be none."""
        while child.condemned is child.passed:
            self._clock.sleep(MOMENT)

    def is_owed(self, revocations: Revocations) -> bool:
        """Tell whether more was revoked since it was last looked at what runs."""
        return revocations.reads != self._looked_at

    def look(self, child: Runs) -> None:
        """End what runs, if that is to be; called by the courier.

        Raises OperationalError and LeaseLost as settling does.
        """
        reads, item = child.revocations.reads, child.current
        number = None if item is None else child.revocations.signal_for(item.prepared)
        if item is not None and number is not None and not self._end(child, item, number):
            return  # and looks again
        self._looked_at = reads

    def _end(self, child: Runs, item: Waiting, number: int) -> bool:
        """End the process for what runs, if it still does; False when it is to be tried again."""
        if not self.may_end_process:
            warn_once(
                "A task was revoked with terminate=True while it ran, and goes on: it runs in the worker's"
                " own process, as with -P solo, which does not end itself."
            )
            return True
        if not child.lock.acquire(blocking=False):
            return False
        try:
            child.settle_finished(by_helper=True)
            child.release_waiting()
            if len(child.finished) > child.holds:
                return False
            child.condemned = item
            if child.current is not item or child.passed is item:
                child.condemned = None
                return True
            if not self._app.broker.features.leases:
                self._record(child, item, Revoked("terminated", number))
            self._page.terminate(item.prepared.delivery.key, number)
            self._die(child, number, item)
        finally:
            child.lock.release()
        return True

    def _record(self, child: Runs, item: Waiting, outcome: Revoked) -> None:
        """Settle what is ended, where the supervisor cannot take it over."""
        try:
            give_up(self._app, child.settler, [item.prepared], outcome)
        except (OperationalError, LeaseLost) as error:  # it comes back, and is discarded then
            logger.warning("That a task was terminated cannot be stored. %s", error)
        told = tell_beside(outcome, item.prepared)
        if told is not None:
            told.join(GRACE)

    def _die(self, child: Runs, number: int, item: Waiting) -> None:
        """End the process by a signal, or by SIGKILL where it does not heed that.

        A handler that the task itself has set is called, and has a moment to clean up.
        """
        handler = signal.getsignal(number) if number != signal.SIGKILL else signal.SIG_DFL
        # What a child has set by itself: for the soft limit, and to leave it to the supervisor when it stops.
        own = isinstance(getattr(handler, "__self__", None), SoftLimit) or handler is do_nothing
        handled = callable(handler) and not own and handler is not signal.default_int_handler
        if not handled and number != signal.SIGKILL:
            _set_handler(number, None)
        os.kill(os.getpid(), number)
        deadline = self._clock.monotonic() + (GRACE if handled else 0.1)
        while self._clock.monotonic() < deadline and child.passed is not item:
            self._clock.sleep(MOMENT)
        os.kill(os.getpid(), signal.SIGKILL)

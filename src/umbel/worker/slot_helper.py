"""The helper of a child that runs many tasks at a time: it sees to their time limits, too."""

from __future__ import annotations

import logging
import os

from umbel.exceptions import LeaseLost, OperationalError
from umbel.worker.helper import LONG, Helper
from umbel.worker.slots import SlotChild

logger = logging.getLogger("umbel.worker")

#: Seconds that cancelled coroutines have to clean up before the process ends.
CANCELLING = 0.5


class SlotHelper(Helper):
    """Looks after a child that runs many tasks at a time."""

    _child: SlotChild

    def start(self) -> None:
        """Start the threads, before those of tasks may take all that the system allows."""
        self._courier.start()
        super().start()

    def step(self, now: float) -> None:
        """Do what the helper of one task does, and leave where an event loop cannot go on."""
        super().step(now)
        if self._child.is_held_up(now):
            self._leave_late()

    def _is_wanted(self, now: float) -> bool:
        child = self._child
        return child.is_clogged(now) or child.is_late(now) or child.has_news(now)

    def relieve(self) -> None:
        """Settle what is finished, and give back what waits behind tasks that run long.

        What ends after this looked, and while it has the lock, is there when it looks again.
        """
        child = self._child
        if not self._heed_news(self._clock.monotonic()):
            return
        while child.is_clogged(now := self._clock.monotonic()) or child.is_late(now):
            if not child.lock.acquire(blocking=False):
                return  # to who settles just now, or will be waited for no longer than until the next look
            try:
                clogged = child.is_clogged(now)
                child.settle_finished(by_helper=True)
                if clogged:
                    child.release_waiting()
                if child.holds:
                    child.interrupt()  # so that the desk settles it
                    return
            except (OperationalError, LeaseLost):
                return  # the desk meets the same, and says so
            finally:
                child.lock.release()

    def _give_up(self) -> None:
        """Cancel coroutines, give them a moment to end, and end the process; what ran runs elsewhere."""
        self._child.cancel()
        deadline = self._clock.monotonic() + CANCELLING
        while self._child.is_cancelling() and self._clock.monotonic() < deadline:
            self._clock.sleep(LONG)
        super()._give_up()

    def _leave_late(self) -> None:
        """End the process, since its event loop does not go on; what runs beside runs elsewhere."""
        self._child.stopping.set()
        self._child.interrupt()
        logger.warning(
            "Pid %d leaves, and another takes its place: a task that exceeded its time limit holds up its"
            " event loop, and cannot be stopped. What ran beside it goes back.",
            os.getpid(),
        )
        self._child.retire()
        self._abandon("a task beside it held up the event loop", stopped=True)
        self._leave(0)

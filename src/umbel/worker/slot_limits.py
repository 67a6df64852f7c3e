"""Time limits in a child that runs many tasks at a time.

The helper looks for deadlines that have passed. At the soft one the task is told (interrupts.py). At the
hard one it is given up: that it exceeded its limit is recorded at once, whatever it does then, and it is told
to end. What has not ended a moment later cannot be stopped: the child is replaced, and leaves when its
other tasks have ended.

Whoever ends a task claims it, the task itself or the helper; so it has one outcome. The supervisor, too, may
end one, with the child, where the helper cannot run; see timekeeper.py for how the two agree.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from umbel.clock import Clock
from umbel.exceptions import SoftTimeLimitExceeded
from umbel.worker import report
from umbel.worker.interrupts import Interrupt
from umbel.worker.outcome import OverTime, Revoked, Waiting
from umbel.worker.own_limits import PARDON
from umbel.worker.slot_page import SlotPage
from umbel.worker.timelimits import time_limits

#: Seconds that a task which was given up has to end.
STUBBORN = 0.5


@dataclass(slots=True, eq=False)
class Timed:
    """A delivery that runs under time limits, and the moments at which they pass: never, for infinity."""

    item: Waiting
    soft: float
    hard: float
    soft_at: float
    hard_at: float
    guard: Interrupt = field(default_factory=Interrupt)
    claimed: threading.Lock = field(default_factory=threading.Lock)
    #: When it was given up; and whether it has come out of its code since.
    given_up_at: float = math.inf
    is_out: bool = False

    @property
    def deadlines(self) -> tuple[float, float]:
        """The same for a page, where 0 is never."""
        return self.soft_at if self.soft else 0.0, self.hard_at if self.hard else 0.0

    @property
    def next(self) -> float:
        """The moment at which something has to be done."""
        return min(self.soft_at, self.hard_at)


class SlotLimits:
    """What runs under time limits in a child. `give_up` is told of what exceeds its hard one."""

    def __init__(
        self, clock: Clock, page: SlotPage, give_up: Callable[[Waiting, OverTime | Revoked], None]
    ) -> None:
        self._clock = clock
        self._page = page
        self._give_up = give_up
        self._lock = threading.Lock()
        self._timed: dict[int, Timed] = {}
        #: No deadline passes before.
        self._next = math.inf
        self._hard = math.inf
        self._given_up: list[Timed] = []

    # Where tasks run

    def start(self, item: Waiting, now: float) -> Timed | None:
        """Return the limits under which a delivery starts; None when it has none."""
        hard, soft = time_limits(item.prepared)
        if not hard and not soft:
            return None
        timed = Timed(
            item,
            soft,
            hard,
            soft_at=now + soft if soft else math.inf,
            hard_at=now + hard if hard else math.inf,
        )
        with self._lock:
            self._timed[item.index] = timed
            self._next = min(self._next, timed.next)
            if timed.hard_at < self._hard:
                self._hard = timed.hard_at
                self._page.expect(self._hard)
        return timed

    def end(self, timed: Timed) -> bool:
        """Say that it has ended; False when it was given up, and has an outcome."""
        if not timed.claimed.acquire(blocking=False):
            return False
        self._lift(timed)
        return True

    def _lift(self, timed: Timed) -> None:
        with self._lock:
            del self._timed[timed.item.index]
        while self._page.lift(timed.item.index):
            self._clock.sleep(PARDON)  # the child is about to be killed, or to be pardoned

    # The helper's side

    def look(self, now: float) -> None:
        """Tell, or give up, whose time is over."""
        if now < self._next:
            return
        with self._lock:
            passed = [timed for timed in self._timed.values() if timed.next <= now]
        for timed in passed:
            if timed.hard_at <= now:
                self._give_up_now(timed, OverTime(timed.hard), now)
            else:
                timed.soft_at = math.inf
                report.soft_limit(timed.item.prepared, timed.soft)
                timed.guard.tell(SoftTimeLimitExceeded)
        with self._lock:
            left = self._timed.values()
            self._next = min((timed.next for timed in left), default=math.inf)
            self._hard = min((timed.hard_at for timed in left), default=math.inf)
            self._page.expect(0.0 if self._hard == math.inf else self._hard)

    def terminate(self, item: Waiting, outcome: Revoked, now: float) -> bool:
        """Give up what runs, with this outcome; False where it has no limits, or has ended."""
        with self._lock:
            timed = self._timed.get(item.index)
        if timed is None or timed.item is not item:
            return False
        return self._give_up_now(timed, outcome, now)

    def _give_up_now(self, timed: Timed, outcome: OverTime | Revoked, now: float) -> bool:
        if not timed.claimed.acquire(blocking=False):
            return False
        self._lift(timed)
        timed.given_up_at = now
        self._given_up.append(timed)
        self._give_up(timed.item, outcome)
        timed.guard.give_up()
        return True

    @property
    def watches(self) -> bool:
        """Whether something was given up that has not ended yet."""
        self._given_up = [timed for timed in self._given_up if not timed.is_out]
        return bool(self._given_up)

    def stubborn(self, now: float) -> list[Timed]:
        """Return what was given up and cannot be stopped."""
        if not self.watches:
            return []
        return [timed for timed in self._given_up if now - timed.given_up_at >= STUBBORN]

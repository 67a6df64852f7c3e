"""Deliveries of a child of many slots that run alone: after so many deaths one more would be the last.

They wait until nothing else runs there, and the child takes nothing more until then. What runs beside them
may take hours, so the child waits for a second at first, and twice as long each time that it waited in vain.
Then it puts them off, and waits for none for as long as it has just waited: so however many there are, it
takes other messages for half of the time. What comes in that time is put off at once. Whoever has nothing
else to do may take it meanwhile.
"""

from __future__ import annotations

from collections import deque

from umbel.clock import Clock
from umbel.worker import report
from umbel.worker.outcome import Job, NotDue, Prepared, Waiting

#: Seconds that a child waits for them at first, and at most.
FIRST, MOST = 1.0, 300.0
#: Seconds for which they are put off at most: others may become free, and so may this child.
LATER = 10.0


def is_suspect(prepared: Prepared, most: int) -> bool:
    """Tell whether it would be a dead letter if one more process died while it runs, of `most`."""
    return 0 < prepared.delivery.crashes >= most - 1 and isinstance(prepared.work, Job)


class Suspects:
    """See above. Any thread may take all of them away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        #: When the first of those that wait came, and until when none is waited for, on a steady clock.
        self._since = self._rests_until = clock.monotonic()
        #: How long they wait the next time.
        self._patience = FIRST
        #: When the last one was taken to be run.
        self._begun = self._since

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Waiting) -> None:
        """Take one in."""
        if not self._waiting:
            self._since = self._clock.monotonic()
        self._waiting.append(item)

    def next(self) -> Waiting | None:
        """Return the one that has waited longest, to be run now; None where there is none any more."""
        try:
            item = self._waiting.popleft()
        except IndexError:  # somebody has just taken all
            return None
        self._begun = self._rests_until = self._clock.monotonic()
        self._patience = FIRST
        return item

    def wait_behind_another(self, now: float) -> bool:
        """Tell whether some wait although the one that runs, or did, has had its time.

        Not at once: it may be about to end its process, and what goes back meanwhile may come twice then.
        """
        return bool(self._waiting) and now - self._begun >= FIRST

    def take_all(self) -> list[Waiting]:
        """Return those that have not been run, which go back."""
        found = []
        while self._waiting:
            try:
                found.append(self._waiting.popleft())
            except IndexError:  # the last one is run
                break
        return found

    def impatient(self) -> list[tuple[Waiting, NotDue]]:
        """Return those that do not wait any longer, and when they are to come back."""
        now = self._clock.monotonic()
        if not self._waiting:
            return []
        waited = 0.0
        if now >= self._rests_until:
            if now - self._since < self._patience:
                return []
            waited, self._patience = self._patience, min(2 * self._patience, MOST)
            self._rests_until = now + waited
        seconds = min(self._rests_until - now, LATER)
        later = NotDue(self._clock.time() + seconds)
        found = self.take_all()
        for item in found:
            report.put_off(item.prepared, waited, seconds)
        return [(item, later) for item in found]

"""Deliveries of a child of many slots that run alone: after so many deaths one more would be the last.

They wait until nothing else runs there, and the child takes nothing more until then. What runs beside them
may take hours, so they wait for a second at first, and twice as long each time that they come to this child
again; in between they are put off for as long, and whoever has nothing else to do may take them.
"""

from __future__ import annotations

from collections import deque

from umbel.clock import Clock
from umbel.worker.outcome import Waiting

#: Seconds that one waits at first, and at most.
FIRST, MOST = 1.0, 300.0
#: Most messages of which it is known how long they have waited.
REMEMBERED = 1000


class Suspects:
    """See above. Any thread may take all of them away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Each with the moment at which it came, on the clock that never goes back.
        self._waiting: deque[tuple[Waiting, float]] = deque()
        #: How long a message waits the next time, by its tag.
        self._patience: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Waiting) -> None:
        """Take one in."""
        self._waiting.append((item, self._clock.monotonic()))

    def next(self) -> Waiting | None:
        """Return the one that has waited longest, to be run now; None where there is none any more."""
        try:
            item, _ = self._waiting.popleft()
        except IndexError:  # somebody has just taken all
            return None
        self._patience.pop(item.prepared.delivery.tag, None)
        return item

    def take_all(self) -> list[Waiting]:
        """Return those that have not been run, which go back."""
        found = []
        while self._waiting:
            try:
                found.append(self._waiting.popleft()[0])
            except IndexError:  # the last one is run
                break
        return found

    def impatient(self) -> list[tuple[Waiting, float]]:
        """Return those that have waited in vain for long enough, and for how many seconds to put each off."""
        now, found = self._clock.monotonic(), []
        for item, since in list(self._waiting):
            tag = item.prepared.delivery.tag
            patience = self._patience.get(tag, FIRST)
            if now - since < patience:
                continue
            try:
                self._waiting.remove((item, since))
            except ValueError:  # somebody has just taken all
                break
            found.append((item, patience))
            self._patience[tag] = min(2 * patience, MOST)
            while len(self._patience) > REMEMBERED:
                del self._patience[next(iter(self._patience))]
        return found

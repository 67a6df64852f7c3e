"""How long what the server refuses is sent again.

The server does not say why it refuses. A quorum queue that has no leader at the moment refuses, and takes
what is sent a little later by a new connection. A queue that is full refuses until somebody takes messages
out of it, for which who publishes need not wait. So after each refusal the queue is asked how many messages
it has ready. One without a leader says that it has none, or does not answer: it is tried until the time is
over. One that has some, and refuses what is sent after it has said so, is full: it is tried for a moment,
and for as long as it goes on to take some of what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

#: Seconds before what was refused is sent again, which double each time, and most of them.
PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: Seconds for which a queue that is full and takes nothing is tried.
FULL = 1.0


@dataclass(slots=True)
class Patience:
    """When what was refused is sent again: until `deadline`, if a try takes as long as the last one."""

    deadline: float
    #: Seconds that the last try took.
    lasted: float
    #: How many messages the refusing queue has ready, where it is full.
    ready: int = 0
    _since: float = 0.0
    _next: float = PAUSE

    def heard(self, ready: int, progress: bool) -> None:
        """Take note of how many messages the queue has after a refusal, and whether some were taken."""
        if progress or not self.ready or not ready:
            self._since = monotonic()
        if progress:
            self._next = PAUSE
        self.ready = ready

    def pause(self) -> float | None:
        """Return the seconds until the next try; None where there is none.

        None, too, where it could not be confirmed in time.
        """
        pause = self._next
        self._next = min(2 * pause, LONGEST_PAUSE)
        now = monotonic()
        # Twice as long: of what is not confirmed in time nobody knows whether it is there.
        if now + pause + 2 * self.lasted >= self.deadline:
            return None
        return None if self.ready and now + pause > self._since + FULL else pause

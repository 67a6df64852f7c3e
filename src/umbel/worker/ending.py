"""The end of a node, as its keeper was told of it: from when on running tasks are not waited for."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Seconds for which a node that stops, and has no children any more, tries to take over what they held.
LAST_TRIES = 5.0
#: How a child died that its supervisor ended, in the reason why what may run only once failed.
ENDED = "the worker was stopped before it ended"


@dataclass(slots=True)
class Ending:
    """Whether a node is to stop, and by when. `at_once` when whoever stops it waits for nothing.

    `alone_since` is when the node had no children any more.
    """

    asked: bool = False
    at_once: bool = False
    due: float = math.inf
    alone_since: float | None = None

    def ask(self, within: float | None, now: float) -> None:
        """Ask for it, with `within` seconds for running tasks, or as long as they take.

        Of several such words the strictest counts.
        """
        if within is not None:
            self.at_once = self.at_once or within <= 0
            self.due = min(self.due, now + within)
        self.asked = True

    def alone_for(self, now: float) -> float:
        """Note that the node has no children any more; return for how many seconds it has had none.

        While it was not told to stop it will have others.
        """
        if self.alone_since is None and self.asked:
            self.alone_since = now
        return now - self.alone_since if self.alone_since is not None else 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether running tasks are not waited for any more."""
        return now >= self.due

    def pause(self, wanted: float, now: float) -> float:
        """Return for how long to wait instead of `wanted`, so as not to miss it."""
        return wanted if self.is_due(now) else min(wanted, self.due - now)

"""How many children a node has between its bounds: more while messages wait, fewer when some have idled."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from umbel.exceptions import ImproperlyConfigured

#: Celery's variable: seconds for which children may idle before some leave.
VARIABLE, KEEPALIVE = "AUTOSCALE_KEEPALIVE", 30.0


def keepalive(environ: Mapping[str, str] = os.environ) -> float:
    """Return for how many seconds children may idle. Raises ImproperlyConfigured for what is no number."""
    text = environ.get(VARIABLE) or str(KEEPALIVE)
    try:
        return float(text)
    except ValueError:
        raise ImproperlyConfigured(
            f"The environment variable {VARIABLE} is {text!r}, which is no number of seconds, such as 30."
        ) from None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most and fewest children of a node, or tasks that it runs at a time."""

    most: int
    fewest: int

    def divided(self, tasks: int) -> Bounds:
        """Return how many children that is, each of which runs so many tasks at a time."""
        return Bounds(math.ceil(self.most / tasks), math.ceil(self.fewest / tasks))


class Autoscaler:
    """Decides on the number of children, each of which has so many slots, each time it is asked."""

    def __init__(self, bounds: Bounds, keepalive: float, slots: int = 1) -> None:
        self._bounds = bounds
        self._keepalive = keepalive
        self._slots = slots
        #: When all slots of all children were taken, or their number changed.
        self._last_needed = 0.0

    def _are_busy(self, present: int, running: int) -> bool:
        """Tell whether all slots of the children that are there are taken."""
        return running >= present * self._slots

    def may_grow(self, present: int, running: int) -> bool:
        """Tell whether it depends on what waits, which costs a question to the broker."""
        return self._are_busy(present, running) and present < self._bounds.most

    def wanted(self, now: float, present: int, running: int, waiting: int) -> int:
        """Return how many children there should be, where so many tasks run in those that are there."""
        if self._are_busy(present, running):
            self._last_needed = now
        if self.may_grow(present, running) and waiting:
            # At most twice as many at a time: what waits may be done in a moment.
            more = min(math.ceil(waiting / self._slots), max(present, 1))
            return min(self._bounds.most, present + more)
        if now - self._last_needed > self._keepalive and present > self._bounds.fewest:
            self._last_needed = now
            return max(self._bounds.fewest, min(math.ceil(running / self._slots), present))
        return present

"""How many children a node has between its bounds: more while messages wait, fewer when some have idled."""

from __future__ import annotations

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
    """Most and fewest children of a node."""

    most: int
    fewest: int


class Autoscaler:
    """Decides on the number of children, each time it is asked."""

    def __init__(self, bounds: Bounds, keepalive: float) -> None:
        self._bounds = bounds
        self._keepalive = keepalive
        #: When all children were busy, or their number changed.
        self._last_needed = 0.0

    def may_grow(self, present: int, busy: int) -> bool:
        """Tell whether it depends on what waits, which costs a question to the broker."""
        return busy >= present and present < self._bounds.most

    def wanted(self, now: float, present: int, busy: int, waiting: int) -> int:
        """Return how many children there should be, where `busy` of `present` run tasks."""
        if busy >= present:
            self._last_needed = now
        if self.may_grow(present, busy) and waiting:
            # At most twice as many at a time: what waits may be done in a moment.
            return min(self._bounds.most, present + min(waiting, max(present, 1)))
        if now - self._last_needed > self._keepalive and present > self._bounds.fewest:
            self._last_needed = now
            return max(self._bounds.fewest, busy)
        return present

"""A broker that does not answer a child: what is said of that, once, and how soon it is asked again."""

from __future__ import annotations

import logging
from math import inf
from random import random

from umbel.clock import Clock

logger = logging.getLogger("umbel.worker")

#: Shortest and longest pause, in seconds, between two tries to reach it: by so much later than it is back is
#: it found.
LEAST_PATIENCE, MOST_PATIENCE = 0.05, 1.0
#: Seconds after an answer in which the same failure again is no new one. A server may take one call and
#: refuse another for ever, such as one that a user has no right to.
SOON = 1.0
#: Seconds without a failure after which such a server is trusted again.
QUIET = 60.0


class Outage:
    """Whether a broker answers. One that wavers between refusals and answers is told of once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._over = self._failed = -inf
        self._said = ""
        self._wavers = False
        self._pause = LEAST_PATIENCE

    def begins(self, error: Exception) -> float:
        """Note that a call failed; return in how many seconds to try again."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            same = str(error) == self._said
            if not (same and self._wavers):
                self._wavers = same and now - self._over < SOON
                if not self._wavers:
                    self._pause = LEAST_PATIENCE
                self._said = str(error)
                logger.warning("The broker does not answer; trying until it does. %s", error)
        self._failed = now
        pause, self._pause = self._pause, min(self._pause * 2, MOST_PATIENCE)
        return pause * (0.5 + random() / 2)

    def ends(self) -> None:
        """Note that a call was answered."""
        if self._since is None and not self._wavers:
            return
        now = self._clock.monotonic()
        if self._since is not None:
            self._over = now
            if not self._wavers:
                logger.warning("The broker answers again, after %.1f s.", now - self._since)
            self._since = None
        elif now - self._failed >= QUIET:
            self._wavers = False
            logger.warning("The broker answers again.")

"""Notices another worker of the same name, on whatever host: by a lease of that name, of which there is one.

One that has just died, under this name, still has the lease for a while: nothing is said before that is over.
"""

from __future__ import annotations

import logging
import math

from umbel.clock import Clock
from umbel.ports import StateStore

logger = logging.getLogger("umbel.worker")

#: Seconds that the lease of a name lasts, and between two calls for it: far fewer calls than for messages.
LASTS, EVERY = 60.0, 20.0


class Namesakes:
    """Holds the lease of a node's name, or says once that another one has it."""

    def __init__(self, state: StateStore, name: str, node: str, clock: Clock) -> None:
        self._state = state
        self._name = name
        self._node = node
        self._clock = clock
        self._next = -math.inf
        #: When another one was first found to have the lease; None while none has.
        self._found: float | None = None
        self._told = False

    @property
    def _lease(self) -> str:
        return f"worker:{self._name}"

    def renew(self) -> None:
        """Take or prolong the lease, if it is time. Raises OperationalError."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        if self._state.hold(self._lease, self._node, LASTS) is not None:
            self._found = None
        elif self._found is None:
            self._found = now
        elif now - self._found > LASTS and not self._told:
            self._told = True
            logger.warning(
                "Another worker on this broker has the name %s, too, perhaps on another host. Both take"
                " messages; but whoever asks for one by name may get the other. Give each a name of its own:"
                " -n worker@%%h.",
                self._name,
            )
        self._next = now + EVERY

    def leave(self) -> None:
        """Let others have the name. Raises OperationalError."""
        self._state.let_go(self._lease, self._node)

"""Waiting for sockets to have something to read, at the least cost that the system offers."""

from __future__ import annotations

import math
import select
import selectors
import socket
from typing import Any

#: Longest wait, in seconds: more milliseconds are no number to ``poll``.
LONGEST = 86_400.0


def poll_of(opened: socket.socket) -> Any:
    """Return what tells quickly whether there is something to read, or the end; None where nothing does."""
    if not hasattr(select, "poll"):
        return None
    found = select.poll()
    found.register(opened, select.POLLIN)
    return found


class Watch:
    """Watches a socket, and others whose news end the wait for it.

    `selectors` makes objects of what the system says, which takes longer than to ask it.
    """

    def __init__(self, opened: socket.socket) -> None:
        self._poll = poll_of(opened)
        self._number = opened.fileno()
        self._selector: selectors.BaseSelector | None = None
        if self._poll is None:
            self._selector = selectors.SelectSelector()
            self._selector.register(opened, selectors.EVENT_READ)

    def add(self, other: socket.socket) -> None:
        """Watch another one, too."""
        if self._selector is not None:
            self._selector.register(other, selectors.EVENT_READ)
        else:
            self._poll.register(other, select.POLLIN)

    def sees(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for news of any; tell whether the first has some, or has ended."""
        if self._selector is not None:
            ready = self._selector.select(max(timeout, 0.0))
            return any(key.fd == self._number for key, _ in ready)
        wait = math.ceil(min(timeout, LONGEST) * 1000) if timeout > 0.0 else 0
        return self._number in dict(self._poll.poll(wait))

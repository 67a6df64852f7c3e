"""Waiting for sockets, however many there are."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable


def ready_to_read(sockets: Iterable[socket.socket], seconds: float) -> list[socket.socket]:
    """Return those that have something to read, or have come to their end, within so many seconds.

    `select.select` could not wait for a file descriptor beyond 1,023.
    """
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ, one)
        return [key.data for key, _ in selector.select(seconds)]

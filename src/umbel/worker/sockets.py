"""Waiting for sockets, however many there are."""

from __future__ import annotations

import math
import select
import selectors
import socket
from collections.abc import Iterable


def ready_to_read(sockets: Iterable[socket.socket], seconds: float) -> list[socket.socket]:
    """Return those that have something to read, or have come to their end, within so many seconds.

    `select.select` could not wait for a file descriptor beyond 1,023. An idle node does hardly anything but
    this: `selectors` would take longer for its bookkeeping than all else that is done then.
    """
    if not hasattr(select, "poll"):  # Windows, where selectors use select
        with selectors.DefaultSelector() as selector:
            for one in sockets:
                selector.register(one, selectors.EVENT_READ, one)
            return [key.data for key, _ in selector.select(seconds)]
    numbered = {one.fileno(): one for one in sockets}
    poll = select.poll()
    for number in numbered:
        poll.register(number, select.POLLIN)
    return [numbered[number] for number, _ in poll.poll(math.ceil(seconds * 1000))]

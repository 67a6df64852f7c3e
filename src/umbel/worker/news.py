"""What the keeper says to the thread that runs code of users, for which it never waits."""

from __future__ import annotations

import contextlib
import socket
from collections import deque

from umbel.worker.decide import Verdict


class News:
    """A bell, and what it may ring for beside what anybody can see of the keeper."""

    def __init__(self) -> None:
        #: Readable when there are news; at its end, when the keeper has ended.
        self.bell, self._rings = socket.socketpair()
        self._rings.setblocking(False)
        #: Failures of tasks whose processes are gone, which their handlers have not heard of.
        self.failures: deque[Verdict] = deque()
        #: Whether leases were renewed, and nobody was told.
        self.renewed = False

    def ring(self) -> None:
        """Let the other thread look. Where it has not looked for long it has reason enough to."""
        with contextlib.suppress(OSError):
            self._rings.send(b"!")

    def heard(self) -> bool:
        """Take in what has rung, waiting for it; False at the end."""
        return bool(self.bell.recv(64))

    def end(self) -> None:
        """Say that there will be no more."""
        self._rings.close()

    def close(self) -> None:
        """Close the sockets."""
        self.bell.close()
        self._rings.close()

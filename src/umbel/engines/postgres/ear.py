"""A connection that listens to a channel, and proves that it does.

That notifications arrive is not taken for granted: from time to time the connection notifies itself. Where a
pooler is between, nobody can be notified, and whoever waits only looks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from umbel.engines.postgres.link import Link
from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError

#: Seconds after which who waits looks by itself: somebody may have been about to commit.
SOON = (0.004, 0.02, 0.1, 0.4)
#: Seconds between two looks after that.
SLOW = 1.0
#: Seconds between the looks of who cannot be notified: the first ones; then as the options say.
FIRST_POLLS = (0.01, 0.02, 0.05, 0.1, 0.2)
#: Seconds between two proofs that notifications arrive.
PROOF = 10.0
#: What a proof says.
ECHO = "echo"

_NOTIFY = "SELECT pg_notify(%s, %s)"


class Ear:
    """One channel, on one connection. One thread at a time, but for `interrupt`."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._link: Link | None = None
        self._next_proof = 0.0
        self.interrupted = threading.Event()

    @property
    def is_open(self) -> bool:
        """True if there is a connection that nothing is known against."""
        return self._link is not None and not self._link.busy

    def link(self, timeout: float | None = None) -> tuple[Link, bool]:
        """Return the connection, and whether it is a new one. Raises OperationalError."""
        link = self._link
        if link is not None and link.is_fit:
            return link, False
        self.close()
        link = self._server.dedicated(timeout)
        if not link.pooled:
            try:
                link.execute(f'LISTEN "{self._channel}"', (), self._server.timeout)
            except BaseException:
                link.close()
                raise
        self._next_proof = self._server.clock.monotonic() + PROOF
        self._link = link
        return link, True

    def pauses(self) -> Iterator[float]:
        """Give the seconds between one look and the next, without an end."""
        if self._link is None or not self._link.pooled:
            yield from SOON
            while True:
                yield SLOW
        longest = self._server.address.poll_interval
        yield from (pause for pause in FIRST_POLLS if pause < longest)
        while True:
            yield longest

    def hear(self, until: float) -> list[str]:
        """Return what was notified, at the latest at a time of the clock, or when interrupted.

        Raises OperationalError when the connection is lost.
        """
        clock, link = self._server.clock, self._link
        assert link is not None  # noqa: S101 - opened before; for type checkers
        while not self.interrupted.is_set():
            left = until - clock.monotonic()
            heard = [payload for _, payload in link.hear(max(left, 0.0)) if payload != ECHO]
            if heard or left <= 0:
                return heard
        return []

    def prove(self) -> list[str]:
        """Let the connection notify itself, if it is time for that; return what else it was notified of.

        Raises OperationalError when it is deaf.
        """
        now, link = self._server.clock.monotonic(), self._link
        if now < self._next_proof or link is None or link.pooled:
            return []
        self._next_proof = now + PROOF
        self._server.run(link, _NOTIFY, (self._channel, ECHO), self._server.timeout)
        # The server tells it before it is ready for the next statement.
        heard = [payload for _, payload in link.hear(0.0)]
        if ECHO not in heard:
            self.close()
            raise OperationalError(
                f"PostgreSQL at {self._server.shown} does not notify a connection that listens; it is"
                " connected to again. If that happens again, something like pgbouncer is between: add"
                " ?pooler=transaction to the URL."
            )
        return [payload for payload in heard if payload != ECHO]

    def interrupt(self) -> None:
        """Make who hears return, now or at its next call."""
        self.interrupted.set()
        link = self._link
        if link is not None:
            link.interrupt()

    def drop_broken(self) -> None:
        """Close the connection if it is of no use any more."""
        if self._link is not None and self._link.busy:
            self.close()

    def close(self) -> None:
        """Close the connection; in a child of a fork the parent's goes on undisturbed."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

"""Waking waiting processes within a moment, without polling.

Whoever waits binds a datagram socket on the loopback interface and writes its port into the file,
in the same transaction in which it found nothing to do. Whoever makes something to do reads the
ports in its own transaction and, after the commit, sends one byte to each. Transactions are one
after the other, so either the waiter sees the news or the other side sees the waiter. A lost
datagram costs a second: waiters look by themselves then. Rows are renewed by whoever waits long, and
those of the dead are taken out.

Topics: ``queue:<number>``, of whose waiters as many are woken as there are messages; ``result:<task
id>`` and ``broadcast``, whose waiters are all woken.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence

from umbel.engines.sql import statements
from umbel.engines.sqlite.rows import escaped

_SQL = statements(__package__, "bell.sql")

#: Seconds between two looks of a waiter whom nobody wakes.
SLOW_CHECK = 1.0
#: Seconds after which a waiter lists itself again, and milliseconds after which a row that nobody
#: renewed is swept away: its process died, or could not take it out.
RENEWAL, STALE = 60.0, 300_000


def forget_listeners(connection: sqlite3.Connection, owner: int) -> None:
    """Take the rows of an owner who is gone out of the file: each would swallow a message's bell."""
    connection.execute(_SQL["forget_listeners"], (owner,))


def sweep_listeners(connection: sqlite3.Connection, now: int) -> None:
    """Take rows that nobody renews out of the file."""
    connection.execute(_SQL["sweep_listeners"], (now - STALE, now + STALE))


class Bell:
    """The waiting side: a port on which to be woken."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def listen(
        self,
        connection: sqlite3.Connection,
        topics: Iterable[str],
        now: int,
        owner: int | None = None,
    ) -> None:
        """Be woken for topics; part of the transaction that found nothing.

        Whoever still waits after `RENEWAL` seconds says so again.
        """
        values = [(escaped(topic), self.port, owner, now) for topic in topics]
        connection.executemany(_SQL["listen"], values)

    def is_listening(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the file still lists this port."""
        return connection.execute(_SQL["is_listening"], (self.port,)).fetchone() is not None

    def stop_listening(self, connection: sqlite3.Connection) -> None:
        """Take this port out of the file."""
        connection.execute(_SQL["stop_listening"], (self.port,))

    def wait(self, seconds: float) -> bool:
        """Wait to be woken; False when `seconds` passed instead."""
        try:
            # Not select(), which fails in a process with more than 1024 open files.
            self._socket.settimeout(max(seconds, 0.0))
            self._socket.recv(16)
        except (TimeoutError, BlockingIOError):
            return False
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)
        return True

    def close(self) -> None:
        """Close the port. A row left in the file swallows bells until its owner goes or it is swept."""
        self._socket.close()


class Ringer:
    """The waking side. Ports are collected in a transaction and rung after its commit."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._pid = 0

    def queue_waiters(
        self, connection: sqlite3.Connection, queue: int, messages: int
    ) -> Sequence[int]:
        """Return as many waiters of a queue as there are messages.

        They are no longer listed as waiting.
        """
        rows = connection.execute(_SQL["listeners"], (f"queue:{queue}", messages)).fetchall()
        if rows:
            connection.executemany(_SQL["stop_listening"], rows)
        return [port for (port,) in rows]

    def result_waiters(self, connection: sqlite3.Connection, task_ids_json: str) -> Sequence[int]:
        """Return all who wait for one of the results (task ids as a JSON list)."""
        if connection.execute(_SQL["any_result_listener"]).fetchone() is None:
            return ()
        return [port for _, port in connection.execute(_SQL["result_listeners"], (task_ids_json,))]

    def broadcast_waiters(self, connection: sqlite3.Connection) -> Sequence[int]:
        """Return all who listen to broadcasts."""
        return [port for (port,) in connection.execute(_SQL["listeners"], ("broadcast", -1))]

    def ring(self, ports: Iterable[int]) -> None:
        """Wake waiters; one that is gone is passed over."""
        for port in ports:
            with contextlib.suppress(OSError):
                self._sender().sendto(b"!", ("127.0.0.1", port))

    def _sender(self) -> socket.socket:
        if self._socket is None or self._pid != os.getpid():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._pid = os.getpid()
        return self._socket

    def close(self) -> None:
        """Close the sending socket; the next ring opens another."""
        if self._socket is not None and self._pid == os.getpid():
            self._socket.close()
        self._socket = None

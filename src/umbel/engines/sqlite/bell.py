"""Waking waiting processes within a moment, without polling.

Whoever waits binds a datagram socket on the loopback interface and writes its port into the file,
in the same transaction in which it found nothing to do. Whoever makes something to do reads the
ports in its own transaction and, after the commit, sends one byte to each. Transactions are one
after the other, so either the waiter sees the news or the other side sees the waiter. A lost
datagram costs a second: waiters look by themselves then. Rows are renewed by whoever waits long, and
those of the dead are taken out.

Topics: ``queue:<number>``, of whose waiters as many are woken as there are messages; ``result:<task
id>`` and ``broadcast``, whose waiters are all woken. Of results the datagram says which, so that who
waits for thousands need not look for all of them each time; with a final one its rows go.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence

from umbel.engines.sql import statements
from umbel.engines.texts import escaped
from umbel.records import ResultRecord

_SQL = statements(__package__, "bell.sql")

#: Seconds between two looks of a waiter whom nobody wakes.
SLOW_CHECK = 1.0
#: Seconds after which a waiter lists itself again, and milliseconds after which a row that nobody
#: renewed is swept away: its process died, or could not take it out.
RENEWAL, STALE = 60.0, 300_000
#: Says that there is news, but not what.
NEWS = b"!"
#: Bytes of a datagram that names results, at most.
WORD = 8000
_RESULT = "result:"

#: Whom to wake: a port, or a port and the ids of results, a line each.
Ring = int | tuple[int, bytes]


def result_topics(task_ids: Iterable[str]) -> list[str]:
    """Return the topics of results."""
    return [_RESULT + task_id for task_id in task_ids]


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

    def stop_listening_for(self, connection: sqlite3.Connection, topics: Iterable[str]) -> None:
        """Take some topics of this port out of the file."""
        values = [(escaped(topic), self.port) for topic in topics]
        connection.executemany(_SQL["stop_listening_for"], values)

    def wait(self, seconds: float) -> bool:
        """Wait to be woken; False when `seconds` passed instead."""
        return bool(self.hear(seconds))

    def hear(self, seconds: float) -> list[bytes]:
        """Wait to be woken; return what was said, nothing when `seconds` passed instead."""
        heard = []
        try:
            # Not select(), which fails in a process with more than 1024 open files.
            self._socket.settimeout(max(seconds, 0.0))
            heard.append(self._socket.recv(WORD))
        except (TimeoutError, BlockingIOError):
            return heard
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self._socket.recv(WORD))
        return heard

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

    def result_waiters(
        self, connection: sqlite3.Connection, records: Sequence[ResultRecord]
    ) -> list[Ring]:
        """Return all who wait for one of the results. Of a final one, they are no longer listed."""
        if connection.execute(_SQL["any_result_listener"]).fetchone() is None:
            return []
        rows: list[tuple[str, int]] = []
        for statement, final in (("result_told", True), ("result_listeners", False)):
            ids = [record.task_id for record in records if record.ready is final]
            if ids:
                rows += connection.execute(_SQL[statement], (json.dumps(ids),)).fetchall()
        return _with_words(rows)

    def broadcast_waiters(self, connection: sqlite3.Connection) -> Sequence[int]:
        """Return all who listen to broadcasts."""
        return [port for (port,) in connection.execute(_SQL["listeners"], ("broadcast", -1))]

    def ring(self, rings: Iterable[Ring]) -> None:
        """Wake waiters; one that is gone is passed over."""
        for ring in rings:
            port, word = ring if isinstance(ring, tuple) else (ring, NEWS)
            with contextlib.suppress(OSError):
                self._sender().sendto(word, ("127.0.0.1", port))

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


def _with_words(rows: Iterable[tuple[str, int]]) -> list[Ring]:
    """Return whom to wake, told by as few datagrams as hold the ids."""
    words: dict[int, list[bytes]] = {}
    for topic, port in rows:
        task_id = topic.removeprefix(_RESULT).encode("utf-8", "replace")[: WORD - 1]
        said = words.setdefault(port, [b""])
        if len(said[-1]) + len(task_id) >= WORD:
            said.append(b"")
        said[-1] += task_id + b"\n"
    return [(port, word) for port, said in words.items() for word in said]

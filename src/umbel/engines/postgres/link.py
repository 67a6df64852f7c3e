"""One connection to a PostgreSQL server, with a limit for each call, on psycopg's connections.

psycopg connects, logs in, encrypts and speaks the protocol. What is done here and not there: a call has a
limit, nothing is repeated, and a thread that waits for notifications can be woken by another.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

from umbel.engines.postgres.address import Address
from umbel.engines.postgres.errors import THEIRS, Silent, translated

#: A statement is prepared at its third use on a connection.
PREPARE_AFTER = 2
#: Seconds for which libpq tries to connect to a server at least.
LEAST_CONNECT = 2

Row = tuple[Any, ...]


class _Connection(psycopg.Connection[Row]):
    """psycopg's connection, which gives up at `deadline`."""

    deadline = math.inf

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Drive one of psycopg's generators until it ends. Raises Silent at the deadline."""
        try:
            wanted = next(gen)
            poll = select.poll()
            poll.register(self.pgconn.socket, _EVENTS[wanted])
            while True:
                left = self.deadline - monotonic()
                ready = poll.poll(None if left == math.inf else max(left, 0) * 1000)
                if not ready:
                    raise Silent
                again = gen.send(_ready(ready[0][1]))
                if again != wanted:
                    wanted = again
                    poll.modify(self.pgconn.socket, _EVENTS[wanted])
        except StopIteration as end:
            return end.value


_EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}


def _ready(event: int) -> Ready:
    """Return what psycopg calls an event; an error shows itself when it is read."""
    readable = bool(event & ~select.POLLOUT)
    if readable and event & select.POLLOUT:
        return Ready.RW
    return Ready.R if readable else Ready.W


def _rows(cursor: psycopg.Cursor[Row]) -> list[Row]:
    """Return what a statement gave, if it gives rows.

    A cursor's `description` says that, too, but makes an object for each of their columns each time.
    """
    result = cursor.pgresult
    return cursor.fetchall() if result is not None and result.status == ExecStatus.TUPLES_OK else []


class Link:
    """One connection, used by one thread at a time; only `interrupt` may be called by any other."""

    def __init__(self, address: Address, timeout: float) -> None:
        """Connect within about `timeout` seconds. Raises OperationalError."""
        self.address = address
        self._timeout = timeout
        #: True while an answer is due: then this connection is of no use to anybody else.
        self.busy = False
        #: When it was last given back, for who keeps several.
        self.used = 0.0
        #: Notifications that came and nobody has taken: channel and payload.
        self._heard: deque[tuple[str, str]] = deque()
        self._woken: tuple[socket.socket, socket.socket] | None = None
        self._wake_lock = threading.Lock()
        with self._translating(opening=True):
            self._connection = self._connect(timeout)
        #: Whether something is between that does not let a session last: see `find_pooler`.
        self.pooled = address.pooler == "transaction"

    def _connect(self, timeout: float) -> _Connection:
        # It is tried for so long at each of several servers.
        share = min(timeout, self.address.connect_timeout) / self.address.servers
        limit = max(int(share), LEAST_CONNECT)
        connection: _Connection = _Connection.connect(
            **{**self.address.parameters, "connect_timeout": limit},
            autocommit=True,
            prepare_threshold=None,
        )
        connection.add_notify_handler(
            lambda notify: self._heard.append((notify.channel, notify.payload))
        )
        return connection

    def find_pooler(self) -> bool:
        """Tell whether another process is asked than the one that the connection was told of.

        So it is where a pooler is between. Without one, statements are prepared from now on.
        """
        if self.address.pooler == "auto":
            [(pid,)] = self.execute("SELECT pg_backend_pid()", (), self._timeout)
            self.pooled = pid != self._connection.info.backend_pid
        if not self.pooled:
            self._connection.prepare_threshold = PREPARE_AFTER
        return self.pooled

    # Calling

    def execute(self, statement: str, values: Sequence[Any], timeout: float) -> list[Row]:
        """Run a statement, a transaction of its own, and return its rows. Raises OperationalError."""
        with self._limited(timeout):
            cursor = self._connection.execute(statement, values or None, binary=True)
            return _rows(cursor)

    def execute_all(
        self, statements: Sequence[tuple[str, Sequence[Any]]], timeout: float
    ) -> list[Row]:
        """Run statements as one transaction, sent in one go; return the rows of the last.

        The isolation is the one that our functions rest on, whatever the server's default is.
        """
        with self._limited(timeout):
            with self._connection.pipeline():
                self._connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                for statement, values in statements:
                    last = self._connection.execute(statement, values or None, binary=True)
                self._connection.execute("COMMIT")
            return _rows(last)

    def execute_script(self, script: str, timeout: float) -> None:
        """Run what is more than one statement, in the transaction that is open or as one of its own."""
        with self._limited(timeout):
            self._connection.execute(script)

    @contextlib.contextmanager
    def _limited(self, timeout: float) -> Iterator[None]:
        self._timeout = timeout
        self._connection.deadline = monotonic() + timeout
        self.busy = True
        with self._translating():
            try:
                yield
            except psycopg.Error:
                # An error is an answer, too, unless the connection went with it.
                self.busy = not self._comes_to_rest()
                raise
        self.busy = False

    def _comes_to_rest(self) -> bool:
        connection = self._connection
        if connection.closed:
            return False
        if connection.info.transaction_status == TransactionStatus.INERROR:
            connection.execute("ROLLBACK")
        return connection.info.transaction_status == TransactionStatus.IDLE

    # Waiting for notifications

    def hear(self, seconds: float) -> list[tuple[str, str]]:
        """Return the notifications that came within `seconds`; nothing also after an `interrupt`."""
        with self._translating():
            if not self._heard and self._is_readable(seconds):
                self._read()
            heard = list(self._heard)
            self._heard.clear()
            return heard

    def _read(self) -> None:
        """Take what the server said, without being asked."""
        pgconn = self._connection.pgconn
        pgconn.consume_input()
        while (notify := pgconn.notifies()) is not None:
            self._heard.append((notify.relname.decode(), notify.extra.decode()))
        if pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError("the server closed the connection")

    def _is_readable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._connection.pgconn.socket, select.POLLIN)
        pipe = self._pipe()
        poll.register(pipe, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(max(seconds, 0.0) * 1000)]
        if pipe.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                pipe.recv(4096)
        return self._connection.pgconn.socket in ready

    def _pipe(self) -> socket.socket:
        with self._wake_lock:
            if self._woken is None:
                self._woken = socket.socketpair()
                for one in self._woken:
                    one.setblocking(False)
            return self._woken[0]

    def interrupt(self) -> None:
        """Make a `hear` of now return soon."""
        with self._wake_lock, contextlib.suppress(BlockingIOError, OSError):
            if self._woken is not None:
                self._woken[1].send(b"!")

    # Ending

    @property
    def is_fit(self) -> bool:
        """Tell whether the connection can be used again: open, with nothing that came unasked."""
        if self.busy or self._connection.closed:
            return False
        poll = select.poll()
        poll.register(self._connection.pgconn.socket, select.POLLIN)
        try:
            while poll.poll(0):  # first what was said, and then that it was the last
                self._read()
        except (psycopg.Error, OSError):
            return False
        return True

    def close(self) -> None:
        """Close."""
        self._connection.close()
        with self._wake_lock:
            woken, self._woken = self._woken, None
        for one in woken or ():
            one.close()

    def let_go(self) -> None:
        """Close the copy that the child of a fork has; the parent's connection goes on undisturbed.

        libpq says goodbye to the server when it closes a connection, so it is given something else to
        say that to.
        """
        self._wake_lock = threading.Lock()  # a thread that is not here may have had it
        with contextlib.suppress(psycopg.Error, OSError):
            nowhere = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(nowhere, self._connection.pgconn.socket)
            finally:
                os.close(nowhere)
        self.close()

    @contextlib.contextmanager
    def _translating(self, opening: bool = False) -> Iterator[None]:
        """Raise psycopg's errors as ours."""
        try:
            yield
        except THEIRS as error:
            where = self.address
            raise translated(error, where.shown, self._timeout, where.schema, opening) from error

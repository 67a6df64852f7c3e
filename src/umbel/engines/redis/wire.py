"""The bytes of a connection: what is sent, and what comes.

A call of redis-py's own passes through a dozen functions on its way to the socket and back, and all of them
are cold again after the thread has slept for the answer: that takes longer than the server does. So a call
goes to the socket by itself, and its answer to hiredis, as does what is waited for. redis-py would also write
down all that is told on a channel, for a logger that nobody listens to. What connects, logs in and encrypts
stays redis-py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from socket import socket
from typing import Any, NoReturn

from redis import exceptions as theirs

from umbel.engines.redis.insides import reader_of, socket_of

#: Most bytes that are read at once, and pieces that are sent.
SIZE, MOST_PIECES = 65_536, 64


class Wire:
    """Sends what is packed, and reads answers; both raise redis-py's errors."""

    __slots__ = (
        "_connection",
        "_feed",
        "_gets",
        "_hears",
        "_pending",
        "_receive",
        "_send",
        "_send_some",
        "nothing",
    )

    def __init__(self, connection: Any, hears: bool) -> None:
        """Take a connection that is open. On one that `hears` answers are not all that comes."""
        self._connection = connection
        self._hears = hears
        sock = socket_of(connection)
        reader = None if sock is None else reader_of(connection)
        self._gets = self._send_some = None
        #: What `come` returns where nothing has come.
        self.nothing: object = object()
        #: Tells of bytes that were read with others and are decrypted since; no event of the socket does.
        self._pending = getattr(sock, "pending", None)
        if reader is not None and sock is not None:
            self._send, self._receive = sock.sendall, sock.recv
            # What encrypts cannot, nor can Windows.
            self._send_some = getattr(sock, "sendmsg", None) if type(sock) is socket else None
            self._feed, self._gets = reader.feed, reader.gets
            self.nothing = reader.gets()  # what it says while an answer is not complete

    def send(self, data: bytes) -> None:
        """Send all of it."""
        if socket_of(self._connection) is None:
            # redis-py would connect again, and listen to nothing.
            raise theirs.ConnectionError("It has been closed.")
        if self._gets is None:
            self._connection.send_packed_command((data,))
            return
        try:
            self._send(data)
        except OSError as error:
            self._fail(error, "writing to")

    def send_pieces(self, pieces: Sequence[bytes]) -> None:
        """Send all of them, without putting them together where the socket can do so."""
        if len(pieces) == 1 or len(pieces) > MOST_PIECES or self._send_some is None:
            return self.send(b"".join(pieces))
        if socket_of(self._connection) is None:
            return self.send(b"")  # which says so
        try:
            sent = self._send_some(pieces)
        except OSError as error:
            self._fail(error, "writing to")
        left = []
        for piece in pieces:
            if sent < len(piece):
                left.append(piece[sent:])
            sent = max(sent - len(piece), 0)
        if left:  # at once: the limit is one for all
            self.send(b"".join(left))
        return None

    # Answers

    def answer(self) -> Any:
        """Return the next answer; one that is an error is returned, too."""
        return self.answers(1)[0]

    def answers(self, count: int) -> list[Any]:
        """Return the next answers; those that are errors are in their places. What is told is lost."""
        gets = self._gets
        found: list[Any] = []
        if gets is None or self._hears:
            return [self._read_by_redis_py() for _ in range(count)]
        nothing = self.nothing
        for _ in range(count):
            while (answer := gets()) is nothing:
                self._read()
            found.append(answer)
        return found

    # What comes: answers, and what is told

    def come(self) -> Any:
        """Return what comes next if it was read with what came before; else `nothing`."""
        return self.nothing if self._gets is None else self._gets()

    def skip(self, most: int) -> int:
        """Pass over up to so many answers that were read with what came before; return how many."""
        gets, nothing = self._gets, self.nothing
        if gets is not None:
            for number in range(most):
                if gets() is nothing:
                    return number
            return most
        return 0

    def is_there(self) -> bool:
        """Tell whether something has come that no event of the socket tells of any more."""
        if self._gets is None:
            return bool(self._connection.can_read(0))
        return self._pending is not None and self._pending() > 0

    def next(self) -> Any:
        """Return what comes next, once it has; an answer that is an error is returned, too."""
        gets = self._gets
        if gets is None:
            return self._read_by_redis_py(push_request=True)
        while (found := gets()) is self.nothing:
            self._read()
        return found

    # Reading

    def _read_by_redis_py(self, **how: Any) -> Any:
        try:
            return self._connection.read_response(**how)
        except theirs.ResponseError as error:
            return error

    def _read(self) -> None:
        """Let the reader have what has come, once something has."""
        try:
            data = self._receive(SIZE)
        except OSError as error:
            self._fail(error, "reading from")
        if not data:
            self._fail(ConnectionError("the server has closed it"), "reading from")
        self._feed(data)

    def _fail(self, error: OSError, doing: str) -> NoReturn:
        """Close the connection, and raise what redis-py would."""
        self._connection.disconnect()
        if isinstance(error, TimeoutError):
            raise theirs.TimeoutError(f"Timeout {doing} the socket") from error
        raise theirs.ConnectionError(f"Error {doing} the socket: {error}.") from error

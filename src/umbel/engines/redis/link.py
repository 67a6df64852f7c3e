"""One connection to a Redis server, with a limit for each call, on redis-py's connections.

redis-py connects, logs in, encrypts and parses. What is done here and not there: nothing is ever
repeated silently, a call has one limit for connecting and answering together, and a thread that waits
can be woken by another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Any, NoReturn

import redis
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from umbel.engines.redis.address import Address
from umbel.engines.redis.cluster import place_of
from umbel.engines.redis.errors import THEIRS, plain, translated, without_tag
from umbel.engines.redis.insides import in_pieces, packed, set_limit, silence, socket_of
from umbel.engines.redis.scripts import Script
from umbel.engines.redis.watch import Watch, poll_of
from umbel.engines.redis.wire import Wire

Argument = str | bytes | int | float

_SILENCE = silence()
#: A dead machine is noticed by the system after about 15 s, also where nothing is being asked.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}


class Link:
    """One connection, used by one thread at a time; only `interrupt` may be called by any other."""

    def __init__(self, address: Address, timeout: float, hears: bool = False) -> None:
        """Connect within `timeout` seconds. Raises OperationalError.

        One that `hears` can listen to channels and ask for other things meanwhile: what is told comes among
        the answers.
        """
        self.address = address
        self._hears = hears
        #: Seconds that the server may be silent: what the socket really has.
        self._timeout = timeout
        #: True while an answer is due: then this connection is of no use to anybody else.
        self.busy = False
        #: Answers that nobody waits for; they are read before the connection is used again.
        self.owed = 0
        #: What CLIENT ID says, once somebody has asked.
        self.number: int | None = None
        #: The key that says what it sent last, and which it watches (pushing.py); None where there is none.
        self.record: str | None = None
        #: When it was last used, for who keeps several.
        self.used = 0.0
        self._woken: tuple[socket.socket, socket.socket] | None = None
        #: That something has been sent there, and not been taken away.
        self._is_woken = False
        self._wake_lock = threading.Lock()
        self._connection = self._connect(monotonic() + timeout)
        opened = self._socket()
        self._poll = poll_of(opened)
        self._watch = Watch(opened)
        self._wire = Wire(self._connection, hears)

    # Connecting

    def _connect(self, deadline: float) -> Any:
        """Return a connection to the first server that can be reached.

        Each has its share of the time that is left, so that a silent one leaves some to the others.
        """
        error: Exception = theirs.ConnectionError("no address is known")
        try:
            places: Sequence[tuple[str, int] | str] = _places(self.address, deadline)
        except THEIRS as found:
            self._fail(found)
        for number, place in enumerate(places):
            left = deadline - monotonic()
            if left <= 0:
                break
            share = left / (len(places) - number)
            try:
                connection = self._connect_by(place, share)
                if len(places) > 1:
                    _require_answer(connection)
            except THEIRS as found:
                error = found
            except OSError as found:  # of looking up the host's name
                host = place if isinstance(place, str) else place[0]
                error = theirs.ConnectionError(
                    f"Error connecting to {host}: {found.strerror or found}."
                )
            else:
                self._timeout = share
                return connection
        self._fail(error)

    def _connect_by(self, place: tuple[str, int] | str, limit: float) -> Any:
        """Connect to a server, or to the one that has our keys if it belongs to a cluster."""
        slot = self.address.slot
        if slot is None or isinstance(place, str):
            return self._connect_to(place, limit)
        connection = self._connect_to(place, limit / 2)
        try:
            there = place_of(slot, connection, place[0])
        except BaseException:
            connection.disconnect()
            raise
        if there is not None:
            connection.disconnect()
            connection = self._connect_to(there, limit / 2)
        set_limit(connection, limit)
        return connection

    def _connect_to(self, place: tuple[str, int] | str, limit: float) -> Any:
        parameters = _parameters(self.address, self._hears)
        kind: Any = redis.Connection
        if isinstance(place, str):
            kind = redis.UnixDomainSocketConnection
            parameters["path"] = place
        else:
            parameters |= {"host": place[0], "port": place[1], **_keepalive(self.address)}
            # redis-py tries each address of a name for as long as it may try one.
            among = socket.getaddrinfo(place[0], place[1], 0, socket.SOCK_STREAM)
            connecting = min(self.address.connect_timeout, limit)
            parameters["socket_connect_timeout"] = connecting / max(len(among), 1)
        if self.address.tls is not None:
            kind = redis.SSLConnection
            parameters |= self.address.tls
        connection = kind(socket_timeout=limit, **parameters)
        try:
            connection.connect()
        except BaseException as error:
            connection.disconnect()
            _require_files(self.address, error)
            raise
        return connection

    # Calling

    def call(self, *command: Argument, timeout: float) -> Any:
        """Send a command and return its answer, in bytes. Raises OperationalError."""
        try:
            self._begin(timeout)
            self._wire.send(packed(*command))
            return self._answer()
        except THEIRS as error:
            self._fail(error)

    def calls(self, commands: Sequence[Sequence[Argument]], timeout: float) -> list[Any]:
        """Send commands in one go and return their answers.

        Raises OperationalError for the first that failed, when all have been answered.
        """
        with self._translating():
            data = _all_packed(commands)
        answers = self.exchange(data, len(commands), timeout)
        for answer in answers:
            if isinstance(answer, theirs.RedisError):
                self._fail(answer)
        return answers

    def exchange(self, data: bytes | Iterable[bytes], answers: int, timeout: float) -> list[Any]:
        """Send packed commands and return so many answers; those that are errors are in their places.

        What comes in parts is sent as it comes. Raises OperationalError for what is no answer.
        """
        try:
            self._begin(timeout)
            for part in (data,) if isinstance(data, bytes) else data:
                self._wire.send(part)
            found = self._wire.answers(answers)
        except THEIRS as error:
            self._fail(error)
        self.busy = False
        return found

    def run(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument], timeout: float
    ) -> Any:
        """Run a script, which is loaded where the server does not have it."""
        rest = (len(keys), *keys, *args)
        try:
            self._begin(timeout)
            self._wire.send_pieces(in_pieces("EVALSHA", script.sha, *rest))
            try:
                return self._answer()
            except theirs.NoScriptError:
                self.busy = True
                self._wire.send_pieces(in_pieces("EVAL", script.source, *rest))
                return self._answer()
        except THEIRS as error:
            self._fail(error)

    def _begin(self, timeout: float) -> None:
        self.limit(timeout)
        self.busy = True

    def limit(self, timeout: float) -> None:
        """Limit the time of sending and answering, in seconds, from here on."""
        if timeout != self._timeout:
            set_limit(self._connection, timeout)
            self._timeout = timeout

    def _answer(self) -> Any:
        answer = self._wire.answer()
        # An error is an answer, too, but for one that says that nobody is served.
        self.busy = isinstance(answer, theirs.ConnectionError)
        if isinstance(answer, theirs.RedisError):
            raise answer
        return answer

    # Listening

    def send(self, *command: Argument) -> None:
        """Send a command whose answer `receive` returns. Raises OperationalError."""
        with self._translating():
            self._wire.send(packed(*command))

    def send_packed(self, commands: bytes) -> None:
        """Send commands in one packet; `receive` returns the answers one by one."""
        try:
            self._wire.send(commands)
        except THEIRS as error:
            self._fail(error)

    def receive(self, timeout: float, nothing: Any = None) -> Any:
        """Return what comes next within `timeout` seconds, or `nothing`, also after an `interrupt`.

        Raises OperationalError when the connection is lost, and for an answer that is an error.
        """
        wire = self._wire
        try:
            found = wire.come()
            if found is wire.nothing:
                if not self._is_readable(timeout):
                    return nothing
                found = wire.next()
            if isinstance(found, theirs.RedisError):
                raise found
        except THEIRS as error:
            self._fail(error)
        return found

    def answer(self) -> Any:
        """Return the answer that has to come next, within the `limit`; else like `receive`.

        An interrupt stays what it is: a word for the next `receive`.
        """
        try:
            found = self._wire.next()
            if isinstance(found, theirs.RedisError):
                raise found
        except THEIRS as error:
            self._fail(error)
        return found

    def receive_more(self, nothing: Any = None) -> Any:
        """Return what came together with what `receive` returned last, or `nothing`; else like that."""
        found = self._wire.come()
        if isinstance(found, theirs.RedisError):
            self._fail(found)
        return nothing if found is self._wire.nothing else found

    def _is_readable(self, timeout: float) -> bool:
        """Wait for something to read, or for an interrupt."""
        self._socket()  # which is open
        if self._wire.is_there():
            return True
        found = self._watch.sees(timeout)
        if self._is_woken:
            self._take_interrupt()
        return found

    def _take_interrupt(self) -> None:
        """Forget interrupts. One that is just being told ends the next wait, too."""
        if self._is_woken and self._woken is not None:
            self._is_woken = False
            with contextlib.suppress(BlockingIOError):
                self._woken[0].recv(4096)

    def be_wakeable(self) -> None:
        """Let `interrupt` have an effect, from now on."""
        if self._woken is None:
            with self._wake_lock:
                self._woken = socket.socketpair()
                for one in self._woken:
                    one.setblocking(False)
                self._watch.add(self._woken[0])
        elif self._is_woken:
            self._take_interrupt()

    def interrupt(self) -> None:
        """Make a `receive`, of now or the next, return soon, if it can be woken."""
        with self._wake_lock, contextlib.suppress(BlockingIOError):
            if self._woken is not None:
                self._woken[1].send(b"!")
                self._is_woken = True  # after it: what was not taken is looked for again

    # Ending

    def _socket(self) -> socket.socket:
        """Return the socket. Where it is closed redis-py would connect again, listening to nothing."""
        found = socket_of(self._connection)
        if found is None:
            raise theirs.ConnectionError("It has been closed.")
        return found

    @property
    def is_fit(self) -> bool:
        """Tell whether the connection can be used again: open, and with nothing left to read."""
        if self.busy or socket_of(self._connection) is None:
            return False
        try:
            if self.owed:
                self.owed -= self._wire.skip(self.owed)
                while self.owed:
                    if not self._is_readable(0.0):
                        return False
                    self._wire.next()
                    self.owed -= 1
            if self._poll is not None:
                return not self._poll.poll(0)
            return not self._connection.can_read(0)
        except (theirs.RedisError, OSError, ValueError):
            return False

    def close(self) -> None:
        """Close."""
        self._connection.disconnect()
        with self._wake_lock:
            woken, self._woken = self._woken, None
        for one in woken or ():
            one.close()

    def let_go(self) -> None:
        """Close the copy that the child of a fork has; the parent's connection goes on undisturbed."""
        self._wake_lock = threading.Lock()  # a thread that is not here may have had it
        self.close()

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except THEIRS as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """Raise one of redis-py's errors as ours."""
        cause = plain(error)
        if self.address.slot is None:
            cause = without_tag(cause)
        raise translated(cause, self.address.shown, self._timeout) from cause


def _all_packed(commands: Sequence[Sequence[Argument]]) -> bytes:
    return b"".join([packed(*command) for command in commands])


def _places(address: Address, deadline: float) -> list[tuple[str, int]] | list[str]:
    """Return where to connect to; a Sentinel is asked anew each time."""
    if address.path is not None:
        return [address.path]
    if address.master_name is None:
        return list(address.hosts)
    limit = max(min(address.connect_timeout, deadline - monotonic()), 0.01)
    given = {
        "socket_timeout": limit / len(address.hosts),
        "socket_connect_timeout": limit / len(address.hosts),
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **address.sentinel,
    }
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        min_other_sentinels=address.min_other_sentinels,
        sentinel_kwargs=given,
    )
    try:
        host, port = sentinel.discover_master(address.master_name)
    finally:
        for client in sentinel.sentinels:
            client.close()
    return [(_text(host), int(port))]


def _require_files(address: Address, error: BaseException) -> None:
    """Say which of the files for TLS cannot be read, where that was the error: the system names none."""
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"):
        path = (address.tls or {}).get(name)
        if path and not os.access(path, os.R_OK):
            raise theirs.ConnectionError(f"{name} is {path!r}, and cannot be read.") from error


def _require_answer(connection: Any) -> None:
    """Raise an error unless the server says anything: the system accepts connections for a frozen one."""
    try:
        connection.send_command("PING")
        connection.read_response()
    except theirs.ResponseError:
        pass  # that is an answer
    except BaseException:
        connection.disconnect()
        raise


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _parameters(address: Address, hears: bool) -> dict[str, Any]:
    """Return what redis-py's connections of any kind are given."""
    # The old protocol where nobody listens: the new one costs a command more for each connection, and may
    # push what nobody asked for.
    found: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "client_name": address.client_name,
        "protocol": 3 if hears else 2,
        "health_check_interval": 0,
        **_SILENCE,
    }
    if address.credential_provider is not None:
        found["credential_provider"] = address.credential_provider
    return found


def _keepalive(address: Address) -> dict[str, Any]:
    """Return how the system tests idle connections."""
    options = {
        getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)
    }
    return {
        "socket_keepalive": True,
        "socket_keepalive_options": options | dict(address.keepalive),
    }

"""One connection to RabbitMQ and its channels: opened, written to by any thread, read by one at a time.

What is sent is not waited for unless somebody asks, so that one packet may acknowledge a batch and ask for
the next; that is what no client library does that was tried (docs/internals.md). Answers come in the order
of what was asked on their channel.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from time import monotonic
from typing import Any, NoReturn

from umbel._version import __version__
from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.address import Address
from umbel.engines.rabbitmq.errors import closed, refused
from umbel.engines.rabbitmq.wire import FRAME_MAX, Event, Name, Reader, method
from umbel.exceptions import OperationalError

logger = logging.getLogger("umbel.rabbitmq")

#: Bytes that are read at a time.
_CHUNK = 1 << 18
#: What the server is asked to tell: when it blocks us, and when a queue from which we consume is deleted.
_CAPABILITIES = {
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
    "basic.nack": True,
    "authentication_failure_close": True,
}
#: What concerns the connection as a whole.
_OF_ALL = frozenset({wire.BLOCKED, wire.UNBLOCKED, wire.CLOSE, wire.CHANNEL_CLOSE})
#: Most channels of one connection.
MOST_CHANNELS = 32
#: When a server last let its share of the time pass without a word, by host and port, and for how many
#: seconds the others of its cluster are tried before it.
_silent: dict[tuple[str, int], float] = {}
_AVOIDED = 30.0
#: Seconds that a silent connection has for a word when its server answers another one.
LAST_WORD = 2.0
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Link:
    """A connection and its channels. Raises OperationalError once it is lost, and for ever after."""

    def __init__(self, address: Address, timeout: float, purpose: str = "") -> None:
        self.address = address
        self.server: dict[str, Any] = {}
        #: Why the server does not read what we publish, while it does not.
        self.blocked: str | None = None
        self.frame_max = FRAME_MAX
        #: How many channels there are, and may be. They have the numbers from 1 on.
        self.channels = 1
        self.most_channels = 1
        self.heartbeat = 0.0
        self.broken: OperationalError | None = None
        #: Whether it is to be kept for as long as the server is silent and answers nobody else either.
        self.is_patient: Callable[[], bool] = lambda: False
        self._waits_since: float | None = None
        self._leaves = False
        #: Held by who reads; events for others wait in `events`.
        self.reading = threading.RLock()
        self._writing = threading.Lock()
        self._events: deque[Event] = deque()
        self._reader = Reader()
        self._pid = os.getpid()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._socket, greeting = self._connect(monotonic() + timeout)
        self._socket.settimeout(address.timeout)
        self._selector = self._watch()
        #: OpenSSL takes no reading beside writing.
        self._alone: AbstractContextManager[object] = (
            contextlib.nullcontext() if address.tls is None else self._writing
        )
        self._sent_at = self._heard_at = monotonic()
        try:
            self._feed(greeting)
            self._shake_hands(timeout, purpose)
        except BaseException:
            self.close()
            raise

    # Opening

    def _connect(self, deadline: float) -> tuple[socket.socket, bytes]:
        """Return a connection to the first server that begins to speak, and what it said.

        Each has its share of the time. The system of a frozen one takes connections, too.
        """
        error: Exception = OSError("no address is known")
        begun = monotonic()
        hosts = sorted(
            self.address.hosts, key=lambda one: begun - _silent.get(one, -_AVOIDED) < _AVOIDED
        )
        for number, place in enumerate(hosts):
            share = (deadline - monotonic()) / (len(hosts) - number)
            if share <= 0:
                break
            until = monotonic() + share
            try:
                made = self._connect_to(*place, min(share, self.address.connect_timeout))
                return made, self._greeting(made, until)
            except OSError as found:  # also those of TLS, and of looking up a name
                error = found
                if isinstance(found, TimeoutError):
                    _silent[place] = monotonic()
            except OperationalError:  # no server is to blame
                self._close_wakes()
                raise
        self._close_wakes()
        raise refused(self.address, error) from error

    def _connect_to(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.address.tls is not None:
                name = self.address.tls.get("server_hostname") or host
                made = self.address.context().wrap_socket(made, server_hostname=name)
        except BaseException:
            made.close()
            raise
        return made

    def _greeting(self, made: socket.socket, deadline: float) -> bytes:
        """Begin to talk; return the first that the server says. Closes what it raises an OSError for."""
        try:
            made.settimeout(max(deadline - monotonic(), 0.01))
            made.sendall(wire.PROTOCOL)
            if greeting := made.recv(_CHUNK):
                return greeting
            raise ConnectionError("the server closed the connection")
        except BaseException:
            made.close()
            raise

    def _shake_hands(self, timeout: float, purpose: str) -> None:
        deadline = monotonic() + timeout
        address = self.address

        def expect(*names: Name) -> Event:
            return self.expect(names, max(deadline - monotonic(), 0.01), said=timeout)

        start = expect(wire.START)
        self.server = start.arguments[2]
        client = {
            "product": "umbel",
            "version": __version__,
            "platform": "Python",
            "capabilities": _CAPABILITIES,
            "connection_name": address.client_name or f"umbel {os.getpid()} {purpose}".strip(),
        }
        how, login = self._login(str(start.arguments[3]).split())
        self.send(method(wire.START_OK, "FsSs", client, how, login, "en_US", channel=0))
        channels, frame_max, heartbeat = expect(wire.TUNE).arguments
        self.most_channels = min(channels or MOST_CHANNELS, MOST_CHANNELS)
        self.frame_max = min(frame_max or FRAME_MAX, FRAME_MAX)
        # Ours unless the server wants shorter ones: it is what decides how soon a lost machine is noticed.
        wanted = [one for one in (heartbeat, address.heartbeat) if one]
        chosen = min(wanted) if address.heartbeat else 0
        self.heartbeat = float(chosen)
        self.send(
            method(wire.TUNE_OK, "BlB", self.most_channels, self.frame_max, chosen, channel=0),
            method(wire.OPEN, "ssb", address.vhost, "", False, channel=0),
        )
        expect(wire.OPEN_OK)
        self.send(method(wire.CHANNEL_OPEN, "s", ""))
        expect(wire.CHANNEL_OPEN_OK)

    def _login(self, offered: Collection[str]) -> tuple[str, str]:
        """Return how to log in, and what is said then.

        A client's certificate says who it is where nobody is named, or the server wants nothing else.
        """
        address = self.address
        certified = bool((address.tls or {}).get("certfile")) and "EXTERNAL" in offered
        if certified and not (address.named and "PLAIN" in offered):
            return "EXTERNAL", ""
        if "PLAIN" in offered:
            return "PLAIN", f"\0{address.username}\0{address.password}"
        raise OperationalError(
            f"{address.place} lets clients log in by {', '.join(offered)}. Umbel does by PLAIN and, with a"
            " client's certificate (ssl_certfile), by EXTERNAL."
        )

    def open_channels(self, count: int, other: Callable[[Event], None]) -> int:
        """Have as many channels as this, if that many may be; return how many there are of them."""
        new = range(self.channels + 1, min(count, self.most_channels) + 1)
        if new:
            with self.reading:
                self.send(*(method(wire.CHANNEL_OPEN, "s", "", channel=one) for one in new))
                for _ in new:
                    self.expect((wire.CHANNEL_OPEN_OK,), self.address.timeout, other)
                    self.channels += 1
        return min(count, self.channels)

    # Writing

    def send(self, *data: bytes) -> None:
        """Send what is to be sent in one go. Raises OperationalError when the connection is lost."""
        with self._writing:
            if self.broken is not None:
                raise self.broken
            try:
                self._socket.sendall(b"".join(data))
                self._sent_at = monotonic()
            except OSError as error:
                self._lose(refused(self.address, error), error)

    def beat(self, now: float) -> None:
        """Send a sign of life if nothing else was sent for a while."""
        if self.heartbeat and now - self._sent_at >= self.heartbeat / 2.5 and self.broken is None:
            if not self._writing.acquire(blocking=False):
                return  # something is being sent
            self._writing.release()
            with contextlib.suppress(OperationalError):
                self.send(wire.HEARTBEAT)

    # Reading

    def receive(self, timeout: float) -> Event | None:
        """Return the next event, or None after `timeout` seconds and after an `interrupt`.

        Only for who holds `reading`. What concerns the connection as a whole is dealt with here.
        """
        if self._events:
            return self._events.popleft()
        deadline = monotonic() + timeout
        while True:
            if self._events:
                return self._events.popleft()
            if self.broken is not None:
                raise self.broken
            if not self._readable(deadline - monotonic()):
                interrupted = self._interrupted()
                self._check_alive()
                if interrupted or monotonic() >= deadline:
                    return None
                continue
            self._read()

    def _read(self) -> None:
        try:
            with self._alone:
                data = self._socket.recv(_CHUNK)
        except (TimeoutError, InterruptedError):
            return  # a part of what TLS needs before it gives anything
        except OSError as error:
            self._lose(refused(self.address, error), error)
        if not data:
            self._lose(refused(self.address, ConnectionError("the server closed the connection")))
        self._heard_at = monotonic()
        if self._waits_since is not None:
            logger.warning(
                "%s is heard again, after %.1f s.",
                self.address.place,
                self._heard_at - self._waits_since,
            )
            self._waits_since = None
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            for event in self._reader.feed(data):
                self._take(event)
        except OperationalError as error:
            self._lose(error)
        except Exception as error:  # noqa: BLE001 - whatever bytes come, they are no AMQP
            self._lose(OperationalError(f"What {self.address.place} sent is no AMQP: {error}"))

    def _take(self, event: Event) -> None:
        if event.name not in _OF_ALL:
            self._events.append(event)
        elif event.name == wire.BLOCKED:
            self.blocked = str(event.arguments[0]) or "an alarm"
        elif event.name == wire.UNBLOCKED:
            self.blocked = None
        else:
            # A channel that the server closes takes all with it that it held: the connection goes, too.
            code, text = event.arguments[:2]
            answer = wire.CLOSE_OK if event.name == wire.CLOSE else wire.CHANNEL_CLOSE_OK
            with contextlib.suppress(OperationalError):
                self.send(method(answer, channel=event.channel))
            self._lose(closed(self.address, code, text))

    def _readable(self, timeout: float) -> bool:
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        if self.heartbeat:
            timeout = min(timeout, self.heartbeat)
        try:
            if self._socket.fileno() < 0:
                raise ConnectionError("it was closed")
            ready = self._watched(max(timeout, 0))
        except (OSError, ValueError) as error:
            self._lose(refused(self.address, error), error)
        return any(key.fileobj is self._socket for key, _ in ready)

    def _watched(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            return self._selector.select(timeout)
        except RuntimeError:  # a handler of signals publishes while its thread waits in there
            return self._watch().select(timeout)

    def _watch(self) -> selectors.BaseSelector:
        watch: selectors.BaseSelector = _Selector()
        for one in (self._socket, self._wake_out):
            watch.register(one, selectors.EVENT_READ)
        return watch

    def _check_alive(self) -> None:
        if not self.heartbeat or monotonic() - self._heard_at <= 2 * self.heartbeat + 1:
            return
        if not self._is_kept():
            self._lose(
                OperationalError(f"{self.address.place} has been silent for two heartbeats.")
            )

    def _is_silent(self, since: float) -> bool:
        """Tell whether nothing was heard since, or for longer than a server that lives is silent.

        That sends a heartbeat twice as often as it has to. What is read first may have lain here for long.
        """
        silence = monotonic() - self._heard_at
        return self._heard_at == since or 0 < 0.75 * self.heartbeat < silence

    def _is_kept(self) -> bool:
        """Tell whether a connection that is silent may only wait for its server, which is silent to all.

        A server that was frozen takes up what was sent to it when it goes on, and what is held stays held.
        Who gives up the connection meanwhile gives that back, to run twice. But a server that answers another
        connection, or one of its cluster that does, will say nothing on this one any more.
        """
        if self._leaves or not self.is_patient():
            return False
        asked_at = monotonic()
        if self._waits_since is None:
            self._waits_since = self._heard_at
            logger.warning(
                "%s is silent. What is held from it stays so until it is heard again, or answers another"
                " connection.",
                self.address.place,
            )
        try:
            patience = min(self.address.timeout, self.address.connect_timeout)
            asks = Link(replace(self.address, heartbeat=0), patience, "asks for a sign of life")
        except OperationalError as error:
            return error.passes
        except OSError:  # no room for one more, such as of file descriptors: nobody was asked
            return True
        asks.drop()
        # What a server has to say that goes on this moment is on its way.
        return self._heard_at > asked_at or self._has_last_word()

    def _has_last_word(self) -> bool:
        """Tell whether there is something to read soon, whoever interrupts meanwhile but for a stop."""
        deadline, interrupted = monotonic() + LAST_WORD, False
        while not (found := self._readable(deadline - monotonic())):
            interrupted = self._interrupted() or interrupted
            if monotonic() >= deadline or not self.is_patient():
                break
        if interrupted:
            self.interrupt()
        return found

    def refresh(self) -> None:
        """Forget how long nothing was read: nobody was reading."""
        self._heard_at = monotonic()

    def _interrupted(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(self._wake_out.recv(4096))
        return False

    def interrupt(self) -> None:
        """Make a `receive`, of now or the next that has to wait, return soon."""
        with contextlib.suppress(OSError):
            self._wake_in.send(b"!")

    def expect(
        self,
        names: tuple[Name, ...],
        timeout: float,
        other: Callable[[Event], None] | None = None,
        said: float | None = None,
    ) -> Event:
        """Return the next event of these names; others go to `other`. An interrupt does not end it.

        `said` are the seconds that its error speaks of, where some of them are over already.
        """
        deadline = monotonic() + timeout
        interrupted = False
        with self.reading:
            self.refresh()
            asked_at = self._heard_at
            try:
                while True:
                    if self._events:
                        event: Event | None = self._events.popleft()
                    else:
                        event = self.receive(max(deadline - monotonic(), 0))
                    if event is None:
                        if monotonic() < deadline:
                            interrupted = True
                            continue
                        if self._is_silent(asked_at) and self._is_kept():
                            deadline = monotonic() + timeout
                            continue
                        self._lose(
                            OperationalError(
                                f"{self.address.place} did not answer within {said or timeout:.1f} s."
                            )
                        )
                    elif event.name in names:
                        return event
                    elif other is not None:
                        other(event)
            finally:
                if interrupted:
                    self.interrupt()

    def call(
        self,
        data: bytes,
        *names: Name,
        timeout: float | None = None,
        other: Callable[[Event], None] | None = None,
    ) -> Event:
        """Send something and return its answer."""
        with self.reading:
            self.send(data)
            return self.expect(names, self.address.timeout if timeout is None else timeout, other)

    # Ending

    def _lose(self, error: OperationalError, cause: BaseException | None = None) -> NoReturn:
        if self.broken is None:
            self.broken = error
            with contextlib.suppress(OSError):
                self._socket.close()
            self._close_wakes()
        raise self.broken from cause

    def close(self, timeout: float | None = None) -> None:
        """Leave in order: when this returns, the server has given back what the channels held.

        It may take as long as an answer may, and no longer than `timeout` for each of two.
        """
        wait = min(self.address.timeout, self.address.timeout if timeout is None else timeout)
        self._leaves = True
        if self.broken is None:
            with contextlib.suppress(OperationalError), self.reading:
                self.send(
                    *(
                        method(wire.CHANNEL_CLOSE, "BsBB", 200, "", 0, 0, channel=one)
                        for one in range(1, self.channels + 1)
                    )
                )
                deadline = monotonic() + wait
                for _ in range(self.channels):
                    self.expect(
                        (wire.CHANNEL_CLOSE_OK,), max(deadline - monotonic(), 0.01), said=wait
                    )
                self.call(
                    method(wire.CLOSE, "BsBB", 200, "", 0, 0, channel=0),
                    wire.CLOSE_OK,
                    timeout=wait,
                )
        self.drop()

    def drop(self) -> None:
        """Close at once, without a word; also in the child of a fork, where the parent goes on."""
        if self.broken is None:
            self.broken = OperationalError(f"The connection to {self.address.place} was closed.")
        with contextlib.suppress(OSError, AttributeError):
            self._socket.close()
        self._close_wakes()

    def _close_wakes(self) -> None:
        self._wake_out.close()
        self._wake_in.close()

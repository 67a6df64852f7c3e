"""What Celery's users know as connections: a look at whether the broker is there, and at its queues.

Each engine has connections of its own, which all calls of a process share. What these classes pass around is
therefore no connection but the way to the engine: there is nothing to acquire, and nothing to close.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Never, TypedDict, Unpack
from urllib.parse import unquote, urlsplit

from umbel.absent import tell_of_absent
from umbel.checks import refuse_unknown, require_number
from umbel.exceptions import OperationalError
from umbel.options import warn_once

if TYPE_CHECKING:
    from umbel.app import Umbel


class Declared(NamedTuple):
    """What a broker says of a queue. How many consumers it has is not known: 0."""

    queue: str
    message_count: int
    consumer_count: int


class Shared:
    """Something of an app that is shared, so that to acquire it and to release it does nothing."""

    def __init__(self, app: Umbel) -> None:
        self.app = app

    def release(self) -> None:
        """Do nothing: the engine's connections stay open for others."""

    close = release

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Transport:
    """What kombu says of a kind of broker, and packages that watch it ask for."""

    driver_type: str
    driver_name: str


#: What kombu calls kinds of brokers, by what their URLs begin with.
_KINDS = {
    **dict.fromkeys(("rediss", "redis+socket", "unix", "sentinel", "valkey", "valkeys"), "redis"),
    **dict.fromkeys(("amqps", "pyamqp"), "amqp"),
    "postgresql": "postgres",
}


@tell_of_absent
class Connection(Shared):
    """The broker of an app, under the name that it has in kombu."""

    @property
    def transport(self) -> Transport:
        """What kind of broker it is: ``transport.driver_type`` is ``redis``, for example."""
        scheme = self.app.broker_url.partition(":")[0].lower()
        kind = _KINDS.get(scheme, scheme)
        return Transport(kind, kind)

    def info(self) -> dict[str, Any]:
        """Return where the broker is, in parts. The password is among them."""
        url = self.app.broker_url
        parts = urlsplit(url)
        return {
            "hostname": parts.hostname,
            "userid": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "virtual_host": unquote(parts.path[1:]),
            "port": parts.port,
            "transport": url.partition(":")[0],
            "ssl": self.app.conf.snapshot.broker_use_ssl,
            "connect_timeout": self.app.conf.snapshot.broker_connection_timeout,
            "transport_options": dict(self.app.conf.snapshot.broker_transport_options),
        }

    def as_uri(self, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL, without its password unless that is asked for."""
        url = self.app.broker_url
        return url if include_password else self.app.show_url(url)

    def connect(self) -> Connection:
        """Ask the broker whether it is there. Raises OperationalError when it is not."""
        self.app.broker.ever_consumed()
        return self

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        try:
            self.connect()
        except OperationalError:
            return False
        return True

    def ensure_connection(  # noqa: PLR0913, PLR0917 - kombu's signature
        self,
        errback: Callable[[Exception, float], Any] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2.0,
        interval_step: float = 2.0,
        interval_max: float = 30.0,
        callback: Callable[[], Any] | None = None,
        reraise_as_library_errors: bool = True,
        timeout: float | None = None,
        **unknown: Never,
    ) -> Connection:
        """Ask the broker until it answers: `max_retries` times again, `timeout` seconds; None is for ever.

        The pauses, in seconds, begin with `interval_start` and grow by `interval_step` up to `interval_max`.
        `errback` is called with each error and the pause, `callback` before each second of one. A try that
        has begun is not broken off. Raises the last OperationalError, whatever
        `reraise_as_library_errors` says, and TypeError for unknown options.
        """
        _refuse(unknown, Connection.ensure_connection)
        require_number("timeout", timeout, low=0)
        clock = self.app.clock
        end = math.inf if timeout is None else clock.monotonic() + timeout
        tries = 0
        while True:
            try:
                return self.connect()
            except OperationalError as error:
                left = end - clock.monotonic()
                if left <= 0 or (max_retries is not None and tries >= max_retries):
                    raise
                pause = min(interval_start + tries * interval_step, interval_max, left)
                if errback is not None:
                    errback(error, pause)
            self._sleep(pause, callback)
            tries += 1

    def _sleep(self, seconds: float, callback: Callable[[], Any] | None) -> None:
        """Let the seconds pass; call `callback` before each."""
        if callback is None:
            self.app.clock.sleep(seconds)
            return
        while seconds > 0:
            callback()
            self.app.clock.sleep(min(seconds, 1))
            seconds -= 1

    def clone(self) -> Connection:
        """Return another one of the same broker."""
        return Connection(self.app)

    def channel(self) -> Channel:
        """Return what is asked about queues."""
        return Channel(self.app)

    @property
    def default_channel(self) -> Channel:
        """What is asked about queues."""
        return self.channel()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"


@tell_of_absent
class Channel(Shared):
    """The queues of a broker, under the names that they have in AMQP."""

    def queue_declare(
        self,
        queue: str,
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **unknown: Never,
    ) -> Declared:
        """Return how many messages wait in a queue; one that was never used has none.

        Nothing is declared: a queue begins with its first message, and ``task_queues`` says what it is like.
        So the other options have no effect. Raises TypeError for unknown ones.
        """
        _refuse(unknown, Channel.queue_declare)
        found = self.app.queues.depths().get(queue)
        return Declared(queue, 0 if found is None else found.ready, 0)

    def queue_purge(self, queue: str, nowait: bool = False, **unknown: Never) -> int:
        """Delete what waits in a queue; return how many messages, also with `nowait`.

        Raises TypeError for unknown options.
        """
        _refuse(unknown, Channel.queue_purge)
        return self.app.queues.purge(queue)


class Pool(Shared):
    """``app.pool`` and ``app.producer_pool``."""

    def __init__(self, app: Umbel, kind: Callable[[Umbel], Any]) -> None:
        super().__init__(app)
        self._kind = kind

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return one; never waits."""
        return self._kind(self.app)

    def force_close_all(self) -> None:
        """Close the app's connections; they are opened again when used."""
        self.app.close()


def _refuse(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise TypeError for keywords that a function does not name."""
    if unknown:
        parameters = list(inspect.signature(function).parameters)
        refuse_unknown(unknown, tuple(parameters[1:-1]), function.__name__)


# Methods of the app


class ConnectionKeywords(TypedDict, total=False):
    """What Celery's connections are made with, beside the URL; see `connection_for_read`."""

    userid: str | None
    password: str | None
    virtual_host: str | None
    port: int | None
    transport: str | None
    ssl: Any
    connect_timeout: float | None
    transport_options: Mapping[str, Any] | None
    heartbeat: float | None
    login_method: str | None
    failover_strategy: Any


#: Which setting says where the broker is, and how it is encrypted.
_PLACES = {
    **dict.fromkeys(("userid", "password", "virtual_host", "port", "transport"), "broker_url"),
    "ssl": "broker_use_ssl",
}
_NO_EFFECT = {
    "connect_timeout": "the setting broker_connection_timeout says it for all connections",
    "transport_options": "the setting broker_transport_options says it for all connections",
    "heartbeat": "engines see by themselves that a connection is lost",
    "login_method": "the broker's URL and certificates say how to log in",
    "failover_strategy": "an app has one broker",
}


def connection_for_read(
    app: Umbel,
    url: str | None = None,
    hostname: str | None = None,
    **options: Unpack[ConnectionKeywords],
) -> Connection:
    """Return a way to the broker, to ask whether it is there and what waits.

    `url`, or `hostname`, must be the app's. What else Celery's connections are made with is said by settings:
    where an option would lead to another place, ValueError is raised; where it has no meaning, that is logged
    once. Raises TypeError for unknown options.
    """
    known = ("url", "hostname", *ConnectionKeywords.__annotations__)
    refuse_unknown(options, known, "A connection")
    for given in (url, hostname):
        if given is not None and given != app.broker_url:
            raise ValueError(
                f"A connection to {app.show_url(given)} is none of this app's: make another app with that"
                " broker."
            )
    for name in (name for name, value in options.items() if value):
        if name in _PLACES:
            raise ValueError(
                f"A connection takes no {name}, since an app has one broker: say it in the setting"
                f" {_PLACES[name]}."
            )
        warn_once(f"The option {name} of a connection has no effect: {_NO_EFFECT[name]}.")
    return Connection(app)


def connection_or_acquire(
    app: Umbel, connection: Connection | None = None, pool: bool = True, **unknown: Never
) -> Any:
    """Return a context of a connection: the given one, else the app's, whatever `pool` says.

    Raises TypeError for unknown options.
    """
    _refuse(unknown, connection_or_acquire)
    return given_or(connection, Connection(app))


@contextmanager
def given_or(given: Any, other: Any) -> Iterator[Any]:
    """Return a context of what was given, else of the other."""
    yield other if given is None else given


def connection_pool(app: Umbel) -> Pool:
    """Where connections are acquired; there is nothing to wait for."""
    return Pool(app, Connection)

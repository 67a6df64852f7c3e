"""What Celery's users know as connections: a look at whether the broker is there, and at its queues.

Each engine has connections of its own, which all calls of a process share. What these classes pass around is
therefore no connection but the way to the engine: there is nothing to acquire, and nothing to close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from umbel.exceptions import OperationalError
from umbel.later import tell_of_absent

if TYPE_CHECKING:
    from umbel.app import Umbel


class Declared(NamedTuple):
    """What a broker says of a queue. How many consumers it has is not known: 0."""

    queue: str
    message_count: int
    consumer_count: int


class _Shared:
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


@tell_of_absent
class Connection(_Shared):
    """The broker of an app, under the name that it has in kombu."""

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

    def ensure_connection(
        self,
        errback: Callable[[Exception, float], Any] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2.0,
        interval_step: float = 2.0,
        interval_max: float = 30.0,
        **_: Any,
    ) -> Connection:
        """Ask the broker until it answers, `max_retries` times again; None is for ever.

        The pauses, in seconds, begin with `interval_start` and grow by `interval_step` up to `interval_max`.
        `errback` is called with each error and the pause. Raises the last OperationalError.
        """
        tries = 0
        while True:
            try:
                return self.connect()
            except OperationalError as error:
                if max_retries is not None and tries >= max_retries:
                    raise
                pause = min(interval_start + tries * interval_step, interval_max)
                if errback is not None:
                    errback(error, pause)
            self.app.clock.sleep(pause)
            tries += 1

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
class Channel(_Shared):
    """The queues of a broker, under the names that they have in AMQP."""

    def queue_declare(self, queue: str, passive: bool = False, **_: Any) -> Declared:
        """Return how many messages wait in a queue; one that was never used has none."""
        found = self.app.queues.depths().get(queue)
        return Declared(queue, 0 if found is None else found.ready, 0)

    def queue_purge(self, queue: str, **_: Any) -> int:
        """Delete what waits in a queue; return how many messages."""
        return self.app.queues.purge(queue)


@tell_of_absent
class Producer(_Shared):
    """What may be given to `apply_async` as ``producer``, to no effect."""

    @property
    def connection(self) -> Connection:
        """The broker that it is of."""
        return Connection(self.app)


class Pool(_Shared):
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


# Methods of the app


def connection_for_read(app: Umbel, url: str | None = None, **_: Any) -> Connection:
    """Return a way to the broker, to ask whether it is there and what waits. `url` must be the app's."""
    if url is not None and url != app.broker_url:
        raise ValueError(
            f"A connection to {app.show_url(url)} is none of this app's: make another app with that broker."
        )
    return Connection(app)


def connection_or_acquire(
    app: Umbel, connection: Connection | None = None, pool: bool = True, **_: Any
) -> Any:
    """Return a context of a connection: the given one, else the app's."""
    return _given_or(connection, Connection(app))


def producer_or_acquire(app: Umbel, producer: Producer | None = None) -> Any:
    """Return a context of what `apply_async` takes as ``producer``: the given one, else the app's."""
    return _given_or(producer, Producer(app))


@contextmanager
def _given_or(given: Any, other: Any) -> Iterator[Any]:
    yield other if given is None else given


def connections(app: Umbel) -> Pool:
    """Where connections are acquired; there is nothing to wait for."""
    return Pool(app, Connection)


def producers(app: Umbel) -> Pool:
    """Where producers are acquired; there is nothing to wait for."""
    return Pool(app, Producer)

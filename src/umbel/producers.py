"""Producers: what Celery's users publish messages of their own with, and what others watch publishes by.

umbel's own calls do not need one. They go through `Producer.publish` where another package has put a function
of its own in its place (hooks.py), with the arguments that kombu's has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel import current, publish, serialization, signals
from umbel.absent import tell_of_absent
from umbel.clock import unique_id
from umbel.compression import compress
from umbel.connections import Channel, Connection, Pool, Shared, given_or
from umbel.entities import Exchange, is_queue
from umbel.entities import delivery_mode as checked_mode
from umbel.message import Message, Publication
from umbel.options import CallOptions

if TYPE_CHECKING:
    from umbel.app import Umbel


@dataclass(frozen=True, slots=True)
class Given:
    """What `Producer.publish` was given: a message that is not written yet, and where it goes."""

    body: Any
    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    options: CallOptions
    properties: dict[str, Any] = field(default_factory=dict)
    content: tuple[str | None, str | None] = (None, None)


@tell_of_absent
class Producer(Shared):
    """Publishes messages that are no calls of tasks; made of a channel, a connection, or an app."""

    exchange: str | Exchange = ""
    routing_key: str = ""
    serializer: str | None = None
    compression: str | None = None

    def __init__(
        self,
        channel: Any,
        exchange: str | Exchange | None = None,
        routing_key: str | None = None,
        serializer: str | None = None,
        auto_declare: bool | None = None,
        compression: str | None = None,
        on_return: Any = None,
    ) -> None:
        super().__init__(getattr(channel, "app", channel))
        self.exchange = exchange or self.exchange
        self.routing_key = routing_key or self.routing_key
        self.serializer = serializer or self.serializer
        self.compression = compression or self.compression

    @property
    def connection(self) -> Connection:
        """The broker that it is of."""
        return Connection(self.app)

    @property
    def channel(self) -> Channel:
        """What is asked about queues."""
        return Channel(self.app)

    def publish(  # noqa: PLR0913, PLR0917 - kombu's signature
        self,
        body: Any,
        routing_key: str | None = None,
        delivery_mode: int | str | None = None,
        mandatory: bool = False,
        immediate: bool = False,
        priority: int = 0,
        content_type: str | None = None,
        content_encoding: str | None = None,
        serializer: str | None = None,
        headers: Mapping[str, Any] | None = None,
        compression: str | None = None,
        exchange: str | Exchange | None = None,
        retry: bool = False,
        retry_policy: Mapping[str, Any] | None = None,
        declare: Sequence[Any] | None = None,
        expiration: float | None = None,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        **properties: Any,
    ) -> None:
        """Send a message to the queues that its exchange and key name; without an exchange the key is one.

        The body is written by `serializer`, or sent as it is with a `content_type`. As `retry` and
        `retry_policy` say, and within `timeout` seconds, a broker that cannot be reached is tried again.
        `expiration` is in seconds, and `declare` names queues that messages find from now on. Raises
        Unroutable, EncodeError and OperationalError.
        """
        kinds = (serializer or self.serializer, compression or self.compression)
        place = self.exchange if exchange is None else exchange
        for one in declare or ():
            if is_queue(one):  # an exchange is where its queues are
                self.app.amqp.queues.declare(one)
        if delivery_mode is not None:
            properties["delivery_mode"] = checked_mode(delivery_mode)
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        self._send(
            Given(
                body,
                place.name if isinstance(place, Exchange) else place,
                self.routing_key if routing_key is None else routing_key,
                {} if headers is None else headers,
                _options(priority, kinds, retry, retry_policy, timeout),
                properties,
                (content_type, content_encoding),
            )
        )

    def _send(self, given: Given) -> None:
        """Send a message that is no call."""
        queue, *more = self.app.amqp.queues.targets(given.exchange, given.routing_key)
        priority = given.options.priority
        publication = Publication(
            queue=queue,
            message=_written(given),
            tag=unique_id(),
            priority=priority or 0,
            exchange=given.exchange,
            routing_key=given.routing_key,
            more_queues=tuple(more),
        )
        _deliver(self.app, self.app.broker, publication, given.options)

    def __repr__(self) -> str:
        return f"<Producer: {self.connection!r}>"


def _options(
    priority: int,
    kinds: tuple[str | None, str | None],
    retry: bool,
    retry_policy: Mapping[str, Any] | None,
    timeout: float | None,
) -> CallOptions:
    """Return as options how a message is written and sent."""
    return CallOptions(
        priority=priority or None,
        serializer=kinds[0],
        compression=kinds[1],
        retry=retry,
        retry_policy=retry_policy or None,
        timeout=timeout,
    )


#: What there is as long as nobody has put something else in its place.
OWN_PUBLISH = Producer.publish


def _written(given: Given) -> Message:
    """Return the message of what was given."""
    content_type, encoding = given.content
    headers = dict(given.headers)
    if (
        content_type is None
        and isinstance(given.body, bytes | str)
        and not given.options.serializer
    ):
        content_type = "text/plain" if isinstance(given.body, str) else "application/data"
        encoding = "utf-8" if isinstance(given.body, str) else "binary"
    if content_type is None:
        by = serialization.serializer(given.options.serializer or "json")
        data, content_type, encoding = by.dumps(given.body), by.content_type, by.content_encoding
    else:
        body = given.body
        data, encoding = (
            body.encode() if isinstance(body, str) else bytes(body),
            encoding or "utf-8",
        )
    if given.options.compression:
        data, headers["compression"] = compress(data, given.options.compression)
    properties: dict[str, Any] = {"delivery_mode": publish.PERSISTENT, **given.properties}
    if given.options.priority is not None:
        properties["priority"] = given.options.priority
    if given.exchange:
        place = {"exchange": given.exchange, "routing_key": given.routing_key}
        properties["delivery_info"] = place
    return Message(headers, properties, data, content_type, encoding or "utf-8")


def _deliver(
    app: Umbel, broker: publish.Sink, publication: Publication, options: CallOptions
) -> None:
    publish.deliver(broker, [publication], app.conf.snapshot, app.clock, options)


# Calls


class _CallProducer(Producer):
    """Sends one call. What stands in the place of `publish` may change its headers, body and properties."""

    def __init__(self, app: Umbel, publication: Publication, options: CallOptions) -> None:
        super().__init__(app)
        self._publication = publication
        self._options = options
        self._body = publish.content(publication)

    def publish_call(self) -> None:
        """Publish it with the arguments that Celery gives to kombu's `publish`."""
        publication, options, settings = self._publication, self._options, self.app.conf.snapshot
        message = publication.message
        own = ("delivery_mode", "priority", "delivery_info")
        self.publish(
            self._body,
            exchange=publication.exchange,
            routing_key=publication.routing_key,
            serializer=serialization.serializer_of(message.content_type).name,
            compression=message.headers.get("compression"),
            retry=settings.task_publish_retry if options.retry is None else options.retry,
            retry_policy=publish.retry_policy_of(settings, options),
            delivery_mode=message.properties.get("delivery_mode"),
            priority=message.properties.get("priority") or 0,
            declare=self.app.amqp.declared(publication.queue),
            headers=message.headers,
            timeout=options.timeout,
            **{name: value for name, value in message.properties.items() if name not in own},
        )

    def _send(self, given: Given) -> None:
        """Send the call as it is now."""
        publication = self._publication
        message = publication.message
        if given.body is not self._body:
            message = publish.rewritten(message, given.body)
        message = replace(
            message,
            headers=given.headers,
            properties={**message.properties, **given.properties},
        )
        publication = replace(publication, message=message)
        if (given.exchange, given.routing_key) != (publication.exchange, publication.routing_key):
            publication = self._elsewhere(publication, given)
        # What follows a call is kept, and published by who settles that.
        _deliver(self.app, current.outbox.get() or self.app.broker, publication, self._options)

    def _elsewhere(self, publication: Publication, given: Given) -> Publication:
        """Return the publication as it goes to another place than it was to go to."""
        queue, *more = self.app.amqp.queues.targets(given.exchange, given.routing_key)
        return replace(
            publication,
            queue=queue,
            exchange=given.exchange,
            routing_key=given.routing_key,
            more_queues=tuple(more),
        )


def around(app: Umbel) -> publish.Around | None:
    """Return what others are told of a publish, and what publishes in our place; None when nobody cares."""
    replaced = Producer.publish is not OWN_PUBLISH
    if not (replaced or signals.before_task_publish.is_heard):
        return None
    return publish.Around(app.amqp.declared, partial(_through, app) if replaced else None)


def _through(app: Umbel, publication: Publication, options: CallOptions) -> None:
    _CallProducer(app, publication, options).publish_call()


# Methods of the app


def producer_or_acquire(app: Umbel, producer: Producer | None = None) -> Any:
    """Return a context of a producer: the given one, else a new one."""
    return given_or(producer, Producer(app))


def producer_pool(app: Umbel) -> Pool:
    """Where producers are acquired; there is nothing to wait for."""
    return Pool(app, Producer)

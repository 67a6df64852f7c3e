"""Messages as AMQP carries them: Celery's headers and properties, and one header of ours beside them.

The header ``umbel`` is a table: the publish's tag, how many processes died of the message, and which
properties we added. Celery's workers carry it along unread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.wire import Event
from umbel.engines.texts import check_text
from umbel.exceptions import EncodeError, MessageTooLarge
from umbel.limits import MOST_HEADERS, UNREAD, HasMost, too_large, unread
from umbel.message import Delivery, Message, Publication

#: Our header, and its keys.
OURS = "umbel"
TAG, CRASHES, ADDED, SENT, OTHERS = "tag", "crashes", "added", "sent", "properties"
OVER_TIME, EARLY = "over_time", "early"
#: Says of a copy that the message was handed over before, and that nobody has died of it by that.
AGAIN = "again"

#: What RabbitMQ adds when it passes a message on or counts it, and what the message never had.
_THEIRS = frozenset(
    {
        "x-death",
        "x-delivery-count",
        "x-acquired-count",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)
#: What a copy has in our header only: by these headers the server would send it elsewhere, too, and by these
#: properties refuse it to another user, and let it expire where it waits.
_CARBON, _UNSAID = frozenset({"CC", "BCC"}), frozenset({"user_id", "expiration"})
UNSAID = "unsaid"
#: What every message of Celery's has; others are carried in our header.
_DEFAULTS = {"delivery_mode": 2}


@dataclass(frozen=True, slots=True)
class Written:
    """A publication as bytes, and how it is recognized when the server returns it."""

    publication: Publication
    properties: bytes
    body: bytes

    def frames(self, exchange: str, routing_key: str, frame_max: int, mandatory: bool) -> bytes:
        """Return the frames that publish it."""
        return wire.publishing(exchange, routing_key, mandatory) + wire.content(
            self.properties, self.body, frame_max
        )


def write(
    publication: Publication,
    frame_max: int,
    crashes: int = 0,
    more: Mapping[str, Any] | None = None,
    expiration: str | None = None,
) -> Written:
    """Return a publication as bytes. Raises EncodeError and MessageTooLarge for what cannot travel.

    `more` goes into our header.
    """
    message = publication.message
    _check(publication)
    own: dict[str, Any] = {TAG: publication.tag, **(more or {})}
    if crashes:
        own[CRASHES] = crashes
    known = _known(publication, own)
    properties = {
        **_DEFAULTS,
        **known,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "application_headers": {**message.headers, OURS: own},
    }
    if expiration is not None:
        properties["expiration"] = expiration
    try:
        data = wire.written(properties)
    except EncodeError as error:
        raise _too_long(properties) or error from error
    # A frame cannot be larger, and the properties have to be in one.
    most = min(frame_max - wire.AROUND - 12, MOST_HEADERS)
    if len(data) > most:
        raise MessageTooLarge(unread(len(data), most))
    return Written(publication, data, message.body)


def _check(publication: Publication) -> None:
    """Raise EncodeError for texts that AMQP cannot carry."""
    message = publication.message
    check_text(publication.queue, publication.tag, message.task_id or "")
    check_text(message.content_type, message.content_encoding)
    if len(publication.queue.encode()) > 255:
        raise EncodeError(
            f"The name of the queue {publication.queue[:40]}… is longer than 255 bytes."
        )


def _too_long(properties: Mapping[str, Any]) -> EncodeError | None:
    """Return the error for a text that is longer than AMQP takes, which says by itself no more than that."""
    for name, value in (
        *properties.items(),
        *((key, key) for key in properties["application_headers"]),
    ):
        size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0
        if size > 255:
            return EncodeError(
                f"AMQP cannot carry {value[:40]!r}… as {name[:40]}: it has {size} bytes, and 255 are allowed."
            )
    return None


def _known(publication: Publication, own: dict[str, Any]) -> dict[str, Any]:
    """Return the properties that AMQP has; what else there is to carry goes into our header, `own`."""
    given = publication.message.properties
    known = {
        name: value
        for name, value in given.items()
        if name in wire.PROPERTY_NAMES and value is not None
    }
    others = {name: value for name, value in given.items() if name not in known}
    sent = others.pop("delivery_info", None)
    if isinstance(sent, dict) and sent.get("exchange"):
        own[SENT] = {name: sent.get(name) for name in ("exchange", "routing_key")}
    added = [name for name in _DEFAULTS if name not in known]
    if publication.priority and "priority" not in known:
        known["priority"] = min(publication.priority, 255)
        added.append("priority")
    if added:
        own[ADDED] = added
    if others:
        own[OTHERS] = others
    return known


def read(event: Event, queue: str, key: str, limits: HasMost) -> Delivery:
    """Return the delivery of a message, whoever wrote it. Its handle tells whether it was lost before."""
    properties = event.properties
    headers = properties.pop("application_headers", None) or {}
    counted = headers.get("x-delivery-count", 0)
    own = headers.pop(OURS, None)
    own = own if isinstance(own, dict) else {}
    if not _THEIRS.isdisjoint(headers):
        headers = {name: value for name, value in headers.items() if name not in _THEIRS}
    if event.unread is not None:
        headers[UNREAD] = event.unread
    redelivered = bool(event.arguments[2 if event.name == wire.DELIVER else 1])
    body = event.body
    if len(body) > limits.message_max_bytes:
        headers, body = {**headers, UNREAD: str(too_large(len(body), limits))}, body[:1024]
    content_type = properties.pop("content_type", None) or "application/data"
    encoding = properties.pop("content_encoding", None) or "binary"
    priority = properties.get("priority", 0)
    for name in _listed(own.get(ADDED)):
        properties.pop(name, None)
    if isinstance(own.get(OTHERS), dict):
        properties |= own[OTHERS]
        headers = headers | _restored(properties)
    sent = own.get(SENT) or _sent_to(event)
    if isinstance(sent, dict):
        properties["delivery_info"] = sent
    if not properties.get("priority", 1):
        properties.pop("priority")  # kombu writes 0 where there is none
    message = Message(headers, properties, body, content_type, encoding)
    tag = own.get(TAG)
    crashes = own.get(CRASHES)
    before = counted if type(counted) is int and counted > 0 else int(redelivered)
    return Delivery(
        key,
        queue,
        message,
        tag if isinstance(tag, str) and tag else tag_of(message),
        priority,
        before + 1 + (own.get(AGAIN) is True),
        # Without a count of ours nobody knows whether it ran when it was lost: it counts as one that did.
        crashes if type(crashes) is int and crashes > 0 else 0,
        early=own.get(EARLY) is True,
        over_time=_number(own.get(OVER_TIME)),
        handle=before > 0,
    )


def _sent_to(event: Event) -> dict[str, str] | None:
    """Return exchange and key of a message that Celery sent to an exchange with a name."""
    exchange, key = event.arguments[-2:] if event.name == wire.DELIVER else event.arguments[2:4]
    if not exchange or ".umbel." in f".{exchange}" or exchange.startswith("celery_delayed_"):
        return None
    return {"exchange": exchange, "routing_key": key}


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def tag_of(message: Message) -> str:
    """Return a tag for a message of Celery's, which has none: the same whenever it is delivered."""
    headers = message.headers
    what = (message.task_id, headers.get("retries"), headers.get("eta"), headers.get("group_index"))
    digest = hashlib.sha256(repr(what).encode("utf-8", "surrogatepass") + message.body).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def again(delivery: Delivery, queue: str | None = None) -> Publication:
    """Return a delivery as a publication: the same message, to be kept elsewhere."""
    return Publication(
        queue or delivery.queue, _copied(delivery.message), delivery.tag, delivery.priority
    )


def _copied(message: Message) -> Message:
    """Return a message as one that means nothing more to the server than its place."""
    headers, properties = message.headers, message.properties
    if _CARBON.isdisjoint(headers) and _UNSAID.isdisjoint(properties):
        return message
    unsaid = [
        {name: found[name] for name in names & found.keys()}
        for names, found in ((_CARBON, headers), (_UNSAID, properties))
    ]
    return Message(
        {name: value for name, value in headers.items() if name not in _CARBON},
        {
            UNSAID: unsaid,
            **{name: value for name, value in properties.items() if name not in _UNSAID},
        },
        message.body,
        message.content_type,
        message.content_encoding,
    )


def _restored(properties: dict[str, Any]) -> dict[str, Any]:
    """Put back what a copy did not say to the server: properties, and the headers that are returned."""
    match properties.pop(UNSAID, None):
        case [dict(carbon), dict(unsaid)]:
            properties.update({name: unsaid[name] for name in _UNSAID & unsaid.keys()})
            return {name: carbon[name] for name in _CARBON & carbon.keys()}
    return {}


def as_before(first: Delivery, key: str) -> Delivery:
    """Return a delivery under the key of its copy."""
    return replace(first, key=key, count=max(first.count, 2))


def own_tag(event: Event) -> str | None:
    """Return the tag of a message of umbel's that the server gave or returned; others have none."""
    own = (event.properties.get("application_headers") or {}).get(OURS)
    return own.get(TAG) if isinstance(own, dict) else None


def _listed(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []

"""AMQP 0-9-1 as bytes: frames, methods and contents, written and read; no connection is needed here.

The protocol: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, with RabbitMQ's extensions. Values are
written and read by py-amqp, so that what travels has the types that Celery's messages have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from struct import error as struct_error
from typing import Any

from amqp.exceptions import FrameSyntaxError
from amqp.serialization import dumps, loads

from umbel.engines.rabbitmq.properties import BASIC_PROPERTIES, properties_at, written_properties
from umbel.exceptions import EncodeError, OperationalError

PROTOCOL = b"AMQP\x00\x00\x09\x01"
_HEAD = Struct(">BHI")
_METHOD = Struct(">HH")
_CONTENT = Struct(">HHQ")
_NUMBERED = Struct(">QBB").unpack_from
_END = b"\xce"
#: Bytes of a frame that we ask for; a server may want less.
FRAME_MAX = 131072
#: Bytes of a frame that may come: to the headers of what has waited the server adds where (x-death), and
#: sends them in one frame all the same.
_MOST = 2 * FRAME_MAX
#: Bytes of a frame around its payload.
AROUND = 8
HEARTBEAT = _HEAD.pack(8, 0, 0) + _END
#: The class of messages.
BASIC = 60

Name = tuple[int, int]
#: The server's number of a delivery: of the channel that it came by, and of those that came by that.
Number = tuple[int, int]

START: Name = (10, 10)
START_OK: Name = (10, 11)
SECURE: Name = (10, 20)
TUNE: Name = (10, 30)
TUNE_OK: Name = (10, 31)
OPEN: Name = (10, 40)
OPEN_OK: Name = (10, 41)
CLOSE: Name = (10, 50)
CLOSE_OK: Name = (10, 51)
BLOCKED: Name = (10, 60)
UNBLOCKED: Name = (10, 61)
CHANNEL_OPEN: Name = (20, 10)
CHANNEL_OPEN_OK: Name = (20, 11)
FLOW: Name = (20, 20)
FLOW_OK: Name = (20, 21)
CHANNEL_CLOSE: Name = (20, 40)
CHANNEL_CLOSE_OK: Name = (20, 41)
EXCHANGE_DECLARE: Name = (40, 10)
EXCHANGE_DECLARE_OK: Name = (40, 11)
EXCHANGE_BIND: Name = (40, 30)
EXCHANGE_BIND_OK: Name = (40, 31)
QUEUE_DECLARE: Name = (50, 10)
QUEUE_DECLARE_OK: Name = (50, 11)
QUEUE_BIND: Name = (50, 20)
QUEUE_BIND_OK: Name = (50, 21)
QUEUE_PURGE: Name = (50, 30)
QUEUE_PURGE_OK: Name = (50, 31)
QUEUE_DELETE: Name = (50, 40)
QUEUE_DELETE_OK: Name = (50, 41)
QOS: Name = (60, 10)
QOS_OK: Name = (60, 11)
CONSUME: Name = (60, 20)
CONSUME_OK: Name = (60, 21)
CANCEL: Name = (60, 30)
CANCEL_OK: Name = (60, 31)
PUBLISH: Name = (60, 40)
RETURN: Name = (60, 50)
DELIVER: Name = (60, 60)
GET: Name = (60, 70)
GET_OK: Name = (60, 71)
GET_EMPTY: Name = (60, 72)
ACK: Name = (60, 80)
REJECT: Name = (60, 90)
NACK: Name = (60, 120)
CONFIRM_SELECT: Name = (85, 10)
CONFIRM_SELECT_OK: Name = (85, 11)

#: The arguments of what a server sends, in py-amqp's letters.
_ARGUMENTS: Mapping[Name, str] = {
    START: "ooFSS",
    TUNE: "BlB",
    OPEN_OK: "",
    CLOSE: "BsBB",
    CLOSE_OK: "",
    BLOCKED: "s",
    UNBLOCKED: "",
    CHANNEL_OPEN_OK: "",
    FLOW_OK: "b",
    CHANNEL_CLOSE: "BsBB",
    (40, 21): "",
    CHANNEL_CLOSE_OK: "",
    EXCHANGE_DECLARE_OK: "",
    EXCHANGE_BIND_OK: "",
    QUEUE_DECLARE_OK: "sll",
    QUEUE_BIND_OK: "",
    QUEUE_PURGE_OK: "l",
    QUEUE_DELETE_OK: "l",
    QOS_OK: "",
    CONSUME_OK: "s",
    CANCEL: "sb",
    CANCEL_OK: "s",
    RETURN: "Bsss",
    DELIVER: "sLbss",
    GET_OK: "Lbssl",
    GET_EMPTY: "s",
    ACK: "Lb",
    NACK: "Lbb",
    CONFIRM_SELECT_OK: "",
    SECURE: "S",
}
_CARRIERS = (DELIVER, GET_OK, RETURN)

#: The names of properties that are not those of the headers.
PROPERTY_NAMES = frozenset(name for name, _ in BASIC_PROPERTIES) - {"application_headers"}


@dataclass(slots=True)
class Event:
    """What a server sent: a method and its arguments; a message, where it carries one."""

    name: Name
    arguments: list[Any]
    properties: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    unread: str | None = None
    """Why the properties could not be read."""
    channel: int = 1

    @property
    def number(self) -> Number:
        """The number of what was handed over."""
        return self.channel, self.arguments[1 if self.name == DELIVER else 0]


def method(name: Name, arguments: str = "", *values: Any, channel: int = 1) -> bytes:
    """Return a method as a frame. Raises EncodeError for what AMQP cannot carry."""
    payload = _METHOD.pack(*name) + (packed(arguments, values) if arguments else b"")
    return _HEAD.pack(1, channel, len(payload)) + payload + _END


def packed(arguments: str, values: Any) -> bytes:
    """Return values as bytes."""
    return _carried(dumps, arguments, values)


def written(properties: Mapping[str, Any]) -> bytes:
    """Return basic properties as bytes. Raises EncodeError for what AMQP cannot carry."""
    return _carried(written_properties, properties)


def _carried(write: Callable[..., bytes], *what: Any) -> bytes:
    try:
        return write(*what)
    except (FrameSyntaxError, ValueError, TypeError, struct_error, RecursionError) as error:
        raise EncodeError(f"AMQP cannot carry this: {error}") from error


def content(properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Return a message as frames, which follow the method that publishes it."""
    header = _CONTENT.pack(BASIC, 0, len(body)) + properties
    frames = [_HEAD.pack(2, 1, len(header)), header, _END]
    most = frame_max - AROUND
    for start in range(0, len(body), most):
        part = body[start : start + most]
        frames += (_HEAD.pack(3, 1, len(part)), part, _END)
    return b"".join(frames)


def publishing(exchange: str, routing_key: str, mandatory: bool = False) -> bytes:
    """Return the method that publishes the message whose frames follow."""
    return method(PUBLISH, "Bssbb", 0, exchange, routing_key, mandatory, False)


@dataclass(slots=True)
class _Coming:
    """A message of which the server has not sent all yet."""

    carrier: Event
    missing: int = 0
    parts: list[bytes] = field(default_factory=list)


class Reader:
    """Makes events of the bytes of a connection. A message is an event once all of it has come."""

    def __init__(self) -> None:
        self._data = b""
        #: By their channels, whose frames may come in turns.
        self._coming: dict[int, _Coming] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the events that they complete."""
        whole = bytes(self._data) + data if self._data else data
        events = []
        place, length = 0, len(whole)
        while length - place >= AROUND:
            kind, channel, size = _HEAD.unpack_from(whole, place)
            start, end = place + 7, place + 7 + size
            if size > _MOST:
                raise OperationalError("What the server sent is no AMQP frame.")
            if length <= end:
                break
            if whole[end] != 0xCE:
                raise OperationalError("What the server sent is no AMQP frame.")
            place = end + 1
            if kind == 1:
                event = self._method(channel, whole[start:end])
            elif kind == 8:
                continue
            else:
                event = self._content(kind, channel, whole[start:end])
            if event is not None:
                events.append(event)
        self._data = whole[place:]
        return events

    def _content(self, kind: int, channel: int, payload: bytes) -> Event | None:
        """Take what belongs to a message; return that when all of it is there."""
        coming = self._coming.get(channel)
        if coming is None or kind not in (2, 3):
            raise OperationalError("What the server sent is not in AMQP's order.")
        carrier = coming.carrier
        if kind == 2:
            coming.missing = int.from_bytes(payload[4:12], "big")
            try:
                carrier.properties = properties_at(payload, 12)
            except Exception as error:  # noqa: BLE001 - whatever is in a message, it ends no connection
                carrier.unread = f"{type(error).__name__}: {error}"[:200]
        else:
            coming.missing -= len(payload)
            coming.parts.append(payload)
        if coming.missing > 0:
            return None
        carrier.body = coming.parts[0] if len(coming.parts) == 1 else b"".join(coming.parts)
        del self._coming[channel]
        return carrier

    def _method(self, channel: int, payload: bytes) -> Event | None:
        name: Name = _METHOD.unpack_from(payload)
        if name == DELIVER:
            self._coming[channel] = _Coming(Event(name, _delivered(payload), channel=channel))
            return None
        arguments = _ARGUMENTS.get(name)
        if arguments is None:
            raise OperationalError(f"The server sent the method {name}, which nobody asked for.")
        values, _ = loads(arguments, payload, 4) if arguments else ([], 4)
        event = Event(name, values, channel=channel)
        if name in _CARRIERS:
            self._coming[channel] = _Coming(event)
            return None
        return event


def _delivered(payload: bytes) -> list[Any]:
    """Return the arguments of a DELIVER, the most frequent of all methods, without asking for their types."""
    at = 5 + payload[4]
    number, flags, size = _NUMBERED(payload, at)
    end = at + 10 + size
    key = end + 1
    return [
        payload[5:at].decode("utf-8", "surrogatepass"),
        number,
        flags & 1 == 1,
        payload[at + 10 : end].decode("utf-8", "surrogatepass"),
        payload[key : key + payload[end]].decode("utf-8", "surrogatepass"),
    ]

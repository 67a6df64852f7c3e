"""kombu's envelope: how a message is written on a Redis list, byte for byte as kombu writes it.

The form is that of kombu's virtual transports (kombu/transport/virtual/base.py): a JSON object with the
body in base64. Umbel's scripts put what they count in front as one more key, ``"umbel"``, which kombu
carries along unread (lua/broker_base.lua).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple, cast

from umbel import serialization
from umbel.engines.redis import bodies
from umbel.engines.redis.keys import Names
from umbel.engines.texts import check_text
from umbel.exceptions import DecodeError, EncodeError
from umbel.headers import Headers, Reader, reader_of
from umbel.limits import MOST_HEADERS, UNREAD, too_large, unread
from umbel.mappings import Layered, Shared
from umbel.message import Delivery, Message, Publication

#: What is on a list and is no envelope is delivered under this type, which no worker accepts.
UNREADABLE = "application/x-unreadable"

#: What every envelope begins with.
_HEAD = '{"body": "'
#: Characters of an envelope that is not worth being taken apart.
_SHORT = 4096
#: Bytes of the largest envelope that is kept with its message, to have its headers read again.
MOST_KEPT = 16_384
#: Writes a text as JSON.
_json = json.encoder.encode_basestring_ascii
#: Where nothing else is said.
_PLAIN = Names()
#: The body in an envelope: one text, which costs no more than its length.
_BODY = re.compile(rb'"body": ?"(?:[^"\\]++|\\.)*+"', re.DOTALL)


@lru_cache(64)
def _quoted(text: str) -> str:
    """Return a content type or encoding as JSON."""
    check_text(text)
    return json.dumps(text)


class _Form(NamedTuple):
    """What the envelopes of many messages have in common between what each has of its own."""

    behind_body: str
    behind_headers: str
    #: Characters that the headers of one may have.
    room: int


class _Parts(NamedTuple):
    """An envelope that was decoded, whatever its parts are."""

    umbel: Any
    body: Any
    headers: Any
    properties: Any
    content_type: Any
    content_encoding: Any


_read_typed: Reader | None = None
try:
    import msgspec
except ImportError:
    pass
else:
    from umbel.headers import Fields

    class _Typed(msgspec.Struct, forbid_unknown_fields=True, gc=False):
        """The parts of the envelope of a task message, as kombu and umbel write them."""

        body: str
        headers: Fields
        properties: dict[str, Any]
        content_type: str | None = msgspec.field(name="content-type", default=None)
        content_encoding: str | None = msgspec.field(name="content-encoding", default=None)
        umbel: Any = None

    _read_typed = reader_of(msgspec.json.Decoder(_Typed).decode)


def write(publication: Publication, names: Names = _PLAIN) -> str:
    """Return a publication's envelope. Raises EncodeError for what cannot be written."""
    message, tag = publication.message, publication.tag
    headers, properties = message.headers, message.properties
    body = bodies.encoded(message.body)
    if type(headers) is Layered and type(properties) is Layered:
        form = _form(
            message.content_encoding,
            message.content_type,
            headers.shared,
            properties.shared,
            publication.queue,
            names.turned(publication.priority),
        )
        if form is not None and headers.own and properties.own:
            check_text(tag, publication.task_id)
            own = serialization.dumps_plain(headers.own)
            if len(own) <= form.room:
                quoted = _json(tag)
                if properties.own == {"correlation_id": tag}:
                    rest = f'"correlation_id": {quoted}}}'
                else:
                    rest = serialization.dumps_plain(properties.own)[1:]
                if len(rest) <= MOST_HEADERS // 2:  # else what follows says that it is too much
                    return f"{_HEAD}{body}{form.behind_body}{own[1:]}{form.behind_headers}{quoted}, {rest}}}"
    check_text(publication.queue, tag, publication.task_id or message.task_id or "")
    return (
        f'{_HEAD}{body}", "content-encoding": {_quoted(message.content_encoding)},'
        f' "content-type": {_quoted(message.content_type)},'
        f' "headers": {serialization.dumps_mapping(headers)},'
        f' "properties": {_properties(publication, names)}}}'
    )


@lru_cache(1000)
def _form(
    encoding: str, content_type: str, headers: Shared, properties: Shared, queue: str, priority: int
) -> _Form | None:
    """Return what envelopes of messages for a queue have in common, which is written once.

    None where their properties say more of their place than the queue does. What messages have of their own
    never does.
    """
    if "delivery_info" in properties.values or "priority" in properties.values:
        return None
    if not headers.values:
        return None
    check_text(queue)
    shared = serialization.dumps_mapping(headers.values)[:-1]
    place = _place(queue, priority)
    if properties.values:
        place = f"{place}, {serialization.dumps_mapping(properties.values)[1:-1]}"
    return _Form(
        f'", "content-encoding": {_quoted(encoding)}, "content-type": {_quoted(content_type)},'
        f' "headers": {shared}, ',
        f', "properties": {{{place}, "delivery_tag": ',
        MOST_HEADERS - len(shared) - 1,
    )


def _properties(publication: Publication, names: Names) -> str:
    """Return the properties of an envelope as JSON: those of the message, and kombu's."""
    properties = publication.message.properties
    if "delivery_info" in properties or "priority" in properties:
        own = dict(properties)
        sent = own.get("delivery_info")
        if not (isinstance(sent, dict) and "routing_key" in sent):
            own["delivery_info"] = {"exchange": "", "routing_key": publication.queue}
        own.setdefault("priority", publication.priority)
        _turn_priority(own, names)
        return serialization.dumps_mapping(
            own | {"body_encoding": "base64", "delivery_tag": publication.tag}
        )
    place = _place(publication.queue, names.turned(publication.priority))
    text = f'{{{place}, "delivery_tag": {_json(publication.tag)}'
    return f"{text}, {serialization.dumps_mapping(properties)[1:]}" if properties else f"{text}}}"


@lru_cache(1000)
def _place(queue: str, priority: int) -> str:
    """Return properties of a message for a queue, as the middle of a JSON object."""
    info = {"exchange": "", "routing_key": queue}
    rest = {"delivery_info": info, "priority": priority, "body_encoding": "base64"}
    return serialization.dumps(rest)[1:-1]


def read_back(
    text: str, body: bytes, queue: str, step: int, key: str, names: Names = _PLAIN
) -> Delivery:
    """Return what `read` does of an envelope that `write` wrote of a message with this body.

    A long body is not decoded again.
    """
    stop = len(_HEAD) + (len(body) + 2) // 3 * 4
    if len(text) < _SHORT or len(text) - stop > MOST_HEADERS or len(text) > _longest(names):
        return read(text.encode(), queue, step, key, names=names)
    data = _decoded((_HEAD + text[stop:]).encode())
    if data is None:
        return read(text.encode(), queue, step, key, names=names)
    return _delivery(data, queue, names.turned(step), key, False, names, body)


def read(
    raw: bytes, queue: str, step: int, key: str, early: bool = False, names: Names = _PLAIN
) -> Delivery:
    """Return the delivery of an envelope, whoever wrote it.

    What is none is delivered all the same, so that a worker can put it away with the reason. `step` is the
    priority of the list it was on. The count in the envelope is that of the handings-over before this one.
    """
    priority = names.turned(step)
    refused = _too_large(raw, names) if len(raw) > MOST_HEADERS else None
    data = None if refused else _decoded(raw)
    if data is None:
        reason = refused or "What lay on the list is no message as kombu and umbel write it."
        message = Message({UNREAD: reason}, {}, raw, UNREADABLE, "binary")
        return Delivery(key, queue, message, early=early, priority=priority)
    return _delivery(data, queue, priority, key, early, names)


def _delivery(
    data: _Parts,
    queue: str,
    priority: int,
    key: str,
    early: bool,
    names: Names,
    body: bytes | None = None,
) -> Delivery:
    """Return the delivery of an envelope that was decoded, whose body may be known."""
    count, crashes = _counted(data.umbel)
    headers, properties = data.headers, _mapping(data.properties)
    if type(headers) is not Headers:
        headers = _mapping(headers)
        if headers.get("redelivered") is True:
            del headers["redelivered"]  # kombu's mark of what it restored
            count += 1
    encoding = properties.pop("body_encoding", None)
    tag = properties.pop("delivery_tag", None)
    _turn_priority(properties, names)
    if not properties.get("priority"):
        properties.pop("priority", None)  # kombu writes 0 where there is none
    sent = properties.get("delivery_info")
    if isinstance(sent, dict):
        sent.pop("redelivered", None)
        if sent == {"exchange": "", "routing_key": queue}:
            del properties["delivery_info"]
    message = Message(
        headers,
        properties,
        _body(data.body, encoding) if body is None else body,
        data.content_type or "application/data",
        data.content_encoding or "binary",
    )
    return Delivery(
        key,
        queue,
        message,
        tag if isinstance(tag, str) else "",
        priority,
        count + 1,
        crashes,
        early,
    )


def _turn_priority(properties: dict[str, Any], names: Names) -> None:
    if names.highest_first and type(properties.get("priority")) is int:
        properties["priority"] = names.turned(properties["priority"])


def _too_large(raw: bytes, names: Names) -> str | None:
    """Say why an envelope is too large to be decoded, if it is."""
    around = 2 * MOST_HEADERS
    if len(raw) > _longest(names):
        return str(too_large(len(raw), names))
    body = _BODY.search(raw) if len(raw) > around else None
    outside = len(raw) - (body.end() - body.start() if body else 0)
    return unread(outside, around) if outside > around else None


def _longest(names: Names) -> int:
    """Return how many characters an envelope may have."""
    return 2 * MOST_HEADERS + names.message_max_bytes // 3 * 4  # in base64


def _decoded(raw: bytes) -> _Parts | None:
    """Return the parts of an envelope, or what has the same; None for what is none."""
    if _read_typed is not None and len(raw) <= MOST_KEPT:
        found: Any = _read_typed(raw)
        if found is not None:
            found.headers = Headers(found.headers, raw, _headers_in)
            return cast(_Parts, found)
    data = _as_dictionary(raw)
    if data is None:
        return None
    get = data.get
    return _Parts(
        get("umbel"),
        get("body"),
        get("headers"),
        get("properties"),
        get("content-type"),
        get("content-encoding"),
    )


def _headers_in(raw: bytes) -> dict[str, Any]:
    """Return the headers in an envelope."""
    return _mapping((_as_dictionary(raw) or {}).get("headers"))


def _as_dictionary(raw: bytes) -> dict[str, Any] | None:
    for decode in (serialization.loads, _without_types):
        try:
            data = decode(raw)
        except (DecodeError, ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) else None
    return None


def _without_types(raw: bytes) -> Any:
    # A text: of bytes `json` guesses the encoding, and may import a codec for that.
    return json.loads(raw.decode())


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _counted(value: Any) -> tuple[int, int]:
    """Return deliveries and crashes; nonsense counts as none."""
    if isinstance(value, list) and len(value) >= 2 and all(type(one) is int for one in value[:2]):
        return value[0], value[1]
    return 0, 0


def _body(value: Any, encoding: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else _as_text(value)
    if encoding == "base64":
        try:
            return bodies.decoded(text)
        except ValueError:
            pass  # not what it says: the worker refuses it with what is there
    return text.encode("utf-8", "surrogatepass")


def _as_text(value: Any) -> str:
    """Return a body that is no text as JSON: not as kombu writes it, and the worker refuses or reads it."""
    try:
        return serialization.dumps(value)
    except EncodeError:  # of a type that is read here, and not written
        return repr(value)

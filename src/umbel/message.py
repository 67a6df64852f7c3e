"""Task messages of Celery's protocols 2 and 1, and how they are read; writing.py writes them.

Here and there, and nowhere else, headers are dictionaries; the rest of umbel sees a `Call`. The protocol:
https://docs.celeryq.dev/en/stable/internals/protocol.html and ``as_task_v2`` in celery/app/amqp.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from operator import attrgetter
from sys import intern
from typing import TYPE_CHECKING, Any

from umbel import limits as sizes
from umbel import serialization, tails
from umbel.compression import decompress
from umbel.exceptions import DecodeError
from umbel.headers import Headers, fields_of
from umbel.limits import UNREAD, Limits
from umbel.representation import representation
from umbel.values import value

if TYPE_CHECKING:
    from umbel.headers import Fields

_LISTS = (list, tuple)  # not ``list | tuple``, which is made anew each time
#: What a body of protocol 2 embeds.
_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
_NO_LIMITS = (None, None)


@value
class Message:
    """A message as it travels: what any engine carries without looking inside the body."""

    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"

    @property
    def task_id(self) -> str | None:
        """The id of the task, where the message has one that is text."""
        found = self.headers.get("id") or self.properties.get("correlation_id")
        return found if isinstance(found, str) else None


@value
class Call:
    """What a task message asks for.

    Times are ISO 8601 texts as they travel, limits are seconds. `headers`, and `properties` of a call
    that is written, are those the caller added. `eta` and `expires` without an offset are UTC, as Celery's
    workers read them.
    """

    task: str
    id: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    shadow: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    callbacks: Any = None
    errbacks: Any = None
    chain: Any = None
    chord: Any = None
    reply_to: str | None = None
    correlation_id: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Any = None
    stamps: Mapping[str, Any] = field(default_factory=dict)
    sent_at: float | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)


#: Headers of protocol 2 that are fields of `Call`; all others are the caller's own.
_KNOWN_HEADERS = frozenset(
    {
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "sent_at",
        "compression",
        "offers",
        "rate_limit_turn",
    }
)


_ending = tails.Ending()


def decode(message: Message, accept: Collection[str], limits: Limits = sizes.DEFAULT) -> Call:
    """Read a message of protocol 2 or 1.

    Raises ContentDisallowed when its content type is not accepted and DecodeError, with the field
    at fault, for everything that is not a task message or is larger than the limits allow.
    """
    body = body_of(message, accept, limits)
    fields = fields_of(message.headers)
    call = None if fields is None else _of_fields(fields, message, body)
    if call is not None:
        return call
    if "task" in message.headers:
        return _decode_2(message, body)
    return _decode_1(message, body)


def body_of(message: Message, accept: Collection[str], limits: Limits) -> Any:
    """Decompress and read the body of any message. Raises as `decode` does."""
    data, content_type, headers = message.body, message.content_type, message.headers
    unread = message.properties.get(UNREAD)
    if type(headers) is Headers:  # who has read them by their types has read them all
        compression = headers.fields.compression
    else:
        unread, compression = headers.get(UNREAD) or unread, headers.get("compression")
    if unread:
        raise DecodeError(str(unread)[:200])
    if len(data) > limits.message_max_bytes:
        raise sizes.too_large(len(data), limits)
    if compression:
        if type(compression) is not str:
            raise DecodeError(f"The message's compression is {_shown(compression)}, not a text.")
        data = decompress(data, compression, limits.message_max_decompressed)
    if type(content_type) is not str:
        raise DecodeError(f"The message's content type is {_shown(content_type)}, not a text.")
    json = serialization.JSON
    # Somebody may have put a serializer of their own in its place.
    own_json = (
        content_type == json.content_type and serialization.serializer_of(content_type) is json
    )
    if own_json and "json" in accept:
        parts = _ending.cut(data, limits) or tails.cut(data, limits)
        if parts is None:
            parts = json.read(data, limits)
            _ending.note(data, parts, limits)
        return parts
    return serialization.decode(data, content_type, accept, limits)


def _shown(value: Any) -> str:
    """Return a value for an error: short, whatever it is."""
    return representation(value, 200)


def _parts(body: Any) -> tuple[Sequence[Any], Mapping[str, Any], Mapping[str, Any]]:
    """Return args, kwargs and embedded signatures, of which the body of protocol 2 consists."""
    if not isinstance(body, _LISTS) or len(body) != 3:
        raise DecodeError("The body is not a list of args, kwargs and embedded signatures.")
    args, kwargs, embed = body
    if embed is not None and not isinstance(embed, dict):
        raise DecodeError("The body's third part is not an object.")
    if not isinstance(args, _LISTS) or not isinstance(kwargs, dict):
        raise _no_arguments()
    return args, kwargs, embed or {}


def _shared(text: Any) -> Any:
    """Return a text that many messages have as the one that they share, and anything else as it is."""
    return intern(text) if type(text) is str else text


def _decode_2(message: Message, body: Any) -> Call:
    """Read a message of protocol 2."""
    args, kwargs, embed = _parts(body)
    headers = message.headers
    get = headers.get
    limits = _limits(get("timelimit"))
    ignore_result = get("ignore_result")
    own: dict[str, Any] = {}
    if not headers.keys() <= _KNOWN_HEADERS:
        own = {key: value for key, value in headers.items() if key not in _KNOWN_HEADERS}
    sent_at = get("sent_at")
    if sent_at is not None and type(sent_at) not in (int, float):
        # A header of the caller's own, from a Celery client.
        own["sent_at"], sent_at = sent_at, None
    # Most messages say their id three times: who keeps thousands of calls has it once.
    id, root = get("id"), get("root_id")
    correlation = message.properties.get("correlation_id")
    # By their places, as `Call` has them: to give so many by name takes three times as long.
    call = Call(
        _shared(headers["task"]),
        id,  # type: ignore[arg-type]  # _checked refuses what is not a text
        args,
        kwargs,
        get("retries") or 0,
        get("eta"),
        get("expires"),
        limits[0],
        limits[1],
        get("shadow"),
        id if root == id else root,
        get("parent_id"),
        get("group"),
        get("group_index"),
        embed.get("callbacks"),
        embed.get("errbacks"),
        embed.get("chain"),
        embed.get("chord"),
        message.properties.get("reply_to") or None,
        id if correlation == id else correlation,
        _shared(get("origin")),
        None if ignore_result is None else bool(ignore_result),
        get("argsrepr"),
        _shared(get("kwargsrepr")),
        get("replaced_task_nesting") or 0,
        get("stamped_headers"),
        get("stamps") or {},
        sent_at,
        own,
    )
    return _checked(call)


def _of_fields(fields: Fields, message: Message, body: Any) -> Call | None:
    """Do as `_decode_2` where the headers were read by their types; None where that knows better."""
    hard, soft = fields.timelimit or _NO_LIMITS
    own = message.properties.get
    correlation, reply_to = own("correlation_id"), own("reply_to")
    id, root = fields.id, fields.root_id
    origin, kwargsrepr = fields.origin, fields.kwargsrepr
    # Nor is NaN at least 0.
    are_numbers = (hard or 0) >= 0 and (soft or 0) >= 0 and (fields.retries or 0) >= 0
    if not fields.task or not id or not are_numbers:
        return None
    if type(correlation) not in _TEXT_TYPES or (reply_to and type(reply_to) is not str):
        return None
    args, kwargs, embed = _parts(body)
    callbacks, errbacks, chain, chord = map(embed.get, _EMBEDDED)
    call = Call(
        intern(fields.task),
        id,
        args,
        kwargs,
        fields.retries or 0,
        fields.eta,
        fields.expires,
        hard,
        soft,
        fields.shadow,
        id if root == id else root,
        fields.parent_id,
        fields.group,
        fields.group_index,
        callbacks,
        errbacks,
        chain,
        chord,
        reply_to or None,
        id if correlation == id else correlation,
        origin and intern(origin),
        fields.ignore_result,
        fields.argsrepr,
        kwargsrepr and intern(kwargsrepr),
        fields.replaced_task_nesting or 0,
        fields.stamped_headers,
        fields.stamps or {},
        fields.sent_at,
        {},
    )
    if call.eta is not None or call.expires is not None:
        _check_times(call)
    return call


def _decode_1(message: Message, body: Any) -> Call:
    """Read a message of protocol 1, in which the body holds what protocol 2 has in headers."""
    if not isinstance(body, dict) or "task" not in body:
        raise DecodeError("The message names no task, neither in its headers nor in its body.")
    limits = _limits(body.get("timelimit"))
    utc = bool(body.get("utc"))
    call = Call(
        task=body["task"],
        id=body.get("id"),  # type: ignore[arg-type]  # _checked refuses what is not a text
        args=body.get("args") or (),
        kwargs=body.get("kwargs") or {},
        retries=body.get("retries") or 0,
        eta=_as_utc(body.get("eta"), utc),
        expires=_as_utc(body.get("expires"), utc),
        time_limit=limits[0],
        soft_time_limit=limits[1],
        root_id=body.get("id"),
        group_id=body.get("taskset"),
        group_index=body.get("group_index"),
        callbacks=body.get("callbacks"),
        errbacks=body.get("errbacks"),
        chord=body.get("chord"),
        reply_to=message.properties.get("reply_to") or None,
        correlation_id=message.properties.get("correlation_id"),
        headers={k: v for k, v in message.headers.items() if k not in _KNOWN_HEADERS},
    )
    return _checked(call)


def _limits(value: Any) -> Sequence[Any]:
    """Return the hard and the soft time limit of a message."""
    if not value:
        return (None, None)
    if not isinstance(value, _LISTS) or len(value) != 2:
        raise DecodeError(f"The message's time limits are {_shown(value)}, not a pair.")
    return value


def _as_utc(text: Any, utc: bool) -> Any:
    """Give a time of protocol 1 the offset that its ``utc`` flag says it has."""
    if utc and isinstance(text, str):
        moment = parse_time(text)
        return moment.isoformat()
    return text


_OPTIONAL_TEXTS = (
    "eta",
    "expires",
    "shadow",
    "root_id",
    "parent_id",
    "group_id",
    "correlation_id",
    "reply_to",
    "origin",
    "argsrepr",
    "kwargsrepr",
)


_TEXT_TYPES = frozenset({str, type(None)})
_optional_texts: Callable[[Call], tuple[Any, ...]] = attrgetter(*_OPTIONAL_TEXTS)


def _no_text(call: Call) -> DecodeError:
    """Return the error about the first field that has to be a text and is none."""
    values = zip(_OPTIONAL_TEXTS, _optional_texts(call), strict=True)
    name, value = next(each for each in values if type(each[1]) not in _TEXT_TYPES)
    return DecodeError(f"The message's {name} is {_shown(value)}, not a text.")


def _checked(call: Call) -> Call:
    """Return the call if its fields have the types that the rest of umbel relies on."""
    if type(call.task) is not str or not call.task:
        raise DecodeError(f"The message's task is {_shown(call.task)}, not a text.")
    if type(call.id) is not str or not call.id:
        raise DecodeError(f"The message's id is {_shown(call.id)}, not a text.")
    if not _TEXT_TYPES.issuperset(map(type, _optional_texts(call))):
        raise _no_text(call)
    _check_containers(call)
    _check_numbers(call)
    _check_times(call)
    return call


def _check_times(call: Call) -> None:
    if call.eta is not None:
        _check_time("eta", call.eta)
    if call.expires is not None:
        _check_time("expires", call.expires)


def _check_time(name: str, value: str) -> None:
    try:
        parse_time(value)
    except DecodeError as error:
        raise DecodeError(f"The message's {name}: {error}") from error


def _no_arguments() -> DecodeError:
    return DecodeError("The body's args are not a list, or its kwargs not an object.")


def _check_containers(call: Call) -> None:
    if not isinstance(call.args, _LISTS) or not isinstance(call.kwargs, dict):
        raise _no_arguments()
    if not isinstance(call.stamps, dict):
        raise DecodeError(f"The message's stamps are {_shown(call.stamps)}, not an object.")


def _check_numbers(call: Call) -> None:
    if type(call.retries) is not int or call.retries < 0:
        raise DecodeError(f"The message's number of retries is {_shown(call.retries)}.")
    if type(call.replaced_task_nesting) is not int:
        raise DecodeError(f"The message's nesting is {_shown(call.replaced_task_nesting)}.")
    if call.group_index is not None and type(call.group_index) is not int:
        raise DecodeError(f"The message's group_index is {_shown(call.group_index)}.")
    for limit in (call.time_limit, call.soft_time_limit):
        if limit is not None and (type(limit) not in (int, float) or not limit >= 0):
            raise DecodeError(
                f"The message's time limit is {_shown(limit)}, not a number of seconds."
            )


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; one without an offset is UTC. Raises DecodeError for other texts."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DecodeError(f"{_shown(text)} is not an ISO 8601 time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def timestamp(text: str | None) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch."""
    return None if text is None else parse_time(text).timestamp()


@value
class Publication:
    """A message on its way to a queue.

    `tag` identifies this publish and no other: whoever does not know whether a publish succeeded
    repeats it with the same tag. `priority` is 0 to 255, higher is more urgent. `due` is when the
    message may first be delivered, in seconds since the epoch; None means at once. `exchange` and
    `routing_key` are what it was sent to. `more_queues` get copies of it; engines never see any
    (`umbel.publish.spread`). `task` and `task_id` are its call's, for whoever sends it, and `content` is the
    body before it was written, which signals and wrappers get; None of what is no call. One that `is_new` has
    a tag that was made for it and is nobody else's: only who was told of an error may repeat it, in the same
    process and with the same others.
    """

    queue: str
    message: Message
    tag: str
    priority: int = 0
    due: float | None = None
    exchange: str = ""
    routing_key: str = ""
    more_queues: tuple[str, ...] = ()
    task: str = ""
    task_id: str = ""
    content: Any = field(default=None, compare=False)
    is_new: bool = field(default=False, compare=False)


def offers(message: Message) -> int:
    """Return how often a message was offered again because its task was not known."""
    found = message.headers.get("offers")
    return found if type(found) is int and found > 0 else 0


def offered_again(message: Message) -> Message:
    """Return a message with one offer more, which a header of ours counts."""
    return replace(message, headers={**message.headers, "offers": offers(message) + 1})


@value
class Delivery:
    """One handing-over of a message to a consumer.

    `key` names it within the broker (at most 40 ASCII characters), for the shared page and for
    reclaiming; `handle` is the engine's own. `count` is how often the message has been handed over,
    this time included; `crashes` how many processes died of it, `over_time` by which hard limit the last.
    """

    key: str
    queue: str
    message: Message
    tag: str = ""
    priority: int = 0
    count: int = 1
    crashes: int = 0
    early: bool = False
    over_time: float | None = None
    handle: Any = field(default=None, compare=False)

    @property
    def redelivered(self) -> bool:
        """True when the message was handed over before."""
        return self.count > 1

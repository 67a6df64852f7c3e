"""Task messages of Celery's protocols 2 and 1, written; message.py has what is written, and reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel import limits as sizes
from umbel import serialization, tails
from umbel.compression import compress
from umbel.exceptions import MessageTooLarge
from umbel.limits import Limits
from umbel.message import Call, Message
from umbel.representation import LEVELS, LIMIT, representation
from umbel.serialization import JSON, Serializer


def encode(
    call: Call,
    serializer: Serializer,
    priority: int | None = None,
    compression: str | None = None,
    limits: Limits = sizes.DEFAULT,
    levels: int = LEVELS,
    protocol: int = 2,
) -> Message:
    """Write a call as a message of protocol 2, or 1.

    `levels` is how deep its `argsrepr` and `kwargsrepr` go. Raises EncodeError when an argument cannot be
    written by the serializer, and MessageTooLarge for what no worker with these limits would read.
    """
    content = content_of(call, protocol)
    headers = {} if protocol == 1 else _headers(call, content[1], levels)
    if call.headers:
        headers.update(call.headers)
    properties: dict[str, Any] = {
        "correlation_id": call.correlation_id or call.id,
        "reply_to": call.reply_to or "",
        "delivery_mode": 2,
    }
    if call.properties:
        properties.update(call.properties)
    if priority is not None:
        properties["priority"] = priority
    body, compressed = written(content, serializer, compression, limits)
    if compressed:
        headers["compression"] = compressed
    return Message(headers, properties, body, serializer.content_type, serializer.content_encoding)


def written(
    content: Any, serializer: Serializer, compression: str | None, limits: Limits
) -> tuple[bytes, str | None]:
    """Return the body of a message, and the header that says how it is compressed; see `encode`."""
    tail = tails.tail_of(content)
    if tail is not None and serializer is JSON:
        before, behind = tails.around(content)
        body = plain = before + tail.text + behind
        read_here = before + behind  # the tail was checked as a part of a message, or will be
    else:
        content = content if tail is None else tails.whole(content)
        body = plain = read_here = serializer.dumps(content)
    compressed = None
    if compression:
        body, compressed = compress(plain, compression)
    if compression or len(plain) > limits.message_max_bytes:
        sizes.check_sent(len(plain), len(body), limits)
    if serialization.is_deeper(serializer, content, read_here, limits.message_max_depth):
        raise MessageTooLarge(sizes.too_deep(limits.message_max_depth))
    return body, compressed


def embedded(embed: Mapping[str, Any]) -> bytes:
    """Return what follows the task, the same for many calls, as `written_around` wants it."""
    return b", " + JSON.dumps(embed) + b"]"


def written_around(
    args: Sequence[Any], kwargs: Mapping[str, Any], embed: bytes, limits: Limits
) -> bytes:
    """Return the body of a call in JSON, of which what follows the task is written already; see `encode`."""
    body = serialization.dumps((args, kwargs))[:-1].encode() + embed
    if len(body) > limits.message_max_bytes:
        sizes.check_sent(len(body), len(body), limits)
    depth = limits.message_max_depth
    if len(body) > depth and serialization.is_deeper(JSON, None, body, depth):
        raise MessageTooLarge(sizes.too_deep(limits.message_max_depth))
    return body


def content_of(call: Call, protocol: int) -> Any:
    """Return the body of a message before it is written; its last part is what follows the task."""
    kwargs = call.kwargs if isinstance(call.kwargs, dict) else dict(call.kwargs)
    if protocol == 1:
        return _content_1(call, kwargs)
    embed = {
        "callbacks": call.callbacks,
        "errbacks": call.errbacks,
        "chain": call.chain,
        "chord": call.chord,
    }
    return call.args, kwargs, embed


def _content_1(call: Call, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of protocol 1; see ``as_task_v1`` in celery/app/amqp.py."""
    return {
        "task": call.task,
        "id": call.id,
        "args": call.args,
        "kwargs": kwargs,
        "group": call.group_id,
        "group_index": call.group_index,
        "retries": call.retries,
        "eta": call.eta,
        "expires": call.expires,
        "utc": True,  # for times without an offset, which we do not write
        "callbacks": call.callbacks,
        "errbacks": call.errbacks,
        "timelimit": (call.time_limit, call.soft_time_limit),
        "taskset": call.group_id,
        "chord": call.chord,
    }


def own_headers(
    id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    levels: int,
    ids: tuple[str | None, str | None] = (None, None),
    shown: tuple[str | None, str | None] = (None, None),
    sent_at: float | None = None,
) -> dict[str, str | float | None]:
    """Return the headers in which all calls differ.

    `ids` are those of root and parent, `shown` are the arguments as texts, where somebody says how.
    """
    argsrepr, kwargsrepr = shown
    if argsrepr is None:
        argsrepr = representation(args, LIMIT, levels)
    if kwargsrepr is None:
        kwargsrepr = representation(kwargs, LIMIT, levels) if kwargs else "{}"
    return {
        "id": id,
        "root_id": ids[0] or id,
        "parent_id": ids[1],
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "sent_at": sent_at,
    }


def _headers(call: Call, kwargs: Mapping[str, Any], levels: int) -> dict[str, Any]:
    """Return the headers of protocol 2, without those of the caller's own."""
    own = own_headers(
        call.id,
        call.args,
        kwargs,
        levels,
        (call.root_id, call.parent_id),
        (call.argsrepr, call.kwargsrepr),
        call.sent_at,
    )
    return {
        "lang": "py",
        "task": call.task,
        "id": own["id"],
        "shadow": call.shadow,
        "eta": call.eta,
        "expires": call.expires,
        "group": call.group_id,
        "group_index": call.group_index,
        "retries": call.retries,
        "timelimit": [call.time_limit, call.soft_time_limit],
        "root_id": own["root_id"],
        "parent_id": own["parent_id"],
        "argsrepr": own["argsrepr"],
        "kwargsrepr": own["kwargsrepr"],
        "origin": call.origin,
        "ignore_result": call.ignore_result,
        "replaced_task_nesting": call.replaced_task_nesting,
        "stamped_headers": call.stamped_headers,
        "stamps": dict(call.stamps) if call.stamps else {},
        "sent_at": own["sent_at"],
    }

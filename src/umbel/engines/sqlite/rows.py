"""Messages as rows of the SQLite file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from umbel import serialization
from umbel.message import Delivery, Message, Publication


def milliseconds(seconds: float | None) -> int | None:
    """Return a time as the file keeps it."""
    return None if seconds is None else int(seconds * 1000)


def seconds(milliseconds: int | None) -> float | None:
    """Return a time from the file as umbel uses it."""
    return None if milliseconds is None else milliseconds / 1000


def numbers(keys: Iterable[str]) -> str:
    """Return keys as a JSON list for ``json_each``; what is no key is passed over."""
    return json.dumps([int(key) for key in keys if key.isascii() and key.isdigit()])


def publication_row(publication: Publication, now: int) -> tuple[Any, ...]:
    """Return the values of the statement ``publish`` behind its place and the queue's number."""
    message = publication.message
    due = milliseconds(publication.due)
    scheduled = due is not None and due > now
    return (
        -publication.priority,
        1 if scheduled else 0,
        due if scheduled else None,
        f"{message.task_id or ''} {publication.tag}",
        serialization.dumps(message.headers),
        serialization.dumps(message.properties),
        message.content_type,
        message.content_encoding,
        message.body,
    )


def message(row: tuple[Any, ...]) -> Message:
    """Return the message of (headers, properties, content_type, content_encoding, body)."""
    headers, properties, content_type, content_encoding, body = row
    return Message(
        serialization.loads(headers),
        serialization.loads(properties),
        body,
        content_type,
        content_encoding,
    )


def delivery(row: tuple[Any, ...], queue: str, early: bool = False) -> Delivery:
    """Return the delivery of (seq, urgency, count, crashes, identity, then the message)."""
    seq, urgency, count, crashes, identity = row[:5]
    found = message(row[5:10])
    return Delivery(
        key=str(seq),
        queue=queue,
        message=found,
        tag=identity[len(found.task_id or "") + 1 :],
        priority=-urgency,
        count=count,
        crashes=crashes,
        early=early,
        handle=seq,
    )

"""Messages as rows of the SQLite file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from umbel import serialization
from umbel.engines.texts import check_text
from umbel.headers import read as read_headers
from umbel.message import Delivery, Message, Publication


def milliseconds(seconds: float | None) -> int | None:
    """Return a time as the file keeps it."""
    return None if seconds is None else int(seconds * 1000)


def seconds(milliseconds: int | None) -> float | None:
    """Return a time from the file as umbel uses it."""
    return None if milliseconds is None else milliseconds / 1000


#: A message's number and the number of its handing-over.
Handle = tuple[int, int]


def handles(keys: Iterable[str]) -> list[Handle]:
    """Return what keys of deliveries name; what is no key is passed over."""
    found = []
    for one in keys:
        seq, _, lease = one.partition(".")
        if one.isascii() and seq.isdigit() and lease.isdigit():
            found.append((int(seq), int(lease)))
    return found


def numbers(keys: Iterable[str]) -> str:
    """Return keys of dead letters as a JSON list for ``json_each``; what is no key is passed over."""
    return json.dumps([int(key) for key in keys if key.isascii() and key.isdigit()])


def publication_row(publication: Publication, now: int) -> tuple[Any, ...]:
    """Return the values of the statement ``publish`` behind its place and the queue's number.

    Raises EncodeError for what cannot be written.
    """
    message = publication.message
    identity = f"{message.task_id or ''} {publication.tag}"
    check_text(publication.queue, identity, message.content_type, message.content_encoding)
    due = milliseconds(publication.due)
    scheduled = due is not None and due > now
    return (
        -publication.priority,
        1 if scheduled else 0,
        due if scheduled else None,
        identity,
        serialization.dumps_mapping(message.headers),
        serialization.dumps_mapping(message.properties),
        message.content_type,
        message.content_encoding,
        message.body,
    )


def message(row: tuple[Any, ...]) -> Message:
    """Return the message of (headers, properties, content_type, content_encoding, body)."""
    headers, properties, content_type, content_encoding, body = row
    return Message(
        read_headers(headers),
        serialization.loads_mapping(properties),
        body,
        content_type,
        content_encoding,
    )


def delivery(row: tuple[Any, ...], queue: str, early: bool = False) -> Delivery:
    """Return the delivery of (seq, lease, urgency, count, crashes, identity, then the message)."""
    seq, lease, urgency, count, crashes, identity = row[:6]
    found = message(row[6:11])
    key, handle = f"{seq}.{lease}", (seq, lease)
    tag = identity[len(found.task_id or "") + 1 :]
    # By their places: to give so many by name takes longer.
    return Delivery(key, queue, found, tag, -urgency, count, crashes, early, None, handle)

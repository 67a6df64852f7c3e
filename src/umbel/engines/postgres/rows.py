"""Messages, results and keys as PostgreSQL has them: columns of arrays, and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umbel import serialization
from umbel.engines.texts import check_text
from umbel.exceptions import EncodeError
from umbel.headers import read as read_headers
from umbel.message import Delivery, Message, Publication
from umbel.ports import Change, GroupPart, Put
from umbel.records import ResultRecord

#: A message's number and the number of its handing-over.
Handle = tuple[int, int]
#: Values of a statement, a column each.
Columns = list[Any]
#: A publication as a row: queue, urgency, due, task id, tag, headers, properties, type, encoding, body.
PublicationRow = tuple[Any, ...]

NO_PUBLICATIONS: Columns = [None] * 10
NO_RESULTS: Columns = [None] * 6


def numbers(values: Iterable[float | None]) -> str:
    """Return numbers as an array, as PostgreSQL writes one."""
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"


def flags(values: Iterable[bool]) -> str:
    """Return truth values as an array."""
    return "{" + ",".join(["t" if value else "f" for value in values]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """Return texts as an array."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return '"' + text.replace('"', '\\"') + '"'


def check_texts(*values: str) -> None:
    """Raise EncodeError for a text that PostgreSQL cannot keep: no UTF-8, or with a NUL character."""
    check_text(*values)
    for text in values:
        if "\0" in text:
            raise EncodeError(f"{text!a} cannot be written to PostgreSQL: it has a NUL character.")


# Keys


def handles(keys: Iterable[str]) -> list[Handle]:
    """Return what keys of deliveries name; what is no key is passed over."""
    found = []
    for one in keys:
        seq, _, lease = one.partition(".")
        if one.isascii() and seq.isdigit() and lease.isdigit() and len(one) <= 38:
            found.append((int(seq), int(lease)))
    return found


def handle_columns(wanted: Sequence[Handle]) -> Columns:
    """Return handings-over as columns."""
    return [numbers([seq for seq, _ in wanted]), numbers([lease for _, lease in wanted])]


def acked_columns(wanted: Sequence[Handle]) -> Columns:
    """Return handings-over that are acknowledged as columns.

    Of one lease with seqs that follow each other, which is most often so, only the first and the last.
    """
    (first, lease), (last, _) = wanted[0], wanted[-1]
    # By their number first: between an old message and a new one there may be millions.
    if last - first == len(wanted) - 1 and wanted == [
        (seq, lease) for seq in range(first, last + 1)
    ]:
        return [numbers((first, last)), numbers((lease,))]
    return handle_columns(wanted)


def dead_keys(keys: Iterable[str]) -> str:
    """Return keys of dead letters as an array; what is no key is passed over."""
    return numbers([int(key) for key in keys if key.isascii() and key.isdigit() and len(key) <= 18])


# Messages


def publication_row(publication: Publication) -> PublicationRow:
    """Return a publication as a row, with its queue's name. Raises EncodeError for what cannot be written."""
    message = publication.message
    task_id = message.task_id or ""
    check_texts(
        publication.queue,
        task_id,
        publication.tag,
        message.content_type,
        message.content_encoding,
    )
    return (
        publication.queue,
        -publication.priority,
        publication.due,
        task_id,
        publication.tag,
        serialization.dumps_mapping(message.headers),
        serialization.dumps_mapping(message.properties),
        message.content_type,
        message.content_encoding,
        message.body,
    )


def publication_columns(rows: Sequence[PublicationRow], queues: dict[str, int]) -> Columns:
    """Return the arguments of ``publish``, with one row of each tag: the first."""
    if len(rows) > 1:
        rows = list({row[4]: row for row in reversed(rows)}.values())[::-1]
    (names, urgencies, dues, *some, bodies) = zip(*rows, strict=True)
    return [
        numbers([queues[name] for name in names]),
        numbers(urgencies),
        numbers(dues),
        *[texts(column) for column in some],
        list(bodies),
    ]


def columns_or_none(rows: Sequence[PublicationRow], queues: dict[str, int]) -> Columns:
    """Return the arguments of ``publish``; nulls for none."""
    return publication_columns(rows, queues) if rows else NO_PUBLICATIONS


def change_columns(changes: Sequence[Change]) -> Columns:
    """Return what is changed, as arguments of ``change``."""
    return [
        texts([one.kind for one in changes]),
        texts([one.key for one in changes]),
        texts([one.was for one in changes]),
        texts([one.value for one in changes]),
    ]


def put_columns(puts: Sequence[Put]) -> Columns:
    """Return values that go with changes, as arguments of ``change``."""
    return [
        texts([one.kind for one in puts]),
        texts([one.key for one in puts]),
        texts([one.value for one in puts]),
    ]


def message(row: Sequence[Any]) -> Message:
    """Return the message of (headers, properties, content_type, content_encoding, body)."""
    headers, properties, content_type, content_encoding, body = row
    return Message(
        read_headers(headers),
        serialization.loads_mapping(properties),
        bytes(body),
        content_type,
        content_encoding,
    )


#: The state of what may not be delivered again.
MARKED = 3


def deliveries(found: Iterable[Sequence[Any]], names: Mapping[int, str]) -> list[Delivery]:
    """Return handings-over; those without a lease have what the row before them said of all."""
    taken: list[Delivery] = []
    add, name, priority, early = taken.append, "", 0, False
    number = handed = died = 0
    for row in found:
        seq, lease, queue, urgency, state, count, crashes, tag, headers, properties, *content, _ = (
            row
        )
        if lease is not None:
            number, name, priority = lease, names[queue], -urgency
            handed, died, early = count, crashes, state == MARKED
        if seq is None:
            continue
        kind, encoding, body = content
        said = Message(
            read_headers(headers), serialization.loads_mapping(properties), body, kind, encoding
        )
        key, handle = f"{seq}.{number}", (seq, number)
        # By their places: to give so many by name takes longer.
        add(Delivery(key, name, said, tag, priority, handed, died, early, None, handle))
    return taken


# Results


def result_columns(records: Sequence[ResultRecord]) -> Columns:
    """Return the arguments of ``store_results``. Raises EncodeError for what cannot be written."""
    documents = [one.document if isinstance(one.document, str) else None for one in records]
    for one, document in zip(records, documents, strict=True):
        check_texts(one.task_id, one.state, document or "")
    return [
        texts([one.task_id for one in records]),
        texts([one.state for one in records]),
        flags([one.ready for one in records]),
        texts(documents),
        _blobs([one.document for one in records]),
        numbers([one.expires for one in records]),
    ]


#: The place of a part that has none: behind all others.
LAST = 2**62


def part_columns(parts: Sequence[GroupPart]) -> Columns:
    """Return the arguments of ``add_parts``. Raises EncodeError for what cannot be written."""
    documents = [one.document if isinstance(one.document, str) else None for one in parts]
    for one, document in zip(parts, documents, strict=True):
        check_texts(one.group, one.part, one.claimant, document or "")
    return [
        texts([one.group for one in parts]),
        texts([one.part for one in parts]),
        numbers([LAST if one.index is None else one.index for one in parts]),
        texts(documents),
        _blobs([one.document for one in parts]),
        texts([one.claimant for one in parts]),
        numbers([one.expires for one in parts]),
    ]


def _blobs(values: Sequence[str | bytes]) -> str:
    """Return what is no text as an array of binaries, written as text."""
    return (
        "{"
        + ",".join(
            ['"\\\\x' + one.hex() + '"' if isinstance(one, bytes) else "NULL" for one in values]
        )
        + "}"
    )


def readable(task_ids: Iterable[str]) -> list[str]:
    """Return ids without those under which nothing can be stored: with a NUL character, or no UTF-8."""
    found = []
    for one in task_ids:
        try:
            check_texts(one)
        except EncodeError:
            continue
        found.append(one)
    return found

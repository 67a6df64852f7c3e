"""What a result store keeps for a task: Celery's result document, written and read.

The document is what Celery's key-value backends store under ``celery-task-meta-<id>``
(celery/backends/base.py), so that each side reads the other's results: a mapping, written by
`result_serializer` and compressed as `result_compression` says. Exceptions travel as data (failures.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from umbel import failures, serialization, states
from umbel.clock import utc
from umbel.compression import compress, decompress
from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from umbel.limits import FixedLimits, Limits, too_deep
from umbel.serialization import JSON, Serializer
from umbel.values import value


class Form(Limits, Protocol):
    """The settings that say how results are written; `umbel.settings.Settings` has them."""

    @property
    def accept_content(self) -> Collection[str]:
        """What is read of messages."""

    @property
    def result_serializer(self) -> str:
        """How documents are written."""

    @property
    def result_compression(self) -> str | None:
        """How documents are compressed."""

    @property
    def result_accept_content(self) -> Collection[str] | None:
        """What is read of results; None: as of messages."""


@dataclass(frozen=True, slots=True)
class FixedForm(FixedLimits):
    """How results are written where there are no settings: as JSON."""

    accept_content: Collection[str] = ("json",)
    result_serializer: str = "json"
    result_compression: str | None = None
    result_accept_content: Collection[str] | None = None


PLAIN: Form = FixedForm()


@value
class ResultRecord:
    """A task's state and result as stored.

    The document is text when it is plain JSON. `expires` is in seconds since the epoch, None means never.
    `meta` takes the place of the document where a store has read it by itself; `unread` is why it could not.
    """

    task_id: str
    state: str
    document: str | bytes
    expires: float | None = None
    meta: Mapping[str, Any] | None = field(default=None, compare=False)
    unread: DecodeError | None = field(default=None, compare=False)

    @property
    def ready(self) -> bool:
        """True when the state is final."""
        return self.state in states.READY_STATES

    def says_the_same_as(self, other: ResultRecord | None) -> bool:
        """Tell whether another one is of the same state; what is told need not say when it expires."""
        return other is not None and (self.state, self.document) == (other.state, other.document)


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What ``result_extended`` keeps of the call beside its result."""

    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    stamped_headers: Any = None
    stamps: Mapping[str, Any] = field(default_factory=dict)


@value
class TaskResult:
    """A result document as a value.

    `result` is what the task returned, or the exception it raised. `children` are the calls that the
    task made, each as ``AsyncResult.as_tuple`` writes it; None where nobody knows.
    """

    task_id: str
    state: str = states.PENDING
    result: Any = None
    traceback: str | None = None
    date_done: datetime | None = None
    parent_id: str | None = None
    group_id: str | None = None
    children: list[Any] | None = field(default_factory=list)
    call: CallInfo | None = None


def encode(result: TaskResult, expires: float | None = None, form: Form = PLAIN) -> ResultRecord:
    """Write a result. Raises EncodeError when the returned value cannot be written.

    An exception always can: as JSON, where the serializer of results does not take it. Children are left out
    where they are what cannot be written.
    """
    name = form.result_serializer
    try:
        document = _written(
            result, JSON if name == "json" else serialization.serializer(name), form
        )
    except (EncodeError, ImproperlyConfigured):
        childless = replace(result, children=None)
        if result.state not in states.EXCEPTION_STATES or not isinstance(
            result.result, BaseException
        ):
            if not result.children:
                raise
            document = _written(childless, serialization.serializer(name), form)
        else:
            document = _plainly(result, childless)
    return ResultRecord(result.task_id, result.state, document, expires)


def _plainly(result: TaskResult, childless: TaskResult) -> str | bytes:
    """Return the document of a failure as JSON."""
    try:
        return _written(result, JSON, PLAIN)
    except EncodeError:
        return _written(childless, JSON, PLAIN)


def _written(result: TaskResult, serializer: Serializer, form: Form) -> str | bytes:
    """Return the document of a result."""
    return _as_document(_document(result, serializer), serializer, form)


def encode_group(written: Any, form: Form = PLAIN) -> str | bytes:
    """Return the document of a group, of what ``GroupResult.as_tuple`` wrote."""
    name = form.result_serializer
    serializer = JSON if name == "json" else serialization.serializer(name)
    return _as_document({"result": written}, serializer, form)


def decode_group(group: str, document: str | bytes, form: Form = PLAIN) -> Any:
    """Return what a group's document says, for `result_from_tuple`; see `meta` for what it raises."""
    found = _read(document, form)
    if not isinstance(found, dict) or "result" not in found:
        raise DecodeError(f"What is saved of the group {group} is not the document of one.")
    return found["result"]


def encode_part(task_id: str, state: str, value: Any, form: Form = PLAIN) -> str | bytes:
    """Write what a call of a chord's header came to, as Celery's chords have it.

    Raises EncodeError when a returned value cannot be written; an exception always can.
    """
    name = form.result_serializer
    try:
        return _part(
            task_id, state, value, JSON if name == "json" else serialization.serializer(name), form
        )
    except (EncodeError, ImproperlyConfigured):
        if not isinstance(value, BaseException):
            raise
        return _part(task_id, state, value, JSON, PLAIN)


def _part(task_id: str, state: str, value: Any, serializer: Serializer, form: Form) -> str | bytes:
    if state in states.EXCEPTION_STATES and isinstance(value, BaseException):
        value = failures.to_stored(value, serializer)
    return _as_document([1, task_id, state, value], serializer, form)


def decode_part(document: str | bytes, form: Form = PLAIN) -> tuple[str, str, Any]:
    """Return the id of a call of a chord's header, its state, and what it returned or raised."""
    found = _read(document, form)
    if not isinstance(found, list | tuple) or len(found) != 4 or not isinstance(found[1], str):
        raise DecodeError(
            "What is stored of a chord's header is not the outcome of one of its calls."
        )
    _, task_id, state, value = found
    return (
        task_id,
        state,
        failures.from_stored(value) if state in states.EXCEPTION_STATES else value,
    )


def _as_document(document: Any, serializer: Serializer, form: Form) -> str | bytes:
    if serializer is JSON and not form.result_compression:
        text = serialization.dumps(document)
        if len(text) > form.message_max_depth:
            _check_depth(serializer, document, text.encode(), form)
        return text
    data = serializer.dumps(document)
    _check_depth(serializer, document, data, form)
    return _compressed(data, form.result_compression) if form.result_compression else data


def _document(result: TaskResult, serializer: Serializer) -> dict[str, Any]:
    value = result.result
    if result.state in states.EXCEPTION_STATES and isinstance(value, BaseException):
        value = failures.to_stored(value, serializer)
    document: dict[str, Any] = {
        "status": result.state,
        "result": value,
        "traceback": result.traceback,
        "children": result.children,
        "date_done": result.date_done.isoformat() if result.date_done else None,
    }
    if result.group_id:
        document["group_id"] = result.group_id
    if result.parent_id:
        document["parent_id"] = result.parent_id
    if result.call is not None:
        document = _call_to_data(result.call, document, serializer)
    document["task_id"] = result.task_id
    return document


_CALL_KEYS = ("name", "args", "kwargs", "worker", "retries", "queue")


def _call_to_data(
    call: CallInfo, document: Mapping[str, Any], serializer: Serializer
) -> dict[str, Any]:
    """Return a document with a call. A stamp that has the name of a part of it hides nothing."""
    data = dict(document)
    # What came in by another serializer may be nothing for this one.
    for key in _CALL_KEYS:
        data[key] = failures.plain(getattr(call, key), serializer.dumps)
    if call.stamps:
        names = call.stamped_headers
        data["stamped_headers"] = failures.plain(names, serializer.dumps)
        for name, value in call.stamps.items():
            if name in (names or ()):
                data.setdefault(name, failures.plain(value, serializer.dumps))
    return data


def _call_from_data(document: Mapping[str, Any]) -> CallInfo | None:
    if document.keys().isdisjoint(_CALL_KEYS):
        return None
    names = document.get("stamped_headers")
    stamps = {name: document[name] for name in _texts(names) if name in document}
    found = {key: document.get(key) for key in _CALL_KEYS}
    return CallInfo(**found, stamped_headers=names, stamps=stamps)


def _texts(value: Any) -> list[str]:
    """Return the texts in a list: what else a document may have there is nothing of Celery's."""
    if not isinstance(value, list | tuple | set | frozenset):
        return []
    return [item for item in value if isinstance(item, str)]


def _check_depth(serializer: Serializer, value: Any, data: bytes, form: Form) -> None:
    if serialization.is_deeper(serializer, value, data, form.message_max_depth):
        raise EncodeError(too_deep(form.message_max_depth))


#: How Celery marks a compressed document: this, the compression's content type, a zero byte.
COMPRESSED = b"\x00celery-compressed\x00"


def _compressed(data: bytes, compression: str) -> bytes:
    body, content_type = compress(data, compression)
    return b"".join((COMPRESSED, content_type.encode(), b"\x00", body))


def decode(record: ResultRecord, form: Form = PLAIN) -> TaskResult:
    """Read a record; see `meta` for what it raises."""
    document = meta(record, form)
    children = document.get("children")
    date_done = document.get("date_done")
    return TaskResult(
        task_id=document.get("task_id") or record.task_id,
        state=document["status"],
        result=document["result"],
        traceback=document.get("traceback"),
        date_done=_moment(date_done),
        parent_id=document.get("parent_id"),
        group_id=document.get("group_id"),
        children=children if isinstance(children, list) else None,
        call=_call_from_data(document),
    )


def meta(record: ResultRecord, form: Form = PLAIN) -> dict[str, Any]:
    """Read a record as the mapping that Celery calls "meta": the document, with a real exception.

    Raises DecodeError when it is not a result document, and ContentDisallowed when its serializer is not
    acceptable. Of json, pickle, yaml and msgpack a document shows which it is, so a change of
    `result_serializer` leaves those readable that were stored before.
    """
    if record.unread is not None:
        raise record.unread
    if record.meta is not None:
        return {"result": None, **record.meta}
    document = _read(record.document, form)
    if not isinstance(document, dict) or not isinstance(document.get("status"), str):
        raise DecodeError(f"The result stored for {record.task_id} is not a result document.")
    value = document.setdefault("result", None)
    if document["status"] in states.EXCEPTION_STATES:
        document["result"] = failures.from_stored(value)
    return document


def _read(text: str | bytes, form: Form) -> Any:
    """Decompress and read a document."""
    accept = (
        form.accept_content if form.result_accept_content is None else form.result_accept_content
    )
    plain = isinstance(text, str) and form.result_serializer == "json" and "json" in accept
    if plain and len(text) <= form.message_max_depth:
        return serialization.loads(text)  # as nearly all are
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if data.startswith(COMPRESSED):
        compression, _, body = data[len(COMPRESSED) :].partition(b"\x00")
        name = compression.decode("utf-8", "replace")
        data = decompress(body, name, form.message_max_decompressed)
    content_type = _content_type(data, form.result_serializer)
    return serialization.decode(data, content_type, accept, form)


_YAML = re.compile(rb"[a-z_]+: |- ")
_OWN = ("json", "pickle", "yaml", "msgpack")


def _content_type(data: bytes, configured: str) -> str:
    """Return what a document is: as it begins, or else as the settings say."""
    if configured in _OWN:
        first = data[0] if data else 0
        if data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            configured = "pickle"
        elif 0x80 <= first <= 0x9F or first in (0xDE, 0xDF):
            configured = "msgpack"
        elif data[:1] in (b"{", b"["):
            configured = "json"
        elif _YAML.match(data):
            configured = "yaml"
    return serialization.serializer(configured).content_type


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value
    try:
        return utc(value) if isinstance(value, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None

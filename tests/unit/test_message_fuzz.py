"""F4: whatever a broker hands over, decoding gives a call or one of two errors, at little cost."""

import base64
import json
import math
import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from umbel import serialization
from umbel.compression import compress
from umbel.exceptions import ContentDisallowed, DecodeError, EncodeError
from umbel.message import Call, Message, decode, timestamp
from umbel.serialization import JSON
from umbel.writing import encode

GOLDEN = Path(__file__).parents[1] / "compat" / "golden"
HEADERS = [*encode(Call("task", "id"), JSON).headers, "compression", "x-trace"]
PROPERTIES = ["correlation_id", "reply_to", "priority", "delivery_mode", "expiration"]
BODY_1 = ["task", "id", "args", "kwargs", "retries", "eta", "expires", "utc", "timelimit"]
BODY_1 += ["taskset", "group_index", "callbacks", "errbacks", "chord"]
CONTENT_TYPES = ["application/json", "json", "application/x-python-serialize", "text/plain", ""]


def read_golden() -> list[Message]:
    """Return the messages recorded from Celery."""
    messages = []
    for path in sorted(GOLDEN.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "body" in record:
            text = record["body"]
            plain = record["body_encoding"] == "text"
            body = text.encode() if plain else base64.b64decode(text)
            messages.append(Message(record["headers"], record["properties"], body))
    return messages


RECORDED = read_golden()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.datetimes().map(lambda moment: moment.isoformat())
    | st.sampled_from(["datetime", "bytes", "uuid", "0001-01-01T00:00:00+23:59"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["__type__", "__value__", "task"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
some_headers = st.dictionaries(st.sampled_from(HEADERS), json_values)
properties = st.dictionaries(st.sampled_from(PROPERTIES), json_values)
bodies = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.tuples(json_values, json_values, json_values).map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(BODY_1), json_values).map(
        lambda value: json.dumps(value).encode()
    )
)
content_types = st.sampled_from(CONTENT_TYPES) | st.text(max_size=8)


@st.composite
def mutated(draw: st.DrawFn) -> Message:
    """Return a recorded message with a few things changed."""
    origin = draw(st.sampled_from(RECORDED))
    headers, body = dict(origin.headers), origin.body
    for name in draw(st.lists(st.sampled_from(HEADERS), max_size=2)):
        headers.pop(name, None)
    headers |= draw(st.dictionaries(st.sampled_from(HEADERS), json_values, max_size=2))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 5))
        body = body[:start] + draw(st.binary(max_size=4)) + body[end:]
    return Message(headers, dict(origin.properties) | draw(properties), body)


def decoded(message: Message) -> Call | None:
    """Return the call, or None when the message was refused as it should be."""
    try:
        return decode(message, ("json",))
    except (DecodeError, ContentDisallowed):
        return None


def check(call: Call) -> None:
    """Fail unless the fields have the types that they are declared with."""
    assert call.task
    assert call.id
    texts: tuple[object, ...] = (call.task, call.id)
    assert all(type(value) is str for value in texts)
    optional: tuple[object, ...] = (
        *(call.shadow, call.root_id, call.parent_id, call.group_id, call.reply_to),
        *(call.correlation_id, call.origin, call.argsrepr, call.kwargsrepr),
    )
    assert all(value is None or type(value) is str for value in optional)
    assert isinstance(call.args, list | tuple)
    assert all(isinstance(value, Mapping) for value in (call.kwargs, call.stamps, call.headers))
    numbers = (call.time_limit, call.soft_time_limit, call.sent_at, call.group_index)
    assert all(value is None or type(value) in (int, float) for value in numbers)
    assert call.ignore_result in (None, True, False)
    assert call.retries >= 0
    for text in (call.eta, call.expires):
        moment = timestamp(text)
        assert moment is None or isinstance(moment, float)
    # What was read can be sent on, as a retry does.
    again = decode(encode(call, JSON), ("json",))
    assert (again.task, again.id, again.retries) == (call.task, call.id, call.retries)


@settings(deadline=None, max_examples=70)
@given(some_headers, properties, bodies, content_types | st.just("application/json"))
@example({}, {}, b'{"task": "a", "id": "b", "kwargs": 5}', "application/json")
def test_anything_gives_a_call_or_an_error(
    headers: dict[str, Any], properties: dict[str, Any], body: bytes, content_type: str
) -> None:
    call = decoded(Message(headers, properties, body, content_type))
    if call is not None:
        check(call)


@settings(deadline=None, max_examples=70)
@given(mutated())
def test_a_damaged_message_gives_a_call_or_an_error(message: Message) -> None:
    call = decoded(message)
    if call is not None:
        check(call)


# All serializers and compressions

ACCEPT = ("json", "yaml", "msgpack", "pickle")
WRITERS = {
    name: serialization.serializer(name)
    for name, library in (("json", "json"), ("yaml", "yaml"), ("msgpack", "msgpack"))
    if find_spec(library)
}
TYPES = [found.content_type for found in WRITERS.values()]
COMPRESSIONS = ["gzip", "bzip2", "lzma", "application/x-gzip", "application/zstd", "brotli", "nope"]
rich_values = st.recursive(
    json_values | st.binary(max_size=5) | st.floats() | st.just(2**60),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)


@st.composite
def written(draw: st.DrawFn) -> Message:
    """Return what some serializer and compression make of anything, perhaps damaged."""
    writer = WRITERS[draw(st.sampled_from(sorted(WRITERS)))]
    content = draw(st.tuples(rich_values, rich_values, rich_values) | rich_values)
    try:
        body = writer.dumps(content)
    except EncodeError:
        body = b""
    headers = {"task": "t", "id": "i"} | draw(some_headers)
    compression = draw(st.sampled_from([None, "gzip", "bzip2", "lzma"]))
    if compression:
        body, headers["compression"] = compress(body, compression)
    if draw(st.booleans()):
        start = draw(st.integers(0, len(body)))
        body = body[:start] + draw(st.binary(max_size=4)) + body[start + draw(st.integers(0, 5)) :]
    if draw(st.booleans()):
        headers["compression"] = draw(st.sampled_from(COMPRESSIONS) | json_values)
    content_type = draw(st.sampled_from([writer.content_type] * 3 + TYPES))
    return Message(headers, draw(properties), body, content_type)


def decoded_within_bounds(message: Message) -> Call | None:
    """Return the call, or None when it was refused, and fail when that cost much."""
    before = process_time()
    found, reason = None, ""
    try:
        found = decode(message, ACCEPT)
    except (DecodeError, ContentDisallowed) as error:
        reason = str(error)
    assert len(reason) < 2000
    assert process_time() - before < 1.0
    return found


@settings(deadline=None, max_examples=150)
@given(written())
def test_f4_whatever_wrote_it_gives_a_call_or_an_error(message: Message) -> None:
    decoded_within_bounds(message)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(TYPES), st.sampled_from([None, *COMPRESSIONS]))
def test_f4_any_bytes_give_a_call_or_an_error(
    body: bytes, content_type: str, compression: str | None
) -> None:
    headers = {"task": "t", "id": "i", "compression": compression}
    call = decoded_within_bounds(Message(headers, {}, body, content_type))
    if call is not None:  # such as of ``[[],{},{}]``
        check(call)


def serialized() -> list[Message]:
    """Return messages of all serializers and compressions recorded from Celery."""
    found = []
    for path in sorted((GOLDEN / "serialized").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "body" in record and "pickle" not in path.stem:
            text, properties = record["body"], record["properties"]
            body = text.encode() if record["body_encoding"] == "text" else base64.b64decode(text)
            found.append(Message(record["headers"], properties, body, properties["content_type"]))
    return found


SERIALIZED = serialized()


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(SERIALIZED))
def test_f4_a_damaged_recording_gives_a_call_or_an_error(
    data: st.DataObject, origin: Message
) -> None:
    body = bytearray(origin.body)
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(body)) | st.just(len(body)))
    headers = dict(origin.headers) | data.draw(some_headers)
    decoded_within_bounds(
        Message(headers, origin.properties, bytes(body[:end]), origin.content_type)
    )


ODD: list[Any] = [
    0,
    -1,
    2**70,
    1.5,
    math.nan,
    True,
    "",
    "\udc80",
    "x" * 10**5,
    b"\xff",
    [],
    {},
    [[]],
]
ODD += [{"a": []}, (1,), object(), {1}, 10**5000]


@pytest.mark.parametrize("odd", ODD, ids=lambda value: type(value).__name__)
def test_f4_every_header_property_and_field_of_every_type(odd: Any) -> None:
    good = {"task": "t", "id": "i"}
    body = b"[[1], {}, {}]"
    for name in HEADERS:
        decoded_within_bounds(Message({**good, name: odd}, {}, body))
    for name in PROPERTIES:
        decoded_within_bounds(Message(good, {name: odd}, body))
    decoded_within_bounds(Message(good, {}, body, odd))
    for name in BODY_1:
        content = {**good, "args": [1], name: odd}
        try:
            plain = pickle.dumps(content)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        decoded_within_bounds(Message({}, {}, plain, "application/x-python-serialize"))
    bodies: list[Any] = [(odd, {}, {}), ([], odd, {}), ([], {}, odd), odd, ([], {}, {"chain": odd})]
    for parts in bodies:
        try:
            plain = pickle.dumps(parts)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        decoded_within_bounds(Message(good, {}, plain, "application/x-python-serialize"))


STRUCK: list[str] = []


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return STRUCK.append, ("boom",)


@pytest.mark.parametrize("accept", [("json",), ("json", "yaml", "msgpack", "application/json")])
@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/json"])
@pytest.mark.parametrize("headers", [{"task": "proj.add", "id": "some-id"}, {}])
def test_nothing_is_unpickled_that_is_not_to_be(
    accept: tuple[str, ...], content_type: str, headers: dict[str, Any]
) -> None:
    body = pickle.dumps([[Bomb()], {}, {}])
    with pytest.raises(DecodeError):
        decode(Message(headers, {}, body, content_type, "binary"), accept)
    assert STRUCK == []

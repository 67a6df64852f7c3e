"""Envelopes as the released Celery wrote them, and what is none."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from umbel import serialization
from umbel.engines.redis import envelope
from umbel.engines.redis.keys import Names, names
from umbel.exceptions import DecodeError, ImproperlyConfigured
from umbel.limits import MOST_HEADERS
from umbel.mappings import Layered, Shared
from umbel.message import Message, Publication, decode

#: What Celery 5.7.0 with kombu 5.7.0 put on a list for ``send_task("t.add", (1, 2), priority=6)``.
RECORDED = (
    b'{"body": "W1sxLCAyXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWluIjogbnVsbCwgImNo'
    b'b3JkIjogbnVsbH1d", "content-encoding": "utf-8", "content-type": "application/json", "headers": '
    b'{"lang": "py", "task": "t.add", "id": "id2", "shadow": null, "eta": null, "expires": null, '
    b'"group": null, '
    b'"group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "id2", "parent_id": null, '
    b'"argsrepr": "(1, 2)", "kwargsrepr": "{}", "origin": "gen29527@vm", "ignore_result": null, '
    b'"replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}}, "properties": {"correlation_id": '
    b'"id2", "reply_to": "fa49f837-57c6-3705-9035-cf3ed75269b5", "delivery_mode": 2, "delivery_info": '
    b'{"exchange": "", "routing_key": "other"}, "priority": 6, "body_encoding": "base64", "delivery_tag": '
    b'"827d1ca6-126e-46b0-b904-eae387a36826"}}'
)
TAG = "827d1ca6-126e-46b0-b904-eae387a36826"


def test_an_envelope_of_celery_is_read() -> None:
    delivery = envelope.read(RECORDED, "other", 6, "key")
    assert (delivery.queue, delivery.tag, delivery.priority) == ("other", TAG, 6)
    assert (delivery.count, delivery.crashes) == (1, 0)
    call = decode(delivery.message, {"application/json"})
    assert (call.task, call.id, list(call.args)) == ("t.add", "id2", [1, 2])


def test_what_was_read_is_written_byte_for_byte_as_celery_wrote_it() -> None:
    delivery = envelope.read(RECORDED, "other", 6, "key")
    message = delivery.message
    # Celery writes where it was sent in this place; umbel leaves that out where it says nothing.
    properties = dict(message.properties)
    priority = properties.pop("priority")
    ordered = {
        **properties,
        "delivery_info": {"exchange": "", "routing_key": "other"},
        "priority": priority,
    }
    again = Message(message.headers, ordered, message.body)
    assert envelope.write(Publication("other", again, TAG, 6)).encode() == RECORDED


@pytest.mark.parametrize("numbers", ["[2, 1]", "[2,1]", "[2, 1, 1764225863.5]"])
def test_what_umbel_counted_stands_in_front(numbers: str) -> None:
    raw = b'{"umbel": ' + numbers.encode() + b", " + RECORDED[1:]
    delivery = envelope.read(raw, "other", 6, "key")
    assert (delivery.count, delivery.crashes) == (3, 1)
    assert delivery.message == envelope.read(RECORDED, "other", 6, "key").message


def test_what_kombu_restored_is_known_as_redelivered() -> None:
    data = json.loads(RECORDED)
    data["headers"]["redelivered"] = True
    data["properties"]["delivery_info"]["redelivered"] = True
    delivery = envelope.read(json.dumps(data).encode(), "other", 6, "key")
    assert delivery.redelivered
    assert delivery.message == envelope.read(RECORDED, "other", 6, "key").message


def test_an_exchange_is_kept() -> None:
    data = json.loads(RECORDED)
    sent = data["properties"]["delivery_info"] = {"exchange": "topics", "routing_key": "a.b"}
    delivery = envelope.read(json.dumps(data).encode(), "other", 6, "key")
    assert delivery.message.properties["delivery_info"] == sent
    written = envelope.write(Publication("other", delivery.message, TAG, 6))
    assert json.loads(written)["properties"]["delivery_info"] == sent


@pytest.mark.parametrize("raw", [b"", b"no json", b"[1]", b"\xff\xfe", b'{"umbel": [', b"[" * 9999])
def test_what_is_no_envelope_is_delivered_as_what_nobody_accepts(raw: bytes) -> None:
    delivery = envelope.read(raw, "queue", 0, "key")
    assert (delivery.message.body, delivery.message.content_type) == (raw, envelope.UNREADABLE)


@pytest.mark.parametrize(
    "part", [{"headers": 1}, {"properties": []}, {"body": None}, {"umbel": "x"}, {"umbel": [1]}]
)
def test_an_envelope_with_nonsense_in_it_is_delivered(part: dict[str, object]) -> None:
    raw = json.dumps({**json.loads(RECORDED), **part}).encode()
    assert envelope.read(raw, "other", 6, "key").count == 1


def test_a_body_that_is_not_the_base64_it_says_is_delivered_as_it_is() -> None:
    raw = json.dumps({**json.loads(RECORDED), "body": "ü"}).encode()
    assert envelope.read(raw, "other", 6, "key").message.body == "ü".encode()


@pytest.mark.parametrize("names_before", [False, True])
def test_a_large_body_is_read_wherever_it_stands(names_before: bool) -> None:
    body = base64.b64encode(b"x" * (4 * MOST_HEADERS)).decode()
    record = json.loads(RECORDED)
    ordered = {**record, "body": body}
    if names_before:  # as another client may write it
        del ordered["body"]
        ordered["body"] = body
    delivery = envelope.read(json.dumps(ordered).encode(), "other", 6, "key")
    assert delivery.message.headers == record["headers"]
    assert len(delivery.message.body) == 4 * MOST_HEADERS


def test_a_large_body_that_is_text_is_read() -> None:
    text = json.dumps(["\\" * MOST_HEADERS])
    properties = {"body_encoding": None}
    raw = json.dumps({"headers": {"id": "i"}, "properties": properties, "body": text}).encode()
    assert envelope.read(raw, "other", 6, "key").message.body == text.encode()


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"headers": {"id": "i", "x": "x" * 2200}}, "headers or properties have"),
        ({"body": "x" * 5000}, "message_max_bytes allows 1,000 bytes"),
    ],
)
def test_what_is_too_large_is_delivered_unread_with_the_reason(
    part: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "MOST_HEADERS", 1000)
    raw = json.dumps({**json.loads(RECORDED), **part}).encode()
    delivery = envelope.read(raw, "other", 6, "key", names=names({"message_max_bytes": 1000}))
    assert (delivery.key, delivery.queue, delivery.priority) == ("key", "other", 6)
    assert delivery.message.body == raw
    with pytest.raises(DecodeError, match=why):
        decode(delivery.message, {"application/json"})


def test_lists_have_kombus_names() -> None:
    own = Names(prefix="p:")
    assert own.lists("q") == ("p:q", "p:q\x06\x163", "p:q\x06\x166", "p:q\x06\x169")
    assert [own.step(number) for number in (-1, 0, 2, 3, 8, 9, 255)] == [0, 0, 0, 3, 6, 9, 9]
    assert own.list_for("q", 7) == ("p:q\x06\x166", 3)
    assert own.list_for("ü", 0) == ("p:ü", 4)
    for queue in ("q", "ü", "q\x06\x16x", "q\x06\x163"):
        lists = [own.list_for(queue, step) for step in own.steps]
        assert [own.split(name.encode(), base) for name, base in lists] == [
            (queue, step) for step in own.steps
        ]


def test_bindings_are_read_whatever_the_separator() -> None:
    own = Names()
    assert own.binding(b"key\x06\x16\x06\x16queue") == ("key", "", "queue")
    assert own.binding(b"\x06\x16a.*\x06\x16queue") == ("", "a.*", "queue")
    colon = Names(sep=":")
    assert colon.binding(b"shop:2::shop:2") == ("shop:2", "", "shop:2")
    assert colon.binding(b"key::queue") == ("key", "", "queue")
    assert colon.binding(b"key::shop:2") is None


@pytest.mark.parametrize("value", [0, -1, "inf", "nan", "soon"])
def test_a_visibility_timeout_is_a_number_of_seconds(value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="visibility_timeout"):
        names({"visibility_timeout": value})


@pytest.mark.parametrize("options", [{"priority_steps": [1, 2]}, {"priority_steps": ["x"]}])
def test_steps_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ImproperlyConfigured, match="priority_steps"):
        names(options)


def test_priorities_are_turned_where_they_are_written_and_read() -> None:
    own = Names(highest_first=True)
    assert [own.turned(number) for number in (-1, 0, 3, 9, 255)] == [9, 9, 6, 0, 0]
    delivery = envelope.read(RECORDED, "other", 6, "key", names=own)
    assert (delivery.priority, delivery.message.properties["priority"]) == (3, 3)
    again = Publication("other", delivery.message, TAG, delivery.priority)
    assert json.loads(envelope.write(again, own))["properties"]["priority"] == 6
    plain = Publication("other", Message({}, {}, b""), TAG)
    written = envelope.write(plain, own)
    assert json.loads(written)["properties"]["priority"] == 9
    read = envelope.read(written.encode(), "other", 9, "key", names=own)
    assert (read.priority, "priority" in read.message.properties) == (0, False)


@pytest.mark.parametrize("highest_first", [False, True])
@pytest.mark.parametrize(
    "shared",
    [
        {"reply_to": "", "delivery_mode": 2},
        {"delivery_mode": 2, "priority": 3},
        {"delivery_info": {"exchange": "x", "routing_key": "k"}},
        {},
    ],
)
def test_properties_that_many_share_are_written_like_all_others(
    shared: dict[str, object], highest_first: bool
) -> None:
    named = Names(highest_first=highest_first)
    own = {"correlation_id": "1"}

    def written(properties: Mapping[str, Any]) -> Any:
        message = Message({}, properties, b"", "application/json", "utf-8")
        return json.loads(envelope.write(Publication("queue", message, "tag", 3), named))

    assert written(Layered(Shared(shared), own)) == written({**shared, **own})


def test_a_body_that_is_no_text_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with an extended type raised an error out of `fetch`, and held up its whole queue."""
    moment = '{"__type__": "datetime", "__value__": "2026-01-01T00:00:00"}'
    raw = f'{{"body": [{moment}], "content-type": "application/json"}}'.encode()
    assert json.loads(envelope.read(raw, "queue", 0, "key").message.body) == [json.loads(moment)]
    monkeypatch.setitem(serialization._decoders, "point", lambda value: complex(*value))
    raw = b'{"body": {"__type__": "point", "__value__": [1, 2]}}'
    assert envelope.read(raw, "queue", 0, "key").message.body == b"(1+2j)"


def test_no_encoding_is_guessed() -> None:
    """`json` would take this for UTF-16, and import a codec by a stranger's bytes."""
    raw = '{"body": ""}'.encode("utf-16-le")
    assert envelope.read(raw, "queue", 0, "key").message.content_type == envelope.UNREADABLE

"""Headers that are read by their types: what is read of them is what a dictionary says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from umbel import Umbel, headers, serialization
from umbel.engines.redis import envelope
from umbel.exceptions import DecodeError
from umbel.headers import Headers
from umbel.message import Call, Message, Publication, decode

pytest.importorskip("msgspec")

BODY = b"[[1, 2], {}, {}]"
ID = "8a3cd2ea-6c1b-4b0b-9f0c-0f1a3f2b9c55"
PLAIN: dict[str, Any] = {
    "lang": "py",
    "task": "add",
    "id": ID,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": ID,
    "parent_id": None,
    "argsrepr": "(1, 2)",
    "kwargsrepr": "{}",
    "origin": "gen1@host",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
    "sent_at": 1700000000.5,
}

#: What may stand for a header, right or wrong.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 2**70, 0.0, 1.0, -0.5, 1e300),
    *("", "text", ID, "2030-01-01T00:00:00+00:00", "2030-01-01", "\u2028", "\\u0041"),
    *([], [None, None], [1, None], [2.5, 1], [-1, None], [None, -1], [1], [1, 2, 3], ["1", 2]),
    *({}, {"a": 1}, {"__type__": "datetime", "__value__": "2030-01-01T00:00:00"}, [{"a": []}]),
]
OTHERS = ["compression", "offers", "own", "redelivered", "__unread__"]
LEFT_OUT = [{key: each for key, each in PLAIN.items() if key != name} for name in PLAIN]
CHANGED = [{**PLAIN, name: each} for name in [*PLAIN, *OTHERS] for each in VALUES] + LEFT_OUT


def read(found: Mapping[str, Any], properties: Mapping[str, Any]) -> Call | str:
    """Return the call of a message with these headers, or the error."""
    try:
        return decode(Message(found, properties, BODY), {"json"})
    except (DecodeError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


def read_one_by_one(found: Mapping[str, Any], properties: Mapping[str, Any]) -> Call | str:
    """Do so as it is done without msgspec."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_convert", None)
        return read(found, properties)


def test_a_call_is_what_a_dictionary_of_its_headers_says() -> None:
    for changed in CHANGED:
        text = json.dumps(changed)
        found = serialization.loads_mapping(text)
        expected = read_one_by_one(found, {})
        assert read(headers.read(text), {}) == expected, text
        assert read(found, {}) == expected, text


@pytest.mark.parametrize("name", ["correlation_id", "reply_to", "__unread__"])
def test_properties_are_heeded_all_the_same(name: str) -> None:
    for each in VALUES:
        assert read(PLAIN, {name: each}) == read_one_by_one(PLAIN, {name: each}), each


def test_they_are_a_mapping_like_the_dictionary() -> None:
    for changed in CHANGED:
        text = json.dumps(changed)
        found, expected = headers.read(text), serialization.loads_mapping(text)
        assert found == expected
        assert {**found} == expected
        assert len(found) == len(expected)
        for name in [*PLAIN, *OTHERS]:
            assert (name in found) == (name in expected)
            assert found.get(name) == expected.get(name)
            assert found.get(name, "else") == expected.get(name, "else")


def test_those_of_a_call_are_read_by_their_types() -> None:
    sent: list[Publication] = []
    app = Umbel("app", broker_url="memory://")
    app.publish = lambda publications, options=None: sent.extend(publications)  # type: ignore[method-assign]

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    add.delay(1, 2)
    [publication] = sent
    raw = envelope.write(publication).encode()
    found = envelope.read(raw, "celery", 0, "key").message
    assert type(found.headers) is Headers
    assert type(headers.read(serialization.dumps_mapping(publication.message.headers))) is Headers
    assert dict(found.headers) == dict(publication.message.headers)
    assert decode(found, {"json"}) == decode(publication.message, {"json"})


def test_a_large_envelope_is_not_kept_for_them() -> None:
    message = Message(PLAIN, {"correlation_id": ID}, BODY)
    large = replace(message, body=b"[[" + b"1, " * envelope.MOST_KEPT + b"1], {}, {}]")
    for one, kind in ((message, Headers), (large, dict)):
        raw = envelope.write(Publication("queue", one, "tag")).encode()
        found = envelope.read(raw, "queue", 0, "key").message
        assert type(found.headers) is kind
        assert decode(found, {"json"}) == decode(one, {"json"})


def test_an_envelope_of_which_a_part_cannot_be_read_is_none() -> None:
    raw = envelope.write(
        Publication("queue", Message(PLAIN, {"correlation_id": ID}, BODY), "tag")
    ).encode()
    found = envelope.read(raw[:-1] + b', "x": "\xff"}', "queue", 0, "key").message
    assert found.content_type == envelope.UNREADABLE


def test_they_can_be_copied_and_changed() -> None:
    found = headers.read(json.dumps(PLAIN))
    assert {**found, "offers": 1} == {**PLAIN, "offers": 1}
    assert repr(found) == repr(PLAIN)
    assert found.copy() == PLAIN  # type: ignore[attr-defined]
    assert found | {"own": 1} == {**PLAIN, "own": 1}  # type: ignore[operator]
    assert {"task": "other", "own": 1} | found == {"own": 1, **PLAIN}  # type: ignore[operator]


def test_without_msgspec_they_are_a_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_fields_in", None)
    assert type(headers.read(json.dumps(PLAIN))) is dict

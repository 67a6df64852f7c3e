import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest

from umbel.exceptions import ContentDisallowed, DecodeError, EncodeError
from umbel.message import Call, Delivery, Message, decode, parse_time, timestamp
from umbel.serialization import JSON
from umbel.writing import encode

ACCEPT = ("json",)
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(body: object = None, **headers: Any) -> Message:
    """Return a message of protocol 2; a header of None is left out."""
    whole = {"task": "proj.add", "id": "some-id"} | headers
    data = [[1, 2], {}, EMBED] if body is None else body
    return Message(
        {name: value for name, value in whole.items() if value is not None},
        {},
        json.dumps(data).encode(),
    )


def message_1(headers: Mapping[str, Any] | None = None, **body: Any) -> Message:
    """Return a message of protocol 1."""
    whole = {"task": "proj.add", "id": "some-id"} | body
    return Message(headers or {}, {}, json.dumps(whole).encode())


class TestEncode:
    def test_a_plain_call(self) -> None:
        found = encode(Call("proj.add", "some-id", (1, 2)), JSON)
        assert found.headers == {
            "lang": "py",
            "task": "proj.add",
            "id": "some-id",
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": "some-id",
            "parent_id": None,
            "argsrepr": "(1, 2)",
            "kwargsrepr": "{}",
            "origin": None,
            "ignore_result": None,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
            "sent_at": None,
        }
        assert found.properties == {
            "correlation_id": "some-id",
            "reply_to": "",
            "delivery_mode": 2,
        }
        assert json.loads(found.body) == [[1, 2], {}, EMBED]
        assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")

    def test_the_priority_is_a_property(self) -> None:
        call = Call("proj.add", "some-id")
        assert "priority" not in encode(call, JSON).properties
        assert encode(call, JSON, 0).properties["priority"] == 0
        assert encode(call, JSON, 255).properties["priority"] == 255

    def test_headers_of_the_caller_stand_beside_ours_and_win(self) -> None:
        call = Call("proj.add", "some-id", headers={"x-trace": "abc", "shadow": "other"})
        headers = encode(call, JSON).headers
        assert (headers["x-trace"], headers["shadow"]) == ("abc", "other")

    def test_kwargs_may_be_any_mapping(self) -> None:
        found = encode(Call("proj.add", "some-id", kwargs=MappingProxyType({"a": 1})), JSON)
        assert json.loads(found.body)[1] == {"a": 1}
        assert found.headers["kwargsrepr"] == "{'a': 1}"

    def test_given_texts_replace_the_arguments_in_headers(self) -> None:
        call = Call("proj.add", "some-id", ("secret",), argsrepr="(***)", kwargsrepr="")
        headers = encode(call, JSON).headers
        assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(***)", "")

    @pytest.mark.parametrize(
        "argument",
        [object(), {1, 2}, 10**5000, {(1, 2): 3}],
        ids=lambda argument: type(argument).__name__,
    )
    def test_what_json_cannot_write_is_an_encode_error(self, argument: object) -> None:
        with pytest.raises(EncodeError):
            encode(Call("proj.add", "some-id", (argument,)), JSON)


FULL = Call(
    "proj.add",
    "some-id",
    [1, {"a": datetime(2030, 1, 2, tzinfo=UTC)}],
    {"b": [None]},
    retries=2,
    eta="2030-01-02T03:04:05+01:00",
    expires="2030-01-02T03:04:05",
    time_limit=30,
    soft_time_limit=20.5,
    shadow="other",
    root_id="root",
    parent_id="parent",
    group_id="group",
    group_index=3,
    callbacks=[{"task": "a"}],
    errbacks=[{"task": "b"}],
    chain=[{"task": "c"}],
    chord={"task": "d"},
    reply_to="replies",
    correlation_id="correlation",
    origin="gen1@host",
    ignore_result=True,
    argsrepr="args",
    kwargsrepr="kwargs",
    replaced_task_nesting=1,
    stamped_headers=["monitor"],
    stamps={"monitor": ["m-1"]},
    sent_at=1.5,
    headers={"x-trace": "abc"},
)


class TestDecode:
    def test_what_is_encoded_is_decoded(self) -> None:
        assert decode(encode(FULL, JSON), ACCEPT) == FULL

    def test_the_round_trip_covers_every_field(self) -> None:
        plain = Call("", "")
        same = [
            field.name
            for field in dataclasses.fields(Call)
            if getattr(plain, field.name) == getattr(FULL, field.name)
        ]
        assert same == ["properties"]  # only written

    def test_the_round_trip_of_protocol_1(self) -> None:
        written = encode(FULL, JSON, protocol=1)
        kept = (
            *("task", "id", "args", "kwargs", "retries", "time_limit", "soft_time_limit"),
            *("group_id", "group_index", "callbacks", "errbacks", "chord", "reply_to"),
            *("correlation_id", "headers"),
        )
        found = decode(written, ACCEPT)
        assert {name: getattr(found, name) for name in kept} == {
            name: getattr(FULL, name) for name in kept
        }
        assert (found.eta, found.expires) == (
            FULL.eta,
            f"{FULL.expires}+00:00",
        )
        assert found.parent_id is None
        assert written.headers == {"x-trace": "abc"}

    def test_properties_of_the_callers_own_are_written(self) -> None:
        call = Call("t", "i", properties={"app_id": "shop", "type": "order"})
        properties = encode(call, JSON).properties
        assert (properties["app_id"], properties["type"]) == ("shop", "order")

    def test_the_least_message(self) -> None:
        assert decode(message([[], {}, None]), ACCEPT) == Call("proj.add", "some-id", [], {})

    def test_the_least_message_of_protocol_1(self) -> None:
        call = decode(message_1(), ACCEPT)
        assert call == Call("proj.add", "some-id", (), {}, root_id="some-id")

    def test_protocol_1(self) -> None:
        call = decode(
            message_1(
                {"x-trace": "abc"},
                args=[1],
                kwargs={"a": 2},
                retries=1,
                eta="2030-01-02T03:04:05",
                expires="2030-01-02T03:04:05+01:00",
                utc=True,
                timelimit=[30, 20],
                taskset="group",
                group_index=3,
                callbacks=[{}],
                errbacks=[],
                chord={},
            ),
            ACCEPT,
        )
        assert call == Call(
            "proj.add",
            "some-id",
            [1],
            {"a": 2},
            retries=1,
            eta="2030-01-02T03:04:05+00:00",
            expires="2030-01-02T03:04:05+01:00",
            time_limit=30,
            soft_time_limit=20,
            root_id="some-id",
            group_id="group",
            group_index=3,
            callbacks=[{}],
            errbacks=[],
            chord={},
            headers={"x-trace": "abc"},
        )

    def test_a_naive_time_of_protocol_1_without_utc_stays_naive(self) -> None:
        call = decode(message_1(eta="2030-01-02T03:04:05", utc=False), ACCEPT)
        assert call.eta == "2030-01-02T03:04:05"

    @pytest.mark.parametrize("sent_at", [1, 1.5])
    def test_sent_at_is_ours_when_it_is_a_number(self, sent_at: float) -> None:
        call = decode(message(sent_at=sent_at), ACCEPT)
        assert (call.sent_at, call.headers) == (sent_at, {})

    def test_sent_at_is_the_callers_when_it_is_not(self) -> None:
        call = decode(message(sent_at="yesterday"), ACCEPT)
        assert (call.sent_at, call.headers) == (None, {"sent_at": "yesterday"})

    @pytest.mark.parametrize(("given", "read"), [(None, None), (0, False), (1, True)])
    def test_ignore_result_is_a_flag(self, given: object, read: bool | None) -> None:
        assert decode(message(ignore_result=given), ACCEPT).ignore_result is read

    def test_only_accepted_content_is_read(self) -> None:
        for made in (message(), message_1()):
            with pytest.raises(ContentDisallowed):
                decode(made, ("yaml",))

    @pytest.mark.parametrize(
        "headers", [{"task": "proj.add", "id": "some-id"}, {}], ids=["protocol 2", "protocol 1"]
    )
    def test_an_unknown_compression_is_named(self, headers: dict[str, Any]) -> None:
        made = Message(headers | {"compression": "application/x-nobody"}, {}, b"\x0b\x02\x80")
        with pytest.raises(DecodeError, match="application/x-nobody"):
            decode(made, ACCEPT)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("task", ""),
            ("task", 5),
            ("task", ["proj.add"]),
            ("id", ""),
            ("id", 5),
            ("eta", 5),
            ("eta", "soon"),
            ("expires", 5.5),
            ("expires", "2030-13-01"),
            ("shadow", {}),
            ("root_id", 1),
            ("parent_id", True),
            ("group", []),
            ("group_index", "1"),
            ("group_index", True),
            ("retries", -1),
            ("retries", "1"),
            ("retries", True),
            ("retries", 1.5),
            ("timelimit", 30),
            ("timelimit", [30]),
            ("timelimit", [30, "20"]),
            ("timelimit", [True, None]),
            ("timelimit", [-1, None]),
            ("timelimit", [float("nan"), None]),
            ("origin", 5),
            ("argsrepr", [1]),
            ("kwargsrepr", {"a": 1}),
            ("replaced_task_nesting", "deep"),
            ("stamps", ["monitor"]),
            ("stamps", "monitor"),
        ],
    )
    def test_a_wrong_header_is_told(self, field: str, value: object) -> None:
        name = {"timelimit": "time limit", "replaced_task_nesting": "nesting"}.get(field, field)
        with pytest.raises(DecodeError, match=name):
            decode(message(**{field: value}), ACCEPT)

    def test_headers_of_protocol_1_are_never_taken_for_those_of_protocol_2(self) -> None:
        call = decode(message_1({"id": "other", "shadow": [], "x-trace": "abc"}), ACCEPT)
        assert (call.id, call.headers) == ("some-id", {"x-trace": "abc"})

    def test_a_message_without_an_id_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="id"):
            decode(Message({"task": "proj.add"}, {}, b"[[], {}, {}]"), ACCEPT)

    @pytest.mark.parametrize("name", ["correlation_id", "reply_to"])
    def test_a_wrong_property_is_told(self, name: str) -> None:
        made = Message(message().headers, {name: 5}, message().body)
        with pytest.raises(DecodeError, match=name):
            decode(made, ACCEPT)

    @pytest.mark.parametrize(
        "body",
        [
            "text",
            5,
            [],
            [[], {}],
            [[], {}, {}, {}],
            {"args": []},
            ["12", {}, {}],
            [5, {}, {}],
            [{}, {}, {}],
            [[], [], {}],
            [[], None, {}],
            [[], {}, []],
            [[], {}, "chain"],
        ],
    )
    def test_a_wrong_body_is_told(self, body: object) -> None:
        with pytest.raises(DecodeError, match="body"):
            decode(message(body), ACCEPT)

    @pytest.mark.parametrize("body", [b"", b"[[], {}, {}", b"\xff\xfe", b"\x80\x04N."])
    def test_a_body_that_is_not_json_is_told(self, body: bytes) -> None:
        for headers in (message().headers, {}):
            with pytest.raises(DecodeError):
                decode(Message(headers, {}, body), ACCEPT)

    @pytest.mark.parametrize(
        "body",
        [
            {"task": None},
            {"id": None},
            {"args": "12"},
            {"args": {"a": 1}},
            {"kwargs": [1]},
            {"kwargs": "12"},
            {"retries": "1"},
            {"timelimit": 5},
            {"eta": "soon", "utc": True},
            {"eta": 5, "utc": True},
            {"taskset": 5},
            {"group_index": "1"},
        ],
    )
    def test_protocol_1_is_checked_too(self, body: dict[str, Any]) -> None:
        with pytest.raises(DecodeError):
            decode(message_1(**body), ACCEPT)

    @pytest.mark.parametrize("body", [b"[]", b"{}", b"5", b'{"id": "some-id"}'])
    def test_a_message_without_a_task_is_told(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match="task"):
            decode(Message({}, {}, body), ACCEPT)


@pytest.mark.parametrize(
    ("headers", "properties", "found"),
    [
        ({"id": "a"}, {"correlation_id": "b"}, "a"),
        ({}, {"correlation_id": "b"}, "b"),
        ({"id": None}, {"correlation_id": "b"}, "b"),
        ({"id": 5}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_id_of_a_message(
    headers: dict[str, Any], properties: dict[str, Any], found: str | None
) -> None:
    assert Message(headers, properties, b"").task_id == found


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2050-07-01T09:30:00", datetime(2050, 7, 1, 9, 30, tzinfo=UTC)),
        ("2050-07-01T09:30:00Z", datetime(2050, 7, 1, 9, 30, tzinfo=UTC)),
        ("2050-07-01T09:30:00.5+00:00", datetime(2050, 7, 1, 9, 30, 0, 500_000, UTC)),
        (
            "2050-07-01T09:30:00-03:30",
            datetime(2050, 7, 1, 9, 30, tzinfo=timezone(timedelta(hours=-3.5))),
        ),
        ("2050-07-01", datetime(2050, 7, 1, tzinfo=UTC)),
    ],
)
def test_a_time_without_an_offset_is_utc(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment
    assert timestamp(text) == moment.timestamp()


def test_no_time_has_no_timestamp() -> None:
    assert timestamp(None) is None


@pytest.mark.parametrize("text", ["", "soon", "2050-13-01", "09:30", "\ud800", "2050-07-01T25:00"])
def test_other_texts_are_told(text: str) -> None:
    with pytest.raises(DecodeError, match="ISO 8601"):
        parse_time(text)


def test_a_delivery_is_redelivered_from_the_second_time() -> None:
    once = Delivery("key", "queue", message())
    assert not once.redelivered
    assert dataclasses.replace(once, count=2).redelivered


def test_deliveries_are_the_same_whatever_the_engine_keeps_with_them() -> None:
    made = message()
    assert Delivery("key", "q", made, handle=1) == Delivery("key", "q", made, handle=2)

"""What umbel reads and writes is what Celery 5.7 wrote; ``record_golden.py`` tells how it was recorded."""

import base64
import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from umbel import Umbel, records
from umbel.exceptions import RemoteError, TaskRevokedError
from umbel.message import Call, Message, decode, timestamp
from umbel.records import CallInfo, ResultRecord
from umbel.serialization import JSON
from umbel.writing import encode

Record = dict[str, Any]

ACCEPT = ("json",)
ALL: dict[str, Record] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "golden").glob("*.json"))
}
MESSAGES = {name: record for name, record in ALL.items() if "body" in record}
RESULTS = {name: record for name, record in ALL.items() if "document" in record}
COMPRESSED = [name for name, record in MESSAGES.items() if "compression" in record["headers"]]
READABLE = list(MESSAGES)

#: What umbel does not write, and why.
NOT_WRITTEN = {
    **dict.fromkeys(COMPRESSED, "compression (test_serialized.py has it)"),
    **{name: "protocol 1" for name in MESSAGES if name.startswith("v1-")},
    "delivery-transient": "messages that the broker may lose",
}
WRITTEN = [name for name in MESSAGES if name not in NOT_WRITTEN]

#: The headers of protocol 2, by the name of the field that they become.
FIELDS = {
    "task": "task",
    "id": "id",
    "retries": "retries",
    "eta": "eta",
    "expires": "expires",
    "shadow": "shadow",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "group_id": "group",
    "group_index": "group_index",
    "origin": "origin",
    "ignore_result": "ignore_result",
    "argsrepr": "argsrepr",
    "kwargsrepr": "kwargsrepr",
    "replaced_task_nesting": "replaced_task_nesting",
    "stamped_headers": "stamped_headers",
    "stamps": "stamps",
}

UNTAG: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda value: tuple(untagged(value)),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": UUID,
    "bytes": base64.b64decode,
    "zoned-datetime": lambda value: datetime.fromisoformat(value[0]).replace(
        tzinfo=ZoneInfo(value[1])
    ),
    "signature": lambda value: {**untagged(value), "args": list(untagged(value)["args"])},
}


def untagged(value: Any) -> Any:
    """Return the Python value that a value of the ``call`` part stands for."""
    match value:
        case {"$type": str(kind), "value": inner}:
            return UNTAG[kind](inner)
        case dict():
            return {key: untagged(item) for key, item in value.items()}
        case list():
            return [untagged(item) for item in value]
    return value


def as_json_reads_it(value: Any) -> Any:
    """Return a value with lists in place of tuples."""
    match value:
        case list() | tuple():
            return [as_json_reads_it(item) for item in value]
        case dict():
            return {key: as_json_reads_it(item) for key, item in value.items()}
    return value


def as_message(record: Record) -> Message:
    """Return a recorded message."""
    text = record["body"]
    body = text.encode() if record["body_encoding"] == "text" else base64.b64decode(text)
    properties = dict(record["properties"])
    content_type, encoding = properties.pop("content_type"), properties.pop("content_encoding")
    return Message(record["headers"], properties, body, content_type, encoding)


def asked(record: Record) -> tuple[str, Any, dict[str, Any], dict[str, Any]]:
    """Return the task, args, kwargs and options of a recorded call."""
    call = untagged(record["call"])
    if "tasks" in call:
        signature = call["tasks"][call["index"]]
        return (
            signature["task"],
            tuple(signature["args"]),
            signature["kwargs"],
            signature["options"],
        )
    kwargs = call.get("retry", {}).get("kwargs", call.get("kwargs", {}))
    # Args are a tuple on their way through apply_async, and stay the list given to send_task.
    args = call["args"] if call["api"] == "send_task" else tuple(call["args"])
    return call["task"], args, kwargs, call["options"]


def seconds(record: Record, after: Any, moment: Any) -> float | None:
    """Return the time that a call asked for, as a delay or a time, in seconds since the epoch."""
    now = datetime.fromisoformat(record["call"]["now"])
    if isinstance(after, int | float):
        return (now + timedelta(seconds=after)).timestamp()
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.timestamp()
    return None


def due(record: Record) -> float | None:
    """Return when a recorded call may start."""
    call = untagged(record["call"])
    options = call.get("retry", call.get("options", {}))
    default = 180 if call["api"] == "retry" and "eta" not in options else None
    return seconds(record, options.get("countdown", default), options.get("eta"))


class TestMessages:
    @pytest.mark.parametrize("name", READABLE)
    def test_is_read_as_what_was_asked_for(self, name: str) -> None:
        record = MESSAGES[name]
        call = decode(as_message(record), ACCEPT)
        task, args, kwargs, options = asked(record)
        assert (call.task, call.id) == (task, options["task_id"])
        assert call.args == as_json_reads_it(args)
        assert call.kwargs == as_json_reads_it(kwargs)
        retried = record["call"]["api"] == "retry"
        assert call.retries == options.get("retries", 0) + retried
        assert call.headers == options.get("headers", {})
        for option in (
            *("time_limit", "soft_time_limit", "shadow", "root_id", "group_id", "group_index"),
            *("reply_to", "ignore_result", "parent_id", "argsrepr", "kwargsrepr"),
        ):
            if option in options:
                assert getattr(call, option) == options[option], option

    @pytest.mark.parametrize("name", READABLE)
    def test_times_are_those_asked_for(self, name: str) -> None:
        record = MESSAGES[name]
        call = decode(as_message(record), ACCEPT)
        expires = untagged(record["call"]).get("options", {}).get("expires")
        assert timestamp(call.eta) == due(record)
        assert timestamp(call.expires) == seconds(record, expires, expires)

    @pytest.mark.parametrize("name", [name for name in READABLE if not name.startswith("v1-")])
    def test_every_header_and_part_becomes_a_field(self, name: str) -> None:
        record = MESSAGES[name]
        call = decode(as_message(record), ACCEPT)
        headers = record["headers"]
        found = {field: getattr(call, field) for field in FIELDS}
        assert found == {field: headers[header] for field, header in FIELDS.items()}
        assert [call.time_limit, call.soft_time_limit] == headers["timelimit"]
        rest = headers.keys() - FIELDS.values() - {"lang", "timelimit", "compression"}
        assert call.headers.keys() == rest
        if name in COMPRESSED:
            return
        embed = json.loads(record["body"])[2]
        assert {part: getattr(call, part) for part in embed} == embed

    @pytest.mark.parametrize("name", READABLE)
    def test_the_properties_become_fields(self, name: str) -> None:
        record = MESSAGES[name]
        call = decode(as_message(record), ACCEPT)
        assert call.correlation_id == record["properties"]["correlation_id"]
        assert call.reply_to == record["properties"]["reply_to"]

    @pytest.mark.parametrize("name", [name for name in READABLE if name.startswith("v1-")])
    def test_protocol_1_has_its_callbacks_in_the_body(self, name: str) -> None:
        call = decode(as_message(MESSAGES[name]), ACCEPT)
        body = json.loads(MESSAGES[name]["body"])
        for part in ("callbacks", "errbacks", "chord", "group_index"):
            assert getattr(call, part) == body[part]
        assert call.group_id == body["group"]
        assert [call.time_limit, call.soft_time_limit] == body["timelimit"]

    def test_callbacks_are_the_signatures_that_were_linked(self) -> None:
        for name, link in (("link", "callbacks"), ("link-many", "callbacks")):
            linked = untagged(MESSAGES[name]["call"]["options"]["link"])
            found = getattr(decode(as_message(MESSAGES[name]), ACCEPT), link)
            expected = linked if isinstance(linked, list) else [linked]
            assert [each["task"] for each in found] == [each["task"] for each in expected]
            assert [each["args"] for each in found] == [each["args"] for each in expected]

    @pytest.mark.parametrize("name", WRITTEN)
    def test_is_written_as_celery_writes_it(self, name: str) -> None:
        record = MESSAGES[name]
        written = encode(call_made(record), JSON, record["properties"]["priority"])
        headers = dict(written.headers)
        assert headers.pop("sent_at") == 5.0
        assert headers == record["headers"]
        assert [name for name in headers if name in FIELDS.values()] == [
            name for name in record["headers"] if name in FIELDS.values()
        ]
        expected = record["properties"]
        assert written.properties == {
            name: expected[name]
            for name in ("correlation_id", "reply_to", "delivery_mode", "priority")
        }
        assert written.content_type == expected["content_type"]
        assert written.content_encoding == expected["content_encoding"]
        assert written.body.decode() == record["body"]

    def test_nearly_all_is_written(self) -> None:
        assert len(WRITTEN) >= 50
        assert NOT_WRITTEN.keys() <= MESSAGES.keys()


def call_made(record: Record) -> Call:
    """Return the call that a client would make: with the arguments as given, not as they travel."""
    _, args, kwargs, options = asked(record)
    return replace(
        decode(as_message(record), ACCEPT),
        args=args,
        kwargs=kwargs,
        argsrepr=options.get("argsrepr"),
        kwargsrepr=options.get("kwargsrepr"),
        sent_at=5.0,
    )


class PaymentError(Exception):
    pass


PaymentError.__module__ = "proj.errors"


@pytest.fixture
def payment_error() -> Iterator[type[Exception]]:
    module = types.ModuleType("proj.errors")
    vars(module)["PaymentError"] = PaymentError
    sys.modules["proj.errors"] = module
    yield PaymentError
    del sys.modules["proj.errors"]


def stored(record: Record) -> ResultRecord:
    """Return a recorded result as an engine hands it over."""
    document = record["document"]
    return ResultRecord(document["task_id"], document["status"], record["raw"])


class TestResults:
    @pytest.mark.parametrize("name", RESULTS)
    def test_is_read(self, name: str) -> None:
        document = RESULTS[name]["document"]
        result = records.decode(stored(RESULTS[name]))
        assert result.task_id == document["task_id"]
        assert result.state == document["status"]
        assert result.traceback == document["traceback"]
        assert result.group_id == document.get("group_id")
        assert result.parent_id == document.get("parent_id")
        done = document["date_done"]
        assert result.date_done == (datetime(2050, 1, 1, 12, tzinfo=UTC) if done else None)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("result-success", 3),
            ("result-success-types", Decimal("3.5")),
            ("result-success-children", "spawned"),
            ("result-extended", 3),
            ("result-extended-stamps", 3),
            ("result-extended-children", "spawned"),
            ("result-progress", {"done": 50}),
            ("result-started", {"pid": 1, "hostname": "worker1@host"}),
        ],
    )
    def test_the_value_is_what_the_task_returned(self, name: str, value: object) -> None:
        assert records.decode(stored(RESULTS[name])).result == value

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("result-failure", ZeroDivisionError("division by zero")),
            ("result-retry", ConnectionError("no route")),
            ("result-revoked", TaskRevokedError("revoked")),
            (
                "result-failure-custom",
                RemoteError("proj.errors.PaymentError", 402, "cannot pay 5"),
            ),
        ],
    )
    def test_the_exception_is_what_the_task_raised(self, name: str, error: Exception) -> None:
        found = records.decode(stored(RESULTS[name])).result
        assert isinstance(found, type(error))
        assert found.args == error.args

    def test_an_exception_of_a_module_that_is_known_is_itself(
        self, payment_error: type[Exception]
    ) -> None:
        found = records.decode(stored(RESULTS["result-failure-custom"])).result
        assert type(found) is payment_error
        assert found.args == (402, "cannot pay 5")

    @pytest.mark.parametrize("name", RESULTS)
    def test_is_written_with_the_same_keys_and_values(self, name: str) -> None:
        record = RESULTS[name]
        written = records.encode(records.decode(stored(record)))
        assert written.document == record["raw"]

    def test_what_is_kept_of_the_call_is_read(self) -> None:
        call = records.decode(stored(RESULTS["result-extended"])).call
        assert call == CallInfo("proj.add", [1, 2], {}, "worker1@host", 1, "celery")
        stamped = records.decode(stored(RESULTS["result-extended-stamps"])).call
        assert stamped is not None
        assert (stamped.stamped_headers, stamped.stamps) == (["monitor"], {"monitor": ["m-1"]})

    @pytest.mark.parametrize("name", ["result-success-children", "result-extended-children"])
    def test_children_are_results(self, app: Umbel, name: str) -> None:
        app.result_store().put([stored(RESULTS[name])])
        result = app.AsyncResult(RESULTS[name]["document"]["task_id"])
        assert [child.id for child in result.children or ()] == [
            "11111111-0000-4000-8000-000000000002",
            "11111111-0000-4000-8000-000000000003",
        ]

    @pytest.mark.usefixtures("payment_error")
    def test_an_exception_is_written_alike_whether_its_class_is_known_or_not(self) -> None:
        record = RESULTS["result-failure-custom"]
        assert records.encode(records.decode(stored(record))).document == record["raw"]


def test_all_was_recorded_from_one_version() -> None:
    assert {record["celery"] for record in ALL.values()} == {"5.7.0"}
    assert len(MESSAGES) > 60
    assert len(RESULTS) == 12

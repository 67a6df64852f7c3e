"""The state that a result document shows, whatever wrote it."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest

from umbel import records
from umbel.engines.redis import documents
from umbel.exceptions import DecodeError
from umbel.records import FixedForm, ResultRecord, TaskResult

SERIALIZERS = ("json", "pickle", "yaml", "msgpack")
COMPRESSIONS = (None, "gzip", "bzip2", "lzma")
STATES = ("SUCCESS", "FAILURE", "STARTED", "a state of my own that is rather long, with umlauts: ä")


def form(serializer: str, compression: str | None) -> FixedForm:
    return FixedForm(
        accept_content=SERIALIZERS, result_serializer=serializer, result_compression=compression
    )


def data_of(record: ResultRecord) -> bytes:
    return documents.fields(record)[0]


@pytest.mark.parametrize("state", STATES[:3])
@pytest.mark.parametrize(
    ("serializer", "compression"), list(itertools.product(SERIALIZERS, COMPRESSIONS))
)
def test_documents_show_their_state(serializer: str, compression: str | None, state: str) -> None:
    # A result that looks like another document does not deceive.
    value: Any = {"status": "OTHER", "text": '"status": "OTHER"\nstatus: OTHER\n'}
    result = TaskResult("1", state, ValueError("x") if state == "FAILURE" else value)
    record = records.encode(result, form=form(serializer, compression))
    data = data_of(record)
    assert documents.shown_state(data) == state
    assert documents.record_of("1", data) == record
    # A script looks into all of them but those that are compressed.
    assert bool(documents.mark(data, state)) == (compression is not None)


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
def test_states_of_users_own_are_shown(serializer: str) -> None:
    record = records.encode(TaskResult("1", STATES[3], None), form=form(serializer, None))
    data = data_of(record)
    assert documents.record_of("1", data, None, documents.mark(data, STATES[3]).encode()) == record


def test_a_mark_tells_the_state_of_its_own_document_alone() -> None:
    data = b"\x00 something of a serializer of my own"
    assert documents.shown_state(data) is None
    mark = documents.mark(data, "RETRY").encode()
    assert documents.record_of("1", data, None, mark).state == "RETRY"
    other = documents.record_of("1", data + b"!", None, mark)
    assert other.state == "FAILURE"
    with pytest.raises(DecodeError):  # which is how who waits for it learns what is wrong
        records.decode(other)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"result": 1}',
        b'{"status": 3}',
        b"[]",
        b"\x80\x05",
        b"\x80\x04\x00\xff",
        pickle.dumps(["status"]),
        pickle.dumps(list(range(1000))),
        b"\x81\xa6status",
        b"\x81\xa6status\xd9",
        b"\x81\xa6status\xd9\x05",
        records.COMPRESSED,
        records.COMPRESSED + b"application/x-gzip\x00broken",
        records.COMPRESSED + b"unknown\x00" + b"x" * 100,
        b"{" * 100_000,
        b'{"status"' * 50_000,
    ],
    ids=range(17),
)
def test_what_is_no_document_shows_nothing_and_does_no_harm(data: bytes) -> None:
    assert documents.shown_state(data) is None
    assert documents.record_of("1", data).ready


def test_other_orders_of_a_json_document_are_read() -> None:
    assert documents.shown_state(b'{"result": 1, "status": "REVOKED"}') == "REVOKED"
    assert documents.shown_state(b'{ "status" : "REVOKED"}') == "REVOKED"


def test_nothing_is_unpickled_to_see_a_state() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("it went off",)

    data = pickle.dumps({"status": "SUCCESS", "result": Bomb()})
    assert documents.record_of("1", data).state == "SUCCESS"
    assert documents.shown_state(pickle.dumps({"result": Bomb(), "status": "SUCCESS"})) in (
        None,
        "SUCCESS",
    )

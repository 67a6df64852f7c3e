"""Messages and results of all serializers and compressions, as recorded by ``record_serialized.py``."""

import base64
import json
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.compat.test_golden import Record, as_json_reads_it, as_message, untagged
from umbel import failures, records, serialization
from umbel.compression import decompress
from umbel.exceptions import ContentDisallowed, DecodeError, Reject, RemoteError
from umbel.message import decode
from umbel.records import CallInfo, FixedForm, ResultRecord
from umbel.writing import encode

ALL: dict[str, Record] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "golden" / "serialized").glob("*.json"))
}
OWN = ("json", "pickle", "yaml", "msgpack")
LIMIT = 2**20
#: The modules of optional libraries, by the part of a record's name that needs them.
NEEDS: dict[str, tuple[str, ...]] = {
    "yaml": ("yaml",),
    "msgpack": ("msgpack",),
    "brotli": ("brotli",),
}
NEEDS["zstd"] = NEEDS["zstandard"] = ("compression.zstd", "backports.zstd", "zstandard")


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def case(name: str) -> Any:
    """Return a parameter that is skipped where its library is not installed."""
    parts = ["yaml" if name == "setting" else part for part in name.split("-")]
    missing = [part for part in parts if not any(map(is_there, NEEDS.get(part, ("json",))))]
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"without {missing}"))


MESSAGES = {name: record for name, record in ALL.items() if "body" in record}
RESULTS = {name: record for name, record in ALL.items() if "raw" in record}
MESSAGE = pytest.mark.parametrize("name", [case(name) for name in MESSAGES])


def serializer_of(name: str) -> str:
    return "yaml" if name == "setting" else next(each for each in OWN if each in name)


def args_of(record: Record, serializer: str) -> Any:
    args = untagged(record["call"]["args"])
    return tuple(args) if serializer == "pickle" else as_json_reads_it(args)


class TestMessages:
    @MESSAGE
    def test_is_read(self, name: str) -> None:
        record, serializer = MESSAGES[name], serializer_of(name)
        call = decode(as_message(record), (serializer,))
        assert call.task == "proj.echo"
        assert list(call.args) == list(args_of(record, serializer))
        assert call.kwargs == untagged(record["call"]["kwargs"])
        assert type(call.args) is (tuple if serializer == "pickle" else list)

    @MESSAGE
    def test_is_refused_where_its_content_type_is_not_listed(self, name: str) -> None:
        others = [other for other in OWN if other != serializer_of(name)]
        with pytest.raises(ContentDisallowed, match=r"accept_content lists only"):
            decode(as_message(MESSAGES[name]), others)

    @pytest.mark.parametrize("name", [case(name) for name in MESSAGES if "v1" not in name])
    def test_is_written_as_celery_writes_it(self, name: str) -> None:
        record, serializer = MESSAGES[name], serializer_of(name)
        given = tuple(untagged(record["call"]["args"]))
        if serializer == "yaml" and len(given) > 1:
            given = (*given[:-1], given[-2])  # one list twice, as it was
        call = replace(decode(as_message(record), (serializer,)), args=given)
        compression = record["headers"].get("compression")
        written = encode(call, serialization.serializer(serializer), compression=compression)
        assert written.content_type == record["properties"]["content_type"]
        assert written.content_encoding == record["properties"]["content_encoding"]
        assert written.headers.get("compression") == compression
        expected, body = as_message(record).body, written.body
        if compression:
            expected = decompress(expected, compression, LIMIT)
            body = decompress(body, compression, LIMIT)
        if serializer == "pickle":  # which remembers what was the same object
            assert pickle.loads(body) == pickle.loads(expected)  # noqa: S301 - our own
        else:
            assert body == expected


class PaymentError(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)


PaymentError.__module__ = "proj.errors"


@pytest.fixture
def payment_error() -> Iterator[type[Exception]]:
    package, module = types.ModuleType("proj"), types.ModuleType("proj.errors")
    vars(module)["PaymentError"] = PaymentError
    sys.modules |= {"proj": package, "proj.errors": module}
    yield PaymentError
    del sys.modules["proj.errors"], sys.modules["proj"]


def stored(name: str) -> ResultRecord:
    return ResultRecord("id", "?", base64.b64decode(RESULTS[name]["raw"]))


def read(name: str, configured: str | None = None) -> records.TaskResult:
    form = FixedForm(accept_content=OWN, result_serializer=configured or serializer_of(name))
    return records.decode(stored(name), form)


def results(*parts: str) -> list[Any]:
    return [case(name) for name in RESULTS if all(part in name for part in parts)]


class TestResults:
    @pytest.mark.parametrize("configured", OWN)
    @pytest.mark.parametrize("name", [case(name) for name in RESULTS if "error" not in name])
    def test_a_success_is_read_whatever_the_settings_say(self, name: str, configured: str) -> None:
        found = read(name, configured)
        assert found.state == "SUCCESS"
        args = untagged(RESULTS[name]["call"]["args"])
        assert as_json_reads_it(found.result) == [args, {}]
        assert found.date_done == datetime(2050, 1, 1, 12, tzinfo=UTC)

    @pytest.mark.parametrize("name", results("result-pickle"))
    def test_a_pickle_is_refused_where_it_is_not_listed(self, name: str) -> None:
        for accept in (("json", "yaml", "msgpack"), ()):
            form = FixedForm(accept_content=("pickle",), result_accept_content=accept)
            with pytest.raises(ContentDisallowed):
                records.decode(stored(name), form)

    @pytest.mark.parametrize("serializer", [case(name) for name in OWN])
    def test_errors_are_what_was_raised(self, serializer: str) -> None:
        division = read(f"result-{serializer}-error").result
        assert (type(division), division.args) == (ZeroDivisionError, ("division by zero",))
        refused = read(f"result-{serializer}-own-error").result
        assert (type(refused), refused.args) == (Reject, ("bad", False))

    @pytest.mark.parametrize("serializer", [case(name) for name in OWN])
    def test_an_error_whose_class_is_known(
        self, serializer: str, payment_error: type[Exception]
    ) -> None:
        found = read(f"result-{serializer}-custom-error").result
        assert (type(found), found.args) == (payment_error, (402, "cannot pay 5"))

    @pytest.mark.parametrize("serializer", [case(name) for name in OWN if name != "pickle"])
    def test_an_error_whose_class_is_not_known(self, serializer: str) -> None:
        found = read(f"result-{serializer}-custom-error").result
        assert isinstance(found, RemoteError)
        assert (type(found).__module__, type(found).__qualname__) == ("proj.errors", "PaymentError")
        assert str(found) == "proj.errors.PaymentError: 402, cannot pay 5"

    def test_a_pickled_error_whose_class_is_not_known_is_an_error_that_says_so(self) -> None:
        with pytest.raises(DecodeError, match="No module named 'proj'"):
            read("result-pickle-custom-error")

    @pytest.mark.parametrize("serializer", [case(name) for name in OWN])
    def test_an_error_that_cannot_be_pickled(self, serializer: str) -> None:
        found = read(f"result-{serializer}-odd-error").result
        assert isinstance(found, RemoteError)
        assert type(found).__name__ == "OddError"
        assert "odd" in str(found)

    @pytest.mark.parametrize("name", results("result-"))
    @pytest.mark.usefixtures("payment_error")
    def test_is_written_as_celery_writes_it(self, name: str) -> None:
        if "odd" in name or "own" in name:
            # Celery stores its wrapper where we store the exception's own data; and a result that was
            # stored outside of a task has no list of children.
            return
        serializer = serializer_of(name)
        compression = RESULTS[name]["call"]["conf"].get("result_compression")
        form = FixedForm(
            accept_content=OWN, result_serializer=serializer, result_compression=compression
        )
        written = records.encode(read(name), form=form)
        expected, body = plain(stored(name).document), plain(written.document)
        if serializer == "pickle":
            assert loaded(body) == loaded(expected)
        else:
            assert body == expected
        assert records.decode(written, form).call == read(name).call

    @pytest.mark.parametrize("name", results("extended"))
    def test_an_extended_result_says_of_which_call(self, name: str) -> None:
        call = CallInfo("proj.echo", [1], {}, "worker1@host", 0, "celery")
        assert read(name).call == call


def plain(document: str | bytes) -> bytes:
    """Return a document without its compression."""
    data = document.encode() if isinstance(document, str) else document
    marker = b"\x00celery-compressed\x00"
    if not data.startswith(marker):
        return data
    content_type, _, body = data.removeprefix(marker).partition(b"\x00")
    return decompress(body, content_type.decode(), LIMIT)


def loaded(data: bytes) -> dict[str, Any]:
    """Return a pickled document, with exceptions as their names and arguments."""
    document = serialization.decode(data, "application/x-python-serialize", ("pickle",))
    error = failures.from_stored(document["result"])
    if isinstance(error, BaseException):
        document["result"] = (type(error), error.args)
    return dict(sorted(document.items()))

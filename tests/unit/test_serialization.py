import contextlib
import json
import math
import pickle
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from importlib import import_module
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import calls
from umbel import Umbel, chain, group, serialization
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SerializerNotInstalled,
)
from umbel.serialization import JSON, dumps, loads

PICKLE = "application/x-python-serialize"


class Level(IntEnum):
    HIGH = 1


class Colour(StrEnum):
    RED = "red"


class Account:
    def __init__(self, number: int) -> None:
        self.number = number

    def __json__(self) -> dict[str, int]:
        return {"number": self.number}


class Odd:
    def __json__(self) -> object:
        raise KeyError("nothing to see")


Point = namedtuple("Point", ["x", "y"])

#: What kombu 5.7 writes for each, and what comes back where that is not the same.
WRITTEN: list[tuple[object, str]] = [
    (
        datetime(2030, 1, 2, 3, 4, 5, 678, UTC),
        '{"__type__": "datetime", "__value__": "2030-01-02T03:04:05.000678+00:00"}',
    ),
    (
        datetime.fromisoformat("2030-01-02T03:04:05"),
        '{"__type__": "datetime", "__value__": "2030-01-02T03:04:05"}',
    ),
    (date(2030, 1, 2), '{"__type__": "date", "__value__": "2030-01-02"}'),
    (time(3, 4, 5), '{"__type__": "time", "__value__": "03:04:05"}'),
    (
        time(3, 4, tzinfo=timezone(timedelta(hours=2))),
        '{"__type__": "time", "__value__": "03:04:00+02:00"}',
    ),
    (Decimal("12.340"), '{"__type__": "decimal", "__value__": "12.340"}'),
    (
        uuid.UUID(int=5),
        '{"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000005"}}',
    ),
    ("grün".encode(), '{"__type__": "bytes", "__value__": "gr\\u00fcn"}'),
    (b"\x00\xff", '{"__type__": "base64", "__value__": "AP8="}'),
    ("é😀", '"\\u00e9\\ud83d\\ude00"'),
    ([1, 1.5, True, None], "[1, 1.5, true, null]"),
    ({"a": [{}]}, '{"a": [{}]}'),
]

ONE_WAY: list[tuple[object, object]] = [
    ((1, (2, 3)), [1, [2, 3]]),
    (Point(1, 2), [1, 2]),
    (Level.HIGH, 1),
    (Colour.RED, "red"),
    (OrderedDict(a=1), {"a": 1}),
    ({1: "a", 1.5: "b", None: "c"}, {"1": "a", "1.5": "b", "null": "c"}),
    ({True: "a"}, {"true": "a"}),
    (Account(7), {"number": 7}),
    ([Account(7)], [{"number": 7}]),
]

REFUSED: list[object] = [
    {1, 2},
    frozenset(),
    timedelta(1),
    bytearray(b"x"),
    memoryview(b"x"),
    1j,
    range(3),
    {}.keys(),
    ValueError("v"),
    object(),
    {(1, 2): 3},
    Odd(),
    Account,
    10**5000,
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_writes_what_kombu_writes_and_reads_it_back(value: object, text: str) -> None:
    assert dumps(value) == text
    assert loads(text) == value
    assert type(loads(text)) is type(value)


@pytest.mark.parametrize(("value", "read"), ONE_WAY)
def test_what_json_does_not_know_becomes_what_is_nearest(value: object, read: object) -> None:
    assert loads(dumps(value)) == read


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_refuses_what_kombu_refuses(value: object) -> None:
    with pytest.raises(EncodeError):
        dumps([value])


def test_the_refusal_names_the_type() -> None:
    with pytest.raises(EncodeError, match=r"^Object of type set is not JSON serializable$"):
        dumps({1})


def test_refuses_circles_and_depths() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (circle, deep):
        with pytest.raises(EncodeError):
            dumps(value)
    # The innermost first, or freeing it would need as deep a stack.
    while deep:
        deep = deep.pop()


def test_json_beyond_the_standard_is_as_in_kombu() -> None:
    assert dumps([math.inf, -math.inf]) == "[Infinity, -Infinity]"
    assert math.isnan(loads("NaN"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "[" * 100_000,
        "9" * 5000,
        b"\xff",
        '{"__type__": "set", "__value__": [1]}',
        '{"__type__": ["datetime"], "__value__": 1}',
        '{"__type__": null, "__value__": 1}',
        '{"__type__": "datetime", "__value__": "yesterday"}',
        '{"__type__": "datetime", "__value__": 5}',
        '{"__type__": "date", "__value__": null}',
        '{"__type__": "time", "__value__": "25:00"}',
        '{"__type__": "decimal", "__value__": "much"}',
        '{"__type__": "decimal", "__value__": {}}',
        '{"__type__": "uuid", "__value__": "5"}',
        '{"__type__": "uuid", "__value__": {}}',
        '{"__type__": "uuid", "__value__": {"hex": "zz"}}',
        '{"__type__": "uuid", "__value__": {"bytes": "0123456789abcdef"}}',
        '{"__type__": "uuid", "__value__": {"bytes_le": "0123456789abcdef"}}',
        '{"__type__": "bytes", "__value__": "\\ud800"}',
        '{"__type__": "bytes", "__value__": 5}',
        '{"__type__": "base64", "__value__": "a"}',
    ],
)
def test_text_that_is_no_such_json_is_a_decode_error(text: str | bytes) -> None:
    with pytest.raises(DecodeError):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"__type__": "datetime"}',
        '{"__value__": "x", "type": "datetime"}',
        '{"__type__": "datetime", "__value__": "2030-01-02", "more": 1}',
        '{"datetime": "2030-01-02", "__datetime__": true}',
    ],
)
def test_only_the_exact_envelope_is_decoded(text: str) -> None:
    assert loads(text) == json.loads(text)


def test_what_other_versions_of_kombu_write_is_read() -> None:
    hexed = {"hex": "a3bb189e8bf9388899125f9d1a2b3c4d", "version": 4}
    found = loads(json.dumps({"__type__": "uuid", "__value__": hexed}))
    assert found.version == 4
    moment = loads('{"__type__": "datetime", "__value__": "2030-01-02T03:04:05Z"}')
    assert moment == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times()
    | st.times(timezones=zones)
    | st.decimals(allow_nan=False)
    | st.uuids()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text().filter(lambda key: key not in ("__type__", "__value__")), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=40)
@given(values)
def test_what_is_written_is_read_back(value: object) -> None:
    text = dumps(value)
    assert text.isascii()
    assert loads(text) == value
    assert loads(text.encode()) == value


@settings(deadline=None, max_examples=40)
@given(st.text() | st.binary())
def test_reading_anything_else_raises_only_decode_errors(data: str | bytes) -> None:
    with contextlib.suppress(DecodeError):
        loads(data)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(serialization._decoders)), values)
def test_a_marker_around_anything_raises_only_decode_errors(marker: str, value: object) -> None:
    with contextlib.suppress(DecodeError):
        loads(dumps({"__type__": marker, "__value__": value}))


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


@pytest.fixture
def known_types() -> Iterator[None]:
    encoders, decoders = dict(serialization._encoders), dict(serialization._decoders)
    yield
    for table, before in (
        (serialization._encoders, encoders),
        (serialization._decoders, decoders),
    ):
        table.clear()
        table.update(before)  # type: ignore[arg-type]


@pytest.mark.usefixtures("known_types")
class TestRegisterType:
    def test_with_a_marker(self) -> None:
        serialization.register_type(Money, "money", lambda money: money.cents, Money)
        assert dumps(Money(5)) == '{"__type__": "money", "__value__": 5}'
        assert loads(dumps(Money(5))).cents == 5

    def test_without_a_marker(self) -> None:
        serialization.register_type(Money, None, lambda money: money.cents)
        assert dumps(Money(5)) == "5"

    @pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), RuntimeError("x")])
    def test_what_the_functions_raise_is_translated(self, error: Exception) -> None:
        def fail(_: object) -> object:
            raise error

        serialization.register_type(Money, "money", fail, fail)
        with pytest.raises(EncodeError):
            dumps(Money(5))
        with pytest.raises(DecodeError):
            loads('{"__type__": "money", "__value__": 5}')

    def test_a_subclass_is_written_as_the_first_type_that_fits(self) -> None:
        class Stamp(datetime):
            pass

        serialization.register_type(Stamp, "stamp", str)
        assert '"datetime"' in dumps(Stamp(2030, 1, 2, tzinfo=UTC))


class TestSerializers:
    def test_json_is_known_by_name_and_content_type(self) -> None:
        assert serialization.serializer("json") is JSON
        assert JSON.content_type == "application/json"
        assert serialization.decode(b"[1]", "application/json", ("json",)) == [1]
        assert serialization.decode(b"[1]", "application/json", ("application/json",)) == [1]

    def test_an_unknown_name_is_told_with_the_known_ones(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"'jsn'; known are: .*json"):
            serialization.serializer("jsn")

    @pytest.mark.parametrize("accept", [(), ("yaml",), ("jso",), ("application/data",)])
    def test_what_is_not_accepted_is_not_read(self, accept: tuple[str, ...]) -> None:
        with pytest.raises(ContentDisallowed, match="application/json"):
            serialization.decode(b"never read: {", "application/json", accept)

    def test_accepted_but_unknown_is_a_decode_error(self) -> None:
        with pytest.raises(DecodeError, match="application/x-unknown"):
            serialization.decode(b"", "application/x-unknown", ("application/x-unknown",))

    def test_pickle_is_not_read_unless_it_is_listed(self) -> None:
        with pytest.raises(ContentDisallowed):
            serialization.decode(b"\x80\x04.", PICKLE, ("json",))
        assert serialization.decode(pickle.dumps({1}), PICKLE, ("pickle",)) == {1}
        assert serialization.decode(pickle.dumps({1}), PICKLE, (PICKLE,)) == {1}

    def test_what_is_listed_is_a_name_or_a_content_type_and_never_both(self) -> None:
        with pytest.raises(ContentDisallowed):
            serialization.decode(b"[1]", "json", ("json",))
        assert serialization.content_types(("json", "a/b")) == {"application/json", "a/b"}
        with pytest.raises(SerializerNotInstalled):
            serialization.content_types(("jsn",))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is registered while the test runs is forgotten after it."""
    for name in ("_by_name", "_by_content_type", "_disabled", "_looked_for"):
        monkeypatch.setattr(serialization, name, type(getattr(serialization, name))())
    for found in (JSON, *before):
        serialization.add(found)
    return monkeypatch


before = [serialization.serializer(name) for name in ("pickle", "yaml", "msgpack")]


def shout(value: Any) -> str:
    return str(value).upper()


@pytest.mark.usefixtures("registry")
class TestRegister:
    def test_a_serializer_of_ones_own(self) -> None:
        serialization.register("shout", shout, bytes.decode, "text/x-shout", "us-ascii")
        found = serialization.serializer("shout")
        assert (found.content_type, found.content_encoding) == ("text/x-shout", "us-ascii")
        assert found.dumps("größe") == "GRÖSSE".encode()
        for accept in (("shout",), ("text/x-shout",), None):
            assert serialization.decode(b"A", "text/x-shout", accept) == "A"
        with pytest.raises(ContentDisallowed):
            serialization.decode(b"A", "text/x-shout", ("json",))

    def test_one_in_the_place_of_json_reads_and_writes_all(self, app: Umbel) -> None:
        used: list[str] = []

        def write(value: Any) -> str:
            used.append("write")
            return json.dumps(value, default=str)

        def read(data: bytes) -> Any:
            used.append("read")
            return json.loads(data)

        serialization.register("json", write, read, "application/json")
        task = app.task(name="t")(lambda x=None: x)
        group([task.s(number) for number in range(5)]).apply_async()
        assert used.count("write") == 5
        chain(task.s("x" * 3000), *(task.s() for _ in range(30))).apply_async()
        used.clear()
        assert len(calls(app)) == 6
        assert used.count("read") == 6

    @pytest.mark.parametrize("error", [KeyError("mine"), MemoryError(), RecursionError()])
    def test_what_it_raises_is_translated(self, error: Exception) -> None:
        def fail(_: object) -> str:
            raise error

        serialization.register("fail", fail, fail, "text/x-fail")
        with pytest.raises((EncodeError, MemoryError)):
            serialization.serializer("fail").dumps(1)
        with pytest.raises(DecodeError, match="cannot be read as fail"):
            serialization.decode(b"", "text/x-fail")

    def test_half_a_serializer(self) -> None:
        serialization.register("half", None, None, "text/x-half")
        with pytest.raises(SerializerNotInstalled, match="no encoder"):
            serialization.serializer("half").dumps(1)
        with pytest.raises(DecodeError, match="no decoder"):
            serialization.decode(b"", "text/x-half")

    def test_unregister(self) -> None:
        serialization.unregister("yaml")
        with pytest.raises(SerializerNotInstalled, match="'yaml'"):
            serialization.serializer("yaml")
        with pytest.raises(SerializerNotInstalled, match="'yaml'"):
            serialization.unregister("yaml")

    def test_without_a_list_only_what_is_enabled_is_read(self) -> None:
        serialization.disable_insecure_serializers()
        assert serialization.decode(b"[1]", "application/json") == [1]
        with pytest.raises(ContentDisallowed, match="disabled"):
            serialization.decode(pickle.dumps(1), PICKLE)
        serialization.enable_insecure_serializers(["pickle", "nobody"])
        assert serialization.decode(pickle.dumps(1), PICKLE) == 1
        serialization.disable_insecure_serializers([PICKLE])
        assert serialization.decode(pickle.dumps(1), PICKLE) == 1
        with pytest.raises(ContentDisallowed):
            serialization.decode(b"[1]", "application/json")


class Entry:
    """An entry point of an installed package."""

    loaded: ClassVar[list[str]] = []
    value = "package:register_args"

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> tuple[Any, ...]:
        self.loaded.append(self.name)
        if self.name == "broken":
            raise ImportError("no such module")
        return shout, bytes.decode, f"text/x-{self.name}", "utf-8"


class TestEntryPoints:
    @pytest.fixture(autouse=True)
    def _entries(self, registry: pytest.MonkeyPatch) -> None:
        Entry.loaded.clear()
        entries = [Entry("json"), Entry("one"), Entry("two")]
        registry.setattr(serialization, "entry_points", lambda group: entries)

    def test_are_loaded_only_when_something_is_not_known(self) -> None:
        serialization.serializer("json")
        serialization.decode(b"1", "application/json", ("json",))
        assert Entry.loaded == []
        assert serialization.serializer("one").dumps("a") == b"A"
        assert Entry.loaded == ["one"]
        for _ in range(2):
            with pytest.raises(SerializerNotInstalled):
                serialization.serializer("three")
        assert Entry.loaded == ["one"]

    def test_are_loaded_for_a_name_that_is_accepted(self) -> None:
        assert serialization.decode(b"a", "text/x-two", ("json", "two")) == "a"
        assert Entry.loaded == ["two"]

    def test_are_loaded_for_a_content_type_that_is_accepted(self) -> None:
        assert serialization.decode(b"a", "text/x-two", ("text/x-two",)) == "a"
        assert Entry.loaded == ["one", "two"]

    def test_a_content_type_that_is_not_accepted_loads_none(self) -> None:
        with pytest.raises(ContentDisallowed):
            serialization.decode(b"a", "text/x-two", ("json",))
        assert Entry.loaded == []

    def test_a_broken_one_is_told(self, registry: pytest.MonkeyPatch) -> None:
        registry.setattr(serialization, "entry_points", lambda group: [Entry("broken")])
        with pytest.raises(
            SerializerNotInstalled, match=r"'broken'.*package:register_args.*no such"
        ):
            serialization.serializer("broken")


def test_texts_of_django_that_are_translated_later_are_texts() -> None:
    pytest.importorskip("django")
    lazy = import_module("django.utils.functional").lazy(lambda: "größe", str)()
    assert loads(dumps([lazy])) == ["größe"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        (
            '{"a": {"__type__": "nobody", "__value__": 1}}',
            {"a": {"__type__": "nobody", "__value__": 1}},
        ),
        (
            '{"__type__": "date", "__value__": "2030-01-01"}',
            {"__type__": "date", "__value__": "2030-01-01"},
        ),
        ("[1]", {}),
        ("{", {}),
        ("[" * 100_000, {}),
    ],
)
def test_headers_are_read_whatever_they_hold(text: str, found: dict[str, Any]) -> None:
    assert serialization.loads_mapping(text) == found


# The quicker reader of JSON


def _slowly(data: bytes) -> Any:
    return json.loads(data.decode(), object_hook=serialization._decode_extended)


#: What a reader might take otherwise than the standard library.
ODD_TEXTS = (
    b"123456789012345678901234567890",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"1" * 5000,
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"0.1e1",
    b"-0",
    b"-0.0",
    b"NaN",
    b"[Infinity, -Infinity]",
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    b'{"a": 1, "a": 2}',
    b'{"": null}',
    b" 1 ",
    b"\t[]\n",
    b"[1,]",
    b"01",
    b"[1] x",
    b"[1]\x00",
    b'"\x00"',
    b'"\xff"',
    b"\xef\xbb\xbf1",
    b"",
    b"[" * 5000 + b"]" * 5000,
    b'{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}',
    b'{"\\u005f_type__": "bytes", "__value__": "x"}',
    b'{"__typ\\u0065__": "bytes", "__value__": "x"}',
    b'{"\\u005F_type\\u005F_": "decimal", "\\u005f_value__": "1.5"}',
)


def _same(data: bytes) -> None:
    try:
        expected = _slowly(data)
    except Exception:  # noqa: BLE001 - whatever json raises is one error here
        with pytest.raises(DecodeError):
            serialization.loads(data)
        return
    assert repr(serialization.loads(data)) == repr(expected)
    assert repr(serialization.loads(data.decode())) == repr(expected)


def test_the_quicker_reader_is_the_one_that_is_used() -> None:
    pytest.importorskip("msgspec")
    assert serialization._read_quickly is not None


@pytest.mark.parametrize("data", ODD_TEXTS)
def test_what_is_read_is_what_the_standard_library_reads(data: bytes) -> None:
    _same(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_so_is_any_value(value: Any, ascii_only: bool) -> None:
    _same(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@given(st.binary() | st.text(alphabet='[]{},:"\\u0123456789eE+-. truefalsn').map(str.encode))
def test_so_is_any_text(data: bytes) -> None:
    _same(data)


def test_all_is_read_without_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "_read_quickly", None)
    for data in ODD_TEXTS:
        _same(data)

"""Arguments of every type and shape, how they are shown, and those that cannot be sent."""

from __future__ import annotations

import enum
import fractions
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from tests.compat.calls.model import TASK_ID, Case, sends

BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = datetime.fromisoformat("2049-12-31T23:59:58.000999")


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Kind(enum.StrEnum):
    BOOK = "book"


class Text(str):
    pass


class Number(int):
    pass


class Moment(datetime):
    pass


@dataclass
class Order:
    number: int


class Model:
    pk = 7

    def __repr__(self) -> str:
        return "<Model 7>"


class Money:
    def __json__(self) -> Any:
        return {"cents": 5}


class Broken:
    def __json__(self) -> Any:
        raise LookupError("no cents")


Point = namedtuple("Point", "x y")


def nothing() -> Iterator[None]:
    yield from ()


def circle() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


VALUES: dict[str, Any] = {
    "datetime-naive": MOMENT,
    "datetime-aware": MOMENT.replace(tzinfo=UTC),
    "datetime-berlin": MOMENT.replace(tzinfo=BERLIN),
    "datetime-offset": MOMENT.replace(tzinfo=timezone(timedelta(hours=-3.5))),
    "datetime-whole": MOMENT.replace(microsecond=0),
    "datetime-subclass": Moment(2049, 12, 31, tzinfo=UTC),
    "date": date(2049, 12, 31),
    "time": time(23, 59, 58),
    "time-aware": time(23, 59, 58, 999, tzinfo=UTC),
    "decimal": Decimal("12.340"),
    "decimal-nan": Decimal("NaN"),
    "uuid": uuid.UUID(int=5),
    "bytes-text": "grün".encode(),
    "bytes-binary": b"\x00\xff\xfe",
    "bytes-empty": b"",
    "tuple": (1, (2, 3)),
    "namedtuple": Point(1, 2),
    "emoji": "😀 👩‍👩‍👧",
    "lone-surrogate": "a\ud800b",
    "control-signs": "\x00\x1f\x7f\u2028\u2029",
    "quotes": 'it\'s "quoted" \\ \n',
    "empty-text": "",
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus-infinity": float("-inf"),
    "big-int": 10**50,
    "negative-int": -(2**63) - 1,
    "float": 0.1,
    "float-big": 1e300,
    "bool": True,
    "none": None,
    "nested": [{"a": [{"b": ({"c": [1]},)}]}],
    "int-keys": {1: "a", 2.5: "b", None: "c"},
    "bool-keys": {True: "a", False: "b"},
    "str-enum": Kind.BOOK,
    "int-enum": Size.LARGE,
    "str-enum-key": {Kind.BOOK: 1},
    "int-enum-key": {Size.LARGE: 1},
    "str-subclass": Text("text"),
    "int-subclass": Number(4),
    "dict-subclasses": [OrderedDict(b=1, a=2), defaultdict(list, x=[1]), Counter("aab")],
    "json-method": Money(),
    "marker": {"__type__": "color", "__value__": "red"},
    "deep": deep(50),
    "empty-containers": [[], (), {}],
}

#: What JSON does not take.
REFUSED: dict[str, Any] = {
    "set": {1},
    "frozenset": frozenset({1}),
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "timedelta": timedelta(seconds=1),
    "complex": 1j,
    "range": range(3),
    "generator": nothing(),
    "deque": deque([1]),
    "fraction": fractions.Fraction(1, 3),
    "enum": Color.RED,
    "dataclass": Order(5),
    "object": object(),
    "model": Model(),
    "class": Model,
    "function": deep,
    "exception": ValueError("no"),
    "circle": circle(),
    "too-deep": deep(100_000),
    "json-method-raises": Broken(),
    "tuple-key": {(1, 2): 3},
    "enum-key": {Color.RED: 1},
    "date-key": {date(2049, 12, 31): 1},
    "bytes-key": {b"a": 1},
    "nested-object": [{"a": (1, object())}],
}

SHAPES = [
    Case("delay", lambda kit: kit.echo.delay()),
    Case("delay-args", lambda kit: kit.echo.delay(1, "two")),
    Case("delay-kwargs", lambda kit: kit.echo.delay(x=1, y="two")),
    Case("delay-both", lambda kit: kit.echo.delay(1, y="two")),
    Case("delay-named-like-options", lambda kit: kit.echo.delay(countdown=5, queue="x", args=1)),
    Case("apply-async-nothing", lambda kit: kit.echo.apply_async()),
    Case("apply-async-args-keyword", lambda kit: kit.echo.apply_async(args=(1,), kwargs={"a": 2})),
    sends("args-list", [1, 2]),
    sends("args-none", None, None),
    sends("args-empty-list", [], {}),
    sends("args-namedtuple", Point(1, 2)),
    sends("kwargs-only", (), {"x": 1}),
    sends("kwargs-ordered-dict", (), OrderedDict(b=1, a=2)),
    sends("kwargs-unicode", (), {"naïve": "größe"}),
    sends("kwargs-mapping", (), MappingProxyType({"a": 1})),
    sends("args-text", "ab"),
    sends("args-generator", (item for item in (1, 2))),
    sends("args-set", {1}),
    sends("args-dict", {"a": 1}),
    sends("args-number", 5),
    sends("args-zero", 0),
    sends("kwargs-list", (), [1]),
    sends("kwargs-pairs", (), [("a", 1)]),
    sends("kwargs-number-keys", (), {1: 2}),
    Case(
        "too-many-positional", lambda kit: kit.echo.apply_async((), {}, TASK_ID, None, None, None)
    ),
]


def _typing_off(name: str, args: Any, kwargs: Any = None) -> Case:
    return sends(f"unchecked-{name}", args, kwargs, task={"typing": False})


UNCHECKED = [
    _typing_off("args-text", "ab"),
    _typing_off("args-number", 5),
    _typing_off("kwargs-list", (), [1]),
    _typing_off("kwargs-number-keys", (), {1: 2}),
]

REPRS = [
    sends("repr-given", ("secret",), {"k": 1}, argsrepr="('***',)", kwargsrepr="{'k': '***'}"),
    sends("repr-empty", (1,), {"k": 1}, argsrepr="", kwargsrepr=""),
    sends("repr-long-text", ("word " * 500, 2)),
    sends("repr-long-word", ("w" * 3000, 2)),
    sends("repr-long-list", (list(range(1000)), "last")),
    sends("repr-many-args", tuple(range(1000))),
    sends("repr-long-kwargs", (), {"k" * 600: "v" * 600, "z": 1}),
    sends("repr-many-kwargs", (), {f"key{n}": n for n in range(300)}),
    sends("repr-levels", ([[[[1]]]],), {"a": {"b": {"c": {"d": 1}}}}),
    sends("repr-1-level", ([[1]],), {"a": [1]}, conf={"task_repr_maxlevels": 1}),
    sends("repr-6-levels", ([[[[[[[1]]]]]]],), conf={"task_repr_maxlevels": 6}),
    sends("repr-quotes", ("it's", 'say "hi"', "back\\slash", "new\nline")),
    sends("repr-long-bytes", (b"b" * 2000,)),
    sends("repr-long-decimal", (Decimal("1" * 1500),)),
    sends("repr-big-int", (10**1200,)),
]

CASES = [
    *SHAPES,
    *UNCHECKED,
    *(sends(f"value-{kind}", (value,), {"value": value}) for kind, value in VALUES.items()),
    *(sends(f"refused-{kind}", (1, value)) for kind, value in REFUSED.items()),
    sends("refused-in-kwargs", (1,), {"a": 1, "b": object()}),
    *REPRS,
]

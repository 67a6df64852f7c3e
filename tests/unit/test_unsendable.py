"""What is said of arguments and results that cannot be serialized."""

import dataclasses
import enum
import io
import threading
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from umbel.exceptions import EncodeError, MessageTooLarge
from umbel.serialization import serializer
from umbel.unsendable import find, of_call, of_result

JSON = serializer("json")


class Model:
    def __init__(self) -> None:
        self.pk = 5


class Row:
    id = 7


class Pydantic:
    def model_dump(self) -> dict[str, Any]:
        return {}


@dataclasses.dataclass
class Point:
    x: int = 1


class Array:
    def tolist(self) -> list[int]:
        return []


class Grumpy:
    @property
    def pk(self) -> int:
        raise RuntimeError("no database")


class Level(enum.Enum):
    HIGH = 1


class Holder:
    def __init__(self, owner: object) -> None:
        self.owner = owner


class AsJson:
    def __json__(self) -> dict[str, Any]:
        return {"owner": {1}}


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("no")


Pair = namedtuple("Pair", ["left", "right"])


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("value", "kind", "advice"),
    [
        (Model(), "a Model", "primary key (.pk), and load it"),
        (Row(), "a Row", "id (.id), and load it"),
        (Pydantic(), "a Pydantic", "model_dump(mode='json')"),
        (Point(), "a Point", "dataclasses.asdict(...)"),
        ({1, 2}, "a set", "sorted(...)"),
        (frozenset(), "a frozenset", "sorted(...)"),
        (io.StringIO("x"), "a StringIO", ".getvalue()"),
        (Path("x"), "a PosixPath", "str(path)"),
        (timedelta(1), "a timedelta", ".total_seconds()"),
        (Level.HIGH, "a Level", ".value"),
        (bytearray(b"x"), "a bytearray", "bytes(...)"),
        (1j, "a complex", "[z.real, z.imag]"),
        (Array(), "an Array", ".tolist()"),
        (ValueError("v"), "a ValueError", "str(error)"),
        (range(3), "a range", "list(...)"),
        (iter([1]), "a list_iterator", "list(...)"),
        (len, "a builtin_function_or_method", "name instead of code"),
        (Point, "a type", "name instead of code"),
        (10**5000, "an int", "hex(...)"),
        (Grumpy(), "a Grumpy", "plain data"),
        (Shy(), "a Shy", "plain data"),
        (threading.Lock(), "a lock", "plain data"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_has_its_advice(value: object, kind: str, advice: str) -> None:
    fault = find(value, JSON)
    assert fault is not None
    text = fault.sentence("it", "cannot be sent")
    assert text.startswith(f"it cannot be sent: it is {kind}")
    assert advice in text


def test_a_file_and_a_coroutine(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        fault = find(file, JSON)
    assert fault is not None
    assert "path, and open it in the task" in fault.advice
    waiting = coroutine()
    fault = find(waiting, JSON)
    waiting.close()
    assert fault is not None
    assert fault.advice.startswith("Await it")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"profile": Pair(1, {2})}, "['profile'].right"),
        ([1, [2, ({3},)]], "[1][1][0]"),
        ([AsJson()], "[0].__json__()['owner']"),
        ({"a": {(1, 2): 3}}, "['a']"),
        ({1: {2: {3}}}, "[1][2]"),
    ],
)
def test_the_place_is_named(value: object, place: str) -> None:
    fault = find(value, JSON)
    assert fault is not None
    assert fault.place == place


def test_a_pickled_object_is_looked_into() -> None:
    fault = find({"profile": Holder([lambda: 1])}, serializer("pickle"))
    assert fault is not None
    assert fault.place == "['profile'].owner[0]"


def test_a_key_is_named() -> None:
    fault = find([{(1, 2): 3}], JSON)
    assert fault is not None
    assert fault.sentence("it", "fails") == (
        "it → [0] fails: it is a dict (with the key (1, 2)). Use texts as keys, for example str(key)."
    )


def test_circles_and_depths() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    fault = find(circle, JSON)
    assert fault is not None
    assert (fault.place, fault.reason) == ("[1]['again']", "it contains itself")
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    fault = find(deep, JSON)
    assert fault is not None
    assert "less deeply nested" in fault.advice
    assert len(fault.sentence("it", "fails")) < 600


def test_what_can_be_sent_has_no_fault() -> None:
    assert find({"a": [1, None, "x", (2, 3)]}, JSON) is None


def test_a_call_names_task_argument_and_place() -> None:
    error = of_call(
        EncodeError("x"), "proj.add", ({"profile": Model()},), {}, JSON, ["user", "rest"]
    )
    assert str(error) == (
        "proj.add: argument 'user' → ['profile'] cannot be sent as json: it is a Model. Pass its primary"
        " key (.pk), and load it in the task."
    )
    assert "argument 2 cannot" in str(of_call(error, "t", (1, {2}), {}, JSON, ["one"]))
    assert "argument 'z' cannot" in str(of_call(error, "t", (1,), {"z": {2}}, JSON))
    assert str(of_call(error, "t", (1,), {}, JSON)).startswith("t: the call cannot be sent as json")


def test_a_call_that_is_too_large_names_its_largest_argument() -> None:
    error = of_call(
        MessageTooLarge("it is too large"), "t", (1, "x" * 100), {"y": "y" * 50}, JSON, ["a", "b"]
    )
    assert isinstance(error, MessageTooLarge)
    assert str(error) == (
        "t: the call cannot be sent as json: it is too large. Its largest argument is"
        " argument 'b' (102 bytes). Keep such data elsewhere, and pass where: a path, a URL or a key."
    )


def test_a_result_names_the_task() -> None:
    error = of_result("proj.add", {"a": {1}}, EncodeError("x"), JSON)
    assert str(error) == (
        "proj.add: the result → ['a'] cannot be stored as json: it is a set. Return a sorted list:"
        " sorted(...), or set ignore_result."
    )
    assert "the result cannot be stored as json: x" in str(
        of_result("t", 1, EncodeError("x"), JSON)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("User", "a User"), ("UUIDs", "a UUIDs"), ("Upload", "an Upload"), ("Order", "an Order")],
)
def test_a_class_has_the_right_article(name: str, said: str) -> None:
    fault = find(type(name, (), {})(), JSON)
    assert fault is not None
    assert f"it is {said}." in fault.sentence("it", "fails")

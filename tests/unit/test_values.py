from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import field, fields, replace

import pytest

from umbel.values import value as make_value


@make_value
class Value:
    """One with every kind of field there is."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list)
    fourth: object = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Look at what was given."""
        if self.first < 0:
            raise ValueError("negative")


@make_value
class Plain:
    """One that can be the key of a mapping."""

    name: str


def test_fields_and_defaults() -> None:
    value = Value(1)
    assert (value.first, value.second, value.third, value.fourth) == (1, "two", [], None)
    assert value == Value(first=1, second="two", third=[], fourth="not compared")
    assert value != Value(2)
    assert Value(1).third is not value.third
    assert repr(value) == "Value(first=1, second='two', third=[], fourth=None)"
    assert type(value) is Value
    assert isinstance(value, Value)


def test_it_has_slots_and_a_hash() -> None:
    assert not hasattr(Value(1), "__dict__")
    with pytest.raises(TypeError, match="list"):
        hash(Value(1))  # of its third field
    assert hash(Plain("a")) == hash(Plain("a"))


def test_what_it_is_given_is_checked() -> None:
    with pytest.raises(TypeError, match="first"):
        Value()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="fifth"):
        Value(1, fifth=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="negative"):
        Value(-1)


def test_it_is_a_dataclass_as_before() -> None:
    value = Value(1, "x", [3])
    assert replace(value, second="y") == Value(1, "y", [3])
    assert copy.copy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own
    assert [each.name for each in fields(value)] == ["first", "second", "third", "fourth"]
    assert list(inspect.signature(Value).parameters) == ["first", "second", "third", "fourth"]
    match value:
        case Value(first, second):
            assert (first, second) == (1, "x")

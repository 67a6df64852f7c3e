"""The expected texts are those of Celery 5.7's ``saferepr(value, limit)``."""

import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.representation import LIMIT, careful_repr, representation


class Names(list[int]):
    pass


class Tags(set[int]):
    pass


class Options(dict[str, int]):
    pass


class Colour(IntEnum):
    RED = 1


class Size(Enum):
    BIG = "big"


Point = namedtuple("Point", ["x", "y"])


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


WHOLE: list[tuple[object, str]] = [
    ((), "()"),
    ((1, 2), "(1, 2)"),
    ((1,), "(1,)"),
    ([1], "[1]"),
    ({}, "{}"),
    ({"a": 2}, "{'a': 2}"),
    ((True, None, 1.5, -0.0), "(True, None, 1.5, -0.0)"),
    ((float("nan"), float("inf")), "(nan, inf)"),
    (("it's",), "('it\\'s',)"),
    (('say "hi"',), "('say \"hi\"',)"),
    (("back\\slash",), "('back\\slash',)"),
    (("line\nbreak",), "('line\nbreak',)"),
    (("größe", "日本語", "😀"), "('größe', '日本語', '😀')"),
    ((b"plain",), "(b'plain',)"),
    ((b"\x00\xff",), "(b'00ff',)"),
    (("",), "('',)"),
    (([], {}, ()), "([], {}, ())"),
    ((set(), frozenset()), "(set(), frozenset())"),
    (({1}, frozenset({1})), "({1}, frozenset({1}))"),
    ((Names([1, 2]), Tags({1}), Options(a=1)), "([1, 2], Tags({1}), {'a': 1})"),
    ((OrderedDict(a=1),), "({'a': 1},)"),
    ((MappingProxyType({"a": 1}),), "(mappingproxy({'a': 1}),)"),
    ((Point(1, 2),), "((1, 2),)"),
    ((Colour.RED, Size.BIG), "(1, <Size.BIG: 'big'>)"),
    ((Decimal("1.50"), date(2049, 12, 31)), "(Decimal('1.50'), datetime.date(2049, 12, 31))"),
    (
        (datetime(2049, 12, 31, tzinfo=UTC),),
        "(datetime.datetime(2049, 12, 31, 0, 0, tzinfo=datetime.timezone.utc),)",
    ),
    ((uuid.UUID(int=5),), "(UUID('00000000-0000-0000-0000-000000000005'),)"),
    ((range(3), 1j), "(range(0, 3), 1j)"),
    ((bytearray(b"x"),), "(bytearray(b'x'),)"),
    ((SimpleNamespace(a=1),), "(namespace(a=1),)"),
    (
        ([1, [2, [3, [4]]]], {"a": {"b": {"c": {"d": None}}}}),
        "([1, [2, [...]]], {'a': {'b': {...}}})",
    ),
    (([[[]]], [[{}]], [[()]], [[set()]]), "([[[...]]], [[{...}]], [[(...)]], [[set()]])"),
    ({(1, 2): "pair", 3: "three", None: [1]}, "{(1, 2): 'pair', 3: 'three', None: [1]}"),
    ({"it's": {"x": [1, {2: 3}]}}, "{'it\\'s': {'x': [1, {...}]}}"),
]

CUT: list[tuple[object, int, str]] = [
    ((10**30, "word " * 4, 2), 20, "(1000000000000000000..., ...)"),
    (("word " * 4,), 15, "('word word...',)"),
    ("word " * 4, 12, "'word word...'"),
    ("unbroken" * 4, 12, "'unbrokenunbr...'"),
    (list(range(1000)), 24, "[0, 1, 2, 3, 4, 5, 6, 7, , ...]"),
    ([list(range(1000)), "last"], 24, "[[0, 1, 2, 3, 4, 5, 6, 7..., ...]]"),
    ({"key " * 5: "value " * 5, "z": 1}, 20, "{'key key key key...', ...}"),
    ({"k" * 30: "v" * 30}, 40, "{'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk': 'vvvvv...'}"),
    ({"a": [1, {"b": (2, 3)}], "c": 4}, 12, "{'a': [1, {'b...', ...}]}"),
    ([b"0123456789" * 3], 12, "[b'01234567890...']"),
    ((10**40,), 12, "(10000000000...,)"),
    ((10**30, 2), 1024, "(1000000000000000000000000000000, 2)"),
    ([[[1]], 2], 4, "[[[1...]], ...]"),
    ([1, [2, 3]], 3, "[1, , ...]"),
    ((set(), 1), 4, "(set..., ...)"),
    ([(1, 2, 3), 4], 8, "[(1, 2, , ...)]"),
    (({1, 2}, frozenset({3})), 8, "({1, 2}, , ...)"),
]


@pytest.mark.parametrize(("value", "text"), WHOLE)
def test_reads_like_celery_writes_it(value: object, text: str) -> None:
    assert representation(value) == text


@pytest.mark.parametrize(("value", "limit", "text"), CUT)
def test_is_cut_where_celery_cuts_it(value: object, limit: int, text: str) -> None:
    assert representation(value, limit) == text


def test_a_long_text_is_cut_between_words() -> None:
    text = representation(("word " * 500, 2))
    assert text.startswith("('word word ")
    assert text.endswith(" word word...', ...)")
    assert len(text) == 1031


def test_a_value_within_itself_does_not_recurse() -> None:
    loop: list[object] = [1]
    loop.append(loop)
    assert representation(loop) == f"[1, <Recursion on list with id={id(loop)}>]"


def test_the_same_value_twice_is_no_recursion() -> None:
    shared = [1]
    assert representation((shared, shared)) == "([1], [1])"


def test_a_broken_repr_is_named_instead_of_raised() -> None:
    assert careful_repr(Broken()) == f"<Unrepresentable {Broken!r}: RuntimeError>"
    assert "Unrepresentable" in representation(([Broken()], 1))


def test_a_number_too_long_for_python_to_write_does_not_raise() -> None:
    huge = 10**5000
    assert "Unrepresentable" in representation((huge,))
    assert "Unrepresentable" in representation([huge])


def test_what_a_container_raises_is_shown() -> None:
    class Closed(list[int]):
        def __iter__(self) -> Iterator[int]:
            raise RuntimeError("closed")

    assert representation(Closed([1])) == f"<Unrepresentable {Closed!r}: RuntimeError>"


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.text())
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=40)
@given(trees, st.sampled_from([1, 10, 50, LIMIT]))
def test_is_never_much_longer_than_the_limit(value: object, limit: int) -> None:
    # What stands beyond the limit: bytes in hex twice as long, quotes, "..." and closing brackets.
    assert len(representation(value, limit)) <= 2 * limit + 40


@settings(deadline=None, max_examples=40)
@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats(), max_size=30).map(tuple))
def test_plain_numbers_read_like_repr_unless_they_are_cut(value: tuple[object, ...]) -> None:
    text = representation(value)
    assert text == repr(value) or len(repr(value)) >= LIMIT

"""A table in one test is gone through to its end, and each line that is wrong is told."""

from __future__ import annotations

import inspect

import pytest

from tests.each import for_each


def test_every_line_is_tried_and_what_is_wrong_is_told() -> None:
    tried = []

    @for_each(("one", "two"), [(1, 1), (1, 2), (2, 2), (3, 4), (5, 5)])
    def check(fixture: str, one: int, two: int) -> None:
        tried.append(one)
        if one == 3:
            pytest.fail("three")
        assert fixture == "given"
        assert one == two

    assert list(inspect.signature(check).parameters) == ["fixture"]
    with pytest.raises(BaseExceptionGroup, match="2 of 5 lines") as caught:
        check("given")
    assert tried == [1, 1, 2, 3, 5]
    notes = [error.__notes__ for error in caught.value.exceptions]
    assert notes == [["one=1, two=2"], ["one=3, two=4"]]


def test_a_table_that_is_right_is_passed() -> None:
    @for_each("name", "ab")
    def check(name: str) -> None:
        assert name in "ab"

    check()


def test_an_empty_table_is_none() -> None:
    with pytest.raises(ValueError, match="is empty"):
        for_each("name", [])

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.cron import (
    Calendar,
    Cronspec,
    Days,
    ParseException,
    Times,
    crontab_parser,
    elapsing,
    expand,
)


def wall(text: str) -> datetime:
    """Return a time without a zone."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("count", "first", "spec", "numbers"),
    [
        (60, 0, "*/15", {0, 15, 30, 45}),
        (60, 0, "7", {7}),
        (60, 0, "1,13,30-33", {1, 13, 30, 31, 32, 33}),
        (60, 0, " 1, 2 ", {1, 2}),
        (24, 0, "8-17/2", {8, 10, 12, 14, 16}),
        (24, 0, "22-3", {22, 23, 0, 1, 2, 3}),
        (24, 0, "22-3/2", {22, 0, 2}),
        (7, 0, "*", set(range(7))),
        (7, 0, "mon-fri", {1, 2, 3, 4, 5}),
        (7, 0, "Fri-monday", {5, 6, 0, 1}),
        (31, 1, "*/3", {1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31}),
        (12, 1, "2-12/2", {2, 4, 6, 8, 10, 12}),
        (12, 1, "november-february", {11, 12, 1, 2}),
        (12, 1, "*/100", {1}),
    ],
)
def test_a_field_is_expanded(count: int, first: int, spec: str, numbers: set[int]) -> None:
    assert crontab_parser(count, first).parse(spec) == numbers


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "'' has an empty part"),
        ("1,,2", "'1,,2' has an empty part"),
        ("-5", "no negative numbers"),
        ("*/", "has no step"),
        ("*/0", "has no step"),
        ("*/x", "has no step"),
        ("1-5/", "has no step"),
        ("5/10", r"write 5-59/10, or \*/10"),
        ("1-2-3", "is no number, range or step"),
        ("*5", "is no number, range or step"),
        ("1 5", "is no number, range or step"),
        ("someday", "no name of a weekday or a month"),
    ],
)
def test_what_is_no_field_says_why(spec: str, message: str) -> None:
    with pytest.raises(ParseException, match=message):
        crontab_parser().parse(spec)


@pytest.mark.parametrize(
    ("spec", "wrong"), [("60", "60"), ("50-60", "60"), ("9999999999", "9999999999")]
)
def test_a_number_out_of_range_says_the_range(spec: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"'{wrong}' is out of range: it must be 0 to 59"):
        crontab_parser().parse(spec)


@pytest.mark.parametrize("spec", [5, "5", {5}, [5], (5,), frozenset({5}), range(5, 6)])
def test_a_field_may_be_given_in_many_ways(spec: Cronspec) -> None:
    assert expand("minute", spec, 60) == {5}


def test_a_set_is_taken_as_it_is() -> None:
    given = {1, 2}
    assert expand("minute", given, 60) is given


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ([60], ValueError, "In the field minute of a crontab: 60 is out of range"),
        (-1, ValueError, "In the field minute of a crontab: -1 is out of range"),
        ("x", ParseException, "In the field minute of a crontab: 'x' is no number"),
        (1.5, TypeError, "The field minute of a crontab is 1.5, but must be"),
        (["1"], TypeError, r"The field minute of a crontab is \['1'\], but must be"),
    ],
)
def test_a_wrong_field_names_itself(spec: Cronspec, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        expand("minute", spec, 60)


@pytest.mark.parametrize(
    ("spec", "each"),
    [
        ("*", set(range(24))),
        ("*/6", {0, 6, 12, 18}),
        ("0-23", set(range(24))),
        (range(24), set(range(24))),
        ("2", set()),
        ("1-5", set()),
        ({1, 2}, set()),
        ("2,8-17/3", {8, 11, 14, 17}),
    ],
)
def test_hours_with_a_star_or_a_step_are_meant_as_every_so_often(
    spec: Cronspec, each: set[int]
) -> None:
    assert elapsing(spec, expand("hour", spec, 24)) == each


def days_one_by_one(
    start: date, months: Iterable[int], days: Iterable[int], weekdays: Iterable[int], most: int
) -> date | None:
    for ahead in range(most):
        day = start + timedelta(days=ahead)
        if day.month in months and day.day in days and day.isoweekday() % 7 in weekdays:
            return day
    return None


@given(
    start=st.dates(date(1890, 1, 1), date(2110, 1, 1)),
    months=st.sets(st.integers(1, 12), min_size=1),
    days=st.sets(st.integers(1, 31), min_size=1),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
)
def test_the_next_day_is_the_first_of_all_that_match(
    start: date, months: set[int], days: set[int], weekdays: set[int]
) -> None:
    calendar = Days(months, days, weekdays)
    found = calendar.at_or_after(start.year, start.month, start.day)
    wanted = days_one_by_one(start, months, days, weekdays, 1000)
    assert calendar.has(start) == (wanted == start)
    if wanted is not None:
        assert found == (wanted.year, wanted.month, wanted.day)
    elif found is not None:
        assert date(*found) > start + timedelta(days=999)
        assert calendar.has(date(*found))
        assert calendar.ever()
    else:
        assert not calendar.ever()


@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize("year", [1896, 1999, 2000, 2096])
def test_29_february_meets_each_weekday_within_40_years(weekday: int, year: int) -> None:
    found = Days([2], [29], [weekday]).at_or_after(year, 3, 1)
    assert found is not None
    assert year < found.year <= year + 40
    assert date(*found).isoweekday() % 7 == weekday


def test_the_calendar_ends_with_the_year_9999() -> None:
    assert Days([1], [1], range(7)).at_or_after(9999, 1, 2) is None
    days, times = Days([12], [31], range(7)), Times((23,), (58,))
    assert Calendar(days, times).after(wall("9999-12-31T23:58")) is None


@given(
    hours=st.sets(st.integers(0, 23), min_size=1),
    minutes=st.sets(st.integers(0, 59), min_size=1),
    hour=st.integers(0, 23),
    minute=st.integers(0, 60),
)
def test_the_next_time_of_a_day_is_the_first_of_all(
    hours: set[int], minutes: set[int], hour: int, minute: int
) -> None:
    found = Times(tuple(sorted(hours)), tuple(sorted(minutes))).at_or_after(hour, minute)
    every = sorted((one, other) for one in hours for other in minutes)
    assert found == next((time for time in every if time >= (hour, minute)), None)


def test_seconds_count_up_to_the_next_minute() -> None:
    calendar = Calendar(
        Days(range(1, 13), range(1, 32), range(7)), Times(tuple(range(24)), (0, 30))
    )
    assert calendar.at_or_after(wall("2026-01-01T08:30")) == wall("2026-01-01T08:30")
    assert calendar.at_or_after(wall("2026-01-01T08:30:01")) == wall("2026-01-01T09:00")
    assert calendar.after(wall("2026-01-01T08:30")) == wall("2026-01-01T09:00")
    assert calendar.after(wall("2025-12-31T23:59:59.999999")) == wall("2026-01-01T00:00")

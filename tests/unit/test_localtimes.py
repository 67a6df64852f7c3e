"""Local times, against an oracle that looks at every minute around every change of every zone's clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.cron import Calendar, Days, Times
from umbel.localtimes import (
    aware,
    first_moment,
    last_boundary,
    next_each,
    next_first,
    second_moment,
)

MINUTE = timedelta(minutes=1)
ZONES = sorted(available_timezones() - {"localtime"})


@cache
def changes(name: str) -> list[datetime]:
    """Return when a zone's clocks are turned between 1960 and 2037, in UTC, to the second."""
    zone, found = ZoneInfo(name), []
    step = timedelta(days=25)
    low = datetime(1960, 1, 1, tzinfo=UTC)
    before = low.astimezone(zone).utcoffset()
    while low.year < 2038:
        high = low + step
        after = high.astimezone(zone).utcoffset()
        if before != after:
            found.append(turned(zone, low, high))
        low, before = high, after
    return found


def turned(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return when the clocks were turned between two moments."""
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@st.composite
def zones_and_moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """Draw a zone, and a moment that is close to a change of its clocks if it has any."""
    name = draw(st.sampled_from(ZONES))
    around = changes(name) or [datetime(2026, 1, 1, tzinfo=UTC)]
    away = timedelta(seconds=draw(st.integers(-100_000, 100_000)))
    return ZoneInfo(name), draw(st.sampled_from(around)) + away


calendars = st.builds(
    lambda hours, minutes, weekdays: Calendar(
        Days(range(1, 13), range(1, 32), weekdays),
        Times(tuple(sorted(hours)), tuple(sorted(minutes))),
    ),
    st.sets(st.integers(0, 23), min_size=1) | st.sets(st.integers(0, 3), min_size=1),
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    st.just(set(range(7))) | st.sets(st.integers(0, 6), min_size=6),
)


def has(calendar: Calendar, wall: datetime) -> bool:
    times = calendar.times
    return wall.hour in times.hours and wall.minute in times.minutes and calendar.days.has(wall)


def minutes_shown(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield each moment at which a minute of the wall's clock begins, with what it shows, without a zone."""
    moment = start.replace(microsecond=0)
    while moment < end:
        wall = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if wall.second:
            # To the next full minute, or to a change of the clocks, whichever is first.
            moment += timedelta(seconds=1)
        else:
            yield moment, wall
            ahead = (moment + MINUTE).astimezone(zone).replace(tzinfo=None, fold=0)
            moment += MINUTE if ahead - wall == MINUTE else timedelta(seconds=1)


def each_one_by_one(calendar: Calendar, moment: datetime, zone: ZoneInfo) -> datetime | None:
    shown = minutes_shown(zone, moment, moment + timedelta(days=3))
    return next((at for at, wall in shown if at > moment and has(calendar, wall)), None)


def first_one_by_one(calendar: Calendar, moment: datetime, zone: ZoneInfo) -> datetime | None:
    """Go through all times of the wall from a day before, and note when each was shown, or had to be."""
    latest: datetime | None = None
    for at, wall in minutes_shown(zone, moment - timedelta(days=2), moment + timedelta(days=3)):
        if latest is not None and wall > latest + MINUTE:
            left_out = latest + MINUTE
            while left_out < wall:
                if has(calendar, left_out) and at > moment:
                    # The clock was turned forward after the minute before, to the second.
                    return max((one for one in changes(zone.key) if one <= at), default=at)
                left_out += MINUTE
        if latest is None or wall > latest:
            if has(calendar, wall) and at > moment:
                return at
            latest = wall
    return None


@settings(max_examples=25)
@given(zones_and_moments(), calendars)
def test_what_is_due_every_so_often_is_due_whenever_it_is_shown(
    place: tuple[ZoneInfo, datetime], calendar: Calendar
) -> None:
    zone, moment = place
    wanted = each_one_by_one(calendar, moment, zone)
    found = next_each(calendar, moment, zone)
    if wanted is None:
        assert found is None or found > moment + timedelta(days=2)
    else:
        assert found == wanted


@settings(max_examples=25)
@given(zones_and_moments(), calendars)
def test_what_is_due_at_times_of_a_day_is_due_when_they_are_shown_first(
    place: tuple[ZoneInfo, datetime], calendar: Calendar
) -> None:
    zone, moment = place
    wanted = first_one_by_one(calendar, moment, zone)
    found = next_first(calendar, moment, zone)
    if wanted is None:
        assert found is None or found > moment + timedelta(days=2)
    else:
        assert found == wanted


PARIS = ZoneInfo("Europe/Paris")
EVERY_DAY = Days(range(1, 13), range(1, 32), range(7))


def times(hours: tuple[int, ...], minutes: tuple[int, ...]) -> Calendar:
    return Calendar(EVERY_DAY, Times(hours, minutes))


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(moments: list[datetime], zone: ZoneInfo) -> list[str]:
    return [moment.astimezone(zone).strftime("%H:%M %Z") for moment in moments]


def test_turned_back_every_20_minutes_goes_on_without_a_gap() -> None:
    moment, found = utc("2026-10-24T23:50"), []
    for _ in range(9):
        moment = next_each(times(tuple(range(24)), (0, 20, 40)), moment, PARIS) or moment
        found.append(moment)
    assert {b - a for a, b in pairwise(found)} == {20 * MINUTE}
    assert shown(found, PARIS) == [
        *("02:00 CEST", "02:20 CEST", "02:40 CEST", "02:00 CET", "02:20 CET", "02:40 CET"),
        *("03:00 CET", "03:20 CET", "03:40 CET"),
    ]


def test_turned_back_a_time_of_day_counts_once() -> None:
    first = next_first(times((2,), (30,)), utc("2026-10-24T22:00"), PARIS)
    assert first == utc("2026-10-25T00:30")
    assert next_first(times((2,), (30,)), first, PARIS) == utc("2026-10-26T01:30")
    # Also while the clock shows it once more.
    again = utc("2026-10-25T01:10")
    assert next_first(times((2,), (30,)), again, PARIS) == utc("2026-10-26T01:30")


def test_turned_forward_a_time_that_is_left_out_counts_at_once() -> None:
    before, turned = utc("2026-03-29T00:59"), utc("2026-03-29T01:00")
    assert next_first(times((2,), (0, 20, 40)), before, PARIS) == turned
    assert next_first(times((2, 3), (0, 20)), before, PARIS) == turned
    assert next_first(times((2, 3), (0, 20)), turned, PARIS) == turned + 20 * MINUTE
    assert next_first(times((2,), (30,)), turned, PARIS) == utc("2026-03-30T00:30")


def test_turned_forward_every_so_often_leaves_out_what_is_left_out() -> None:
    before = utc("2026-03-29T00:59")
    assert next_each(times((0, 2, 4), (0,)), before, PARIS) == utc("2026-03-29T02:00")
    assert next_each(times(tuple(range(24)), (0, 30)), before, PARIS) == utc("2026-03-29T01:00")


def test_a_day_that_is_left_out_counts_when_the_next_begins() -> None:
    apia = ZoneInfo("Pacific/Apia")  # went from 29 to 31 December 2011
    noon = times((12,), (0,))
    found = next_first(noon, datetime(2011, 12, 29, 12, tzinfo=apia), apia)
    assert found == datetime(2011, 12, 31, 0, tzinfo=apia)
    assert next_first(noon, found, apia) == datetime(2011, 12, 31, 12, tzinfo=apia)


def test_midnight_may_be_left_out() -> None:
    cairo = ZoneInfo("Africa/Cairo")
    found = next_first(times((0,), (0,)), datetime(2026, 4, 23, 23, 0, tzinfo=cairo), cairo)
    assert found == datetime(2026, 4, 24, 1, 0, tzinfo=cairo)


def test_a_change_is_found_to_the_second() -> None:
    monrovia = ZoneInfo(
        "Africa/Monrovia"
    )  # its clocks were turned forward by 44 minutes and 30 seconds
    assert first_moment(wall("1972-01-07T00:10"), monrovia) == utc("1972-01-07T00:44:30")
    assert next_first(times((0,), (10,)), utc("1972-01-07T00:00"), monrovia) == utc(
        "1972-01-07T00:44:30"
    )


def test_what_has_no_zone_is_in_utc() -> None:
    assert aware(wall("2026-01-01T12:00")) == utc("2026-01-01T12:00")
    assert aware(wall("2026-01-01T12:00"), PARIS).hour == 13
    assert aware(datetime(2026, 1, 1, 12, tzinfo=PARIS)) == utc("2026-01-01T11:00")


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        ("2026-10-24T23:45", "2026-10-24T23:00"),
        ("2026-10-25T00:45", "2026-10-25T00:00"),  # 02:45 the first time
        ("2026-10-25T01:45", "2026-10-25T01:00"),  # and the second
        ("2026-03-29T01:00", "2026-03-29T01:00"),  # 03:00, when 02:00 would have been
        ("2026-03-29T00:59:59", "2026-03-29T00:00"),
    ],
)
def test_the_last_full_hour(moment: str, hour: str) -> None:
    assert last_boundary(utc(moment), timedelta(hours=1), PARIS) == utc(hour)


@settings(max_examples=25)
@given(zones_and_moments())
def test_the_last_full_hour_is_not_after_a_moment(place: tuple[ZoneInfo, datetime]) -> None:
    zone, moment = place
    found = last_boundary(moment, timedelta(hours=1), zone)
    assert moment - timedelta(hours=3) < found <= moment or zone.key == "Pacific/Kwajalein"


def test_a_time_that_is_shown_twice_has_two_moments() -> None:
    assert first_moment(wall("2026-10-25T02:30"), PARIS) == utc("2026-10-25T00:30")
    assert second_moment(wall("2026-10-25T02:30"), PARIS) == utc("2026-10-25T01:30")
    assert second_moment(wall("2026-10-25T04:00"), PARIS) == utc("2026-10-25T03:00")

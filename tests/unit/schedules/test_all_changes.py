"""Every change of the clocks of every zone, from 2000 to 2040: crontabs against a look at each minute.

Zones whose clocks are turned at the same moment by the same time are looked at once; with UMBEL_ALL_ZONES=1
each for itself, which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import contains
from zoneinfo import ZoneInfo

import pytest

from tests.unit.schedules.zones import ZONES
from umbel.schedules import crontab

FIRST, LAST = 2000, 2040
#: How many tests share the work.
PARTS = 6
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
#: Minute, hour, day of the week, day of the month and month, as a clock on the wall shows them.
Time = tuple[int, int, int, int, int]
#: How much of the time before and after a change is looked at.
AROUND = 26 * HOUR


@dataclass(frozen=True)
class Change:
    """When a zone's clocks are turned, and how far they are ahead of UTC before and after it."""

    moment: datetime
    before: timedelta
    after: timedelta


def changes(zone: ZoneInfo) -> Iterator[Change]:
    """Yield the changes of a zone, found by looking at each day and then by halving."""

    def ahead(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta()

    day, end = datetime(FIRST, 1, 1, tzinfo=UTC), datetime(LAST + 1, 1, 1, tzinfo=UTC)
    before = ahead(day)
    while day < end:
        following = day + DAY
        after = ahead(following)
        if after != before:
            low, high = day, following
            while high - low > MINUTE:
                middle = low + (high - low) // MINUTE // 2 * MINUTE
                low, high = (low, middle) if ahead(middle) == after else (middle, high)
            yield Change(high, before, after)
        day, before = following, after


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute around a change: what the clock shows, whether for the first time, and what it left out."""

    moment: datetime
    shown: Time
    is_first: bool
    left_out: tuple[Time, ...] = ()


def minutes(change: Change) -> Iterator[Minute]:
    """Yield what the clock shows around a change."""
    start = (change.moment - AROUND).replace(tzinfo=None)
    before, after = int(change.before / MINUTE), int(change.after / MINUTE)
    turned = int(AROUND / MINUTE)
    newest = before - 1
    for number in range(2 * turned):
        wall = number + (before if number < turned else after)
        gap = range(newest + 1, wall) if number == turned else ()
        left_out = tuple(time_of(start + one * MINUTE) for one in gap)
        moment = (start + number * MINUTE).replace(tzinfo=UTC)
        yield Minute(moment, time_of(start + wall * MINUTE), wall > newest, left_out)
        newest = max(newest, wall)


def time_of(wall: datetime) -> Time:
    return wall.minute, wall.hour, wall.isoweekday() % 7, wall.day, wall.month


def expected(around: Sequence[Minute], one: crontab, each: bool) -> list[datetime]:
    """Return when a crontab is due, by looking at each minute.

    With `each` whenever the clock shows it, else once a day: when it is shown first, or else at the change.
    """
    minute = one.minute
    others = (one.hour, one.day_of_week, one.day_of_month, one.month_of_year)

    def matches(time: Time) -> bool:
        return time[0] in minute and all(map(contains, others, time[1:]))

    return [
        found.moment
        for found in around
        if (found.shown[0] in minute and (each or found.is_first) and matches(found.shown))
        or (found.left_out and not each and any(map(matches, found.left_out)))
    ]


def crontabs(change: Change) -> Iterator[tuple[crontab, bool]]:
    """Yield crontabs of each kind that have to do with a change, and whether they are due each time."""
    yield crontab(0), True
    yield crontab("*/20"), True
    yield crontab("5-55/10", "*/2"), True
    old, new = change.moment + change.before, change.moment + change.after
    for wall in (old, new, old - HOUR):
        weekday = wall.isoweekday() % 7
        yield crontab(30, wall.hour), False
        yield crontab([0, 45], [wall.hour, (wall.hour + 12) % 24], day_of_month=wall.day), False
        yield crontab(15, f"{wall.hour}-{min(wall.hour + 2, 23)}", day_of_week=weekday), False


def mistakes(zone: ZoneInfo, change: Change) -> Iterator[str]:
    """Yield what is wrong around a change."""
    start, end = change.moment - AROUND, change.moment + AROUND
    around = list(minutes(change))
    for one, each in crontabs(change):
        one.tz = zone
        found, moment = [], one.next_after(start - MINUTE)
        while moment is not None and moment < end:
            found.append(moment.astimezone(UTC))
            moment = one.next_after(moment)
        wanted = expected(around, one, each)
        if found != wanted:
            odd = sorted(set(found) ^ set(wanted))[:4]
            yield f"{zone.key} {change.moment} {one!r}: {[str(time) for time in odd]}"


@cache
def to_look_at() -> tuple[list[tuple[str, Change]], int]:
    """Return changes with their zones, and how many are left out since another one is near."""
    found: list[tuple[str, Change]] = []
    seen: set[Change] = set()
    left_out = 0
    for key in ZONES:
        of_zone = list(changes(ZoneInfo(key)))
        for change in of_zone:
            if sum(abs(one.moment - change.moment) < 2 * AROUND for one in of_zone) > 1:
                left_out += 1
            elif change not in seen or os.environ.get("UMBEL_ALL_ZONES"):
                seen.add(change)
                found.append((key, change))
    return found, left_out


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_there_are_no_gaps_and_no_doubles(part: int) -> None:
    """C1, in all zones; in parts, each of which takes less than a test may."""
    found, left_out = to_look_at()
    print(f"{len(ZONES)} zones, {len(found)} changes, {left_out} left out")
    assert len(found) > 1000
    wrong = [text for key, change in found[part::PARTS] for text in mistakes(ZoneInfo(key), change)]
    assert wrong == []

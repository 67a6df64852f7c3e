"""Crontab fields, and the calendar that they make: pure, and without time zones.

The fields and their notation are Celery's (celery/schedules.py), which took them from cron: numbers, names,
ranges, which may wrap around, steps, and lists of these, as a text; or numbers as such.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import isleap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime
from typing import NamedTuple

Cronspec = int | str | Iterable[int]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: As in Celery a name stands for its number in any field, and only its first three letters count.
_NAMES = {
    **{name: number for number, name in enumerate(_WEEKDAYS)},
    **{name: number for number, name in enumerate(_MONTHS, 1)},
}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w*))?")


class ParseException(ValueError):
    """A text is no crontab field."""


class crontab_parser:
    """Expands crontab fields whose numbers begin with `min_`, of which there are `max_`.

    ``crontab_parser(24).parse("8-17/2")`` is ``{8, 10, 12, 14, 16}``.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that a field stands for.

        Raises ParseException for what has no meaning, ValueError for what is out of range.
        """
        return {number for part in spec.split(",") for number in self._part(part.strip(), spec)}

    def _part(self, part: str, spec: str) -> list[int]:
        if not part:
            raise ParseException(f"{spec!r} has an empty part.")
        if part.startswith("-"):
            raise ParseException(f"{part!r} begins with a minus; there are no negative numbers.")
        found = _PART.fullmatch(part)
        if found is None:
            raise ParseException(
                f"{part!r} is no number, range or step, such as 5, 1-5, mon-fri, */15 or 8-17/2."
            )
        numbers = self._numbers(found)
        if found["step"] is None:
            return numbers
        if not found["step"].isdecimal() or not int(found["step"]):
            raise ParseException(
                f"{part!r} has no step: write a number, 1 or more, after the slash."
            )
        if found["first"] and not found["last"]:
            raise ParseException(
                f"{part!r} has a step but no range to step through: write {found['first']}-"
                f"{self.min_ + self.max_ - 1}/{found['step']}, or */{found['step']}."
            )
        return numbers[:: int(found["step"])]

    def _numbers(self, part: re.Match[str]) -> list[int]:
        end = self.min_ + self.max_
        if part["star"]:
            return list(range(self.min_, end))
        first = self._number(part["first"])
        last = first if part["last"] is None else self._number(part["last"])
        if last < first:  # around the end: 22-3 of hours, fri-mon
            return [*range(first, end), *range(self.min_, last + 1)]
        return list(range(first, last + 1))

    def _number(self, text: str) -> int:
        number = int(text) if text.isdecimal() else _NAMES.get(text[:3].lower())
        if number is None:
            raise ParseException(f"{text!r} is no number, and no name of a weekday or a month.")
        if not self.min_ <= number < self.min_ + self.max_:
            raise ValueError(
                f"{text!r} is out of range: it must be {self.min_} to {self.min_ + self.max_ - 1}."
            )
        return number


def expand(field: str, spec: Cronspec, max_: int, min_: int = 0) -> set[int]:
    """Return the numbers of a field, which begin with `min_` and of which there are `max_`.

    Raises ValueError for a wrong one, TypeError for what is neither number, text nor iterable of numbers.
    """
    try:
        if isinstance(spec, str):
            return crontab_parser(max_, min_).parse(spec)
    except ValueError as error:
        raise type(error)(f"In the field {field} of a crontab: {error}") from None
    found = _given(field, spec)
    for number in found:
        if not min_ <= number < min_ + max_:
            raise ValueError(
                f"In the field {field} of a crontab: {number} is out of range: it must be {min_} to"
                f" {min_ + max_ - 1}."
            )
    return found


def _given(field: str, spec: int | Iterable[int]) -> set[int]:
    if isinstance(spec, int):
        return {spec}
    try:
        found = spec if isinstance(spec, set) else set(spec)
    except TypeError:
        found = {None}  # is refused below
    if not all(isinstance(number, int) for number in found):
        raise TypeError(
            f"The field {field} of a crontab is {spec!r}, but must be a number, a text such as '*/15', or"
            " numbers as a list, set or other iterable."
        )
    return found


def elapsing(spec: Cronspec, hours: Iterable[int]) -> set[int]:
    """Return those hours of a field that are meant as "every so often" and not as times of a day.

    Those are all where every hour is in the field, and else those that a part with a star or a step has.
    """
    found = set(hours)
    if len(found) == 24:
        return found
    if not isinstance(spec, str):
        return set()
    parts = [part for part in spec.split(",") if "*" in part or "/" in part]
    return crontab_parser(24).parse(",".join(parts)) if parts else set()


class Day(NamedTuple):
    """A day of the calendar."""

    year: int
    month: int
    day: int


@dataclass(frozen=True, slots=True)
class Times:
    """The minutes of days at which something is due."""

    hours: tuple[int, ...]
    minutes: tuple[int, ...]

    def at_or_after(self, hour: int, minute: int) -> tuple[int, int] | None:
        """Return the first one of a day that is not before this."""
        place = bisect_left(self.hours, hour)
        if place == len(self.hours):
            return None
        if self.hours[place] > hour:
            return self.hours[place], self.minutes[0]
        at = bisect_left(self.minutes, minute)
        if at < len(self.minutes):
            return hour, self.minutes[at]
        return (self.hours[place + 1], self.minutes[0]) if place + 1 < len(self.hours) else None


class Days:
    """The days on which something is due: those that month, day of month and day of week all allow.

    Days of a month are bits of a number, so that a month's days are found at once, without looking at each.
    """

    def __init__(self, months: Iterable[int], days: Iterable[int], weekdays: Iterable[int]) -> None:
        self._months = sorted(months)
        self._days = sum(1 << day for day in set(days))
        chosen = set(weekdays)
        #: By the weekday of a month's first day, counted from Monday: the days with a chosen weekday.
        self._of_weekdays = [
            sum(1 << day for day in range(1, 32) if (first + day) % 7 in chosen)
            for first in range(7)
        ]

    def ever(self) -> bool:
        """Tell whether there are any. Each day of the year falls on each weekday in some year."""
        return any(self._of_weekdays) and any(
            self._days & _until(_DAYS[month - 1]) for month in self._months
        )

    def has(self, day: date) -> bool:
        """Tell whether a day is one of them."""
        return day.month in self._months and bool(self._in(day.year, day.month) >> day.day & 1)

    def at_or_after(self, year: int, month: int, day: int) -> Day | None:
        """Return the first one that is not before this; None when there is none up to the year 9999.

        Looks at most at the chosen months of 40 years: that long 29 February may take to meet a weekday.
        """
        place = bisect_left(self._months, month)
        if place < len(self._months) and self._months[place] != month:
            day = 1
        while year <= MAXYEAR:
            for chosen in self._months[place:]:
                found = self._in(year, chosen) >> day
                if found:
                    return Day(year, chosen, day + (found & -found).bit_length() - 1)
                day = 1
            year, place, day = year + 1, 0, 1
        return None

    def _in(self, year: int, month: int) -> int:
        length = 28 if month == 2 and not isleap(year) else _DAYS[month - 1]
        first = date(year, month, 1).weekday()
        return self._days & self._of_weekdays[first] & _until(length)


def _until(day: int) -> int:
    """Return the bits of the days 1 to `day`."""
    return (2 << day) - 2


@dataclass(frozen=True, slots=True)
class Calendar:
    """What is due at some times of some days, as a clock on the wall shows them."""

    days: Days
    times: Times

    def at_or_after(self, wall: datetime) -> datetime | None:
        """Return the first one that is not before this, both without a zone; None when there is none."""
        if wall.second or wall.microsecond:
            minute = wall.replace(second=0, microsecond=0)
            return self._from(minute.year, minute.month, minute.day, minute.hour, minute.minute + 1)
        return self._from(wall.year, wall.month, wall.day, wall.hour, wall.minute)

    def after(self, wall: datetime) -> datetime | None:
        """Return the first one after this."""
        return self._from(wall.year, wall.month, wall.day, wall.hour, wall.minute + 1)

    def _from(self, year: int, month: int, day: int, hour: int, minute: int) -> datetime | None:
        """Return the first one from this on; the minute may be the 60th."""
        found = self.days.at_or_after(year, month, day)
        if found is None:
            return None
        if found == (year, month, day):
            time = self.times.at_or_after(hour, minute)
            if time is not None:
                return datetime(*found, *time)  # noqa: DTZ001 - a wall clock
            found = self.days.at_or_after(year, month, day + 1)
            if found is None:
                return None
        return datetime(*found, self.times.hours[0], self.times.minutes[0])  # noqa: DTZ001

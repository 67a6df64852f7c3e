"""At times of the clock and days of the calendar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self
from zoneinfo import ZoneInfo

from umbel.cron import Calendar, Cronspec, Days, Times, elapsing, expand
from umbel.lazy import lazy
from umbel.localtimes import aware, next_each, next_first
from umbel.schedules.base import NEVER, BaseSchedule, schedstate

_STEP = timedelta(microseconds=1)


class crontab(BaseSchedule):
    """At minutes, hours and days as in crontab(5): ``crontab(minute=0, hour=4, day_of_week="mon-fri")``.

    Each field is a number, a text such as ``"*/15"``, ``"8-17/2"``, ``"fri-mon"`` or ``"1,15"``, or an
    iterable of numbers. Sunday is 0. A day must be allowed by all three of `day_of_week`, `day_of_month` and
    `month_of_year`. `nowfun` and `app` are as for every schedule; times are those of the app's time zone.

    When clocks are turned back or forward, a time of day counts once a day: when it is shown first, or as
    soon as the clock has been turned forward over it. Hours with a star or a step, as in ``"*/2"``, count
    whenever the clock shows them, so ``crontab(minute="*/20")`` is due every 20 minutes all night.

    Raises ValueError for a field that is out of range or cannot be read (ParseException), and for days that
    there are not, such as 31 February; TypeError for what is no field.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute = _field(minute)
        self._orig_hour = _field(hour)
        self._orig_day_of_week = _field(day_of_week)
        self._orig_day_of_month = _field(day_of_month)
        self._orig_month_of_year = _field(month_of_year)
        self._orig_kwargs = kwargs
        self.minute = expand("minute", self._orig_minute, 60)
        self.hour = expand("hour", self._orig_hour, 24)
        self.day_of_week = expand("day_of_week", self._orig_day_of_week, 7)
        self.day_of_month = expand("day_of_month", self._orig_day_of_month, 31, 1)
        self.month_of_year = expand("month_of_year", self._orig_month_of_year, 12, 1)
        self._refuse_never()
        super().__init__(**kwargs)

    def _refuse_never(self) -> None:
        for field in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year"):
            if not getattr(self, field):
                raise ValueError(
                    f"A crontab whose {field} is empty is never due. Leave the field out if all are meant."
                )
        if not self._days.ever():
            raise ValueError(
                f"A crontab with day_of_month {self._orig_day_of_month!r} and month_of_year"
                f" {self._orig_month_of_year!r} is never due: there is no such day."
            )

    @classmethod
    def from_string(cls, crontab: str) -> Self:
        """Return a crontab of a line's five fields: minute, hour, day of month, month, day of week."""
        fields = crontab.split()
        if len(fields) != 5:
            raise ValueError(
                f"The crontab {crontab!r} has {len(fields)} fields, but must have 5: minute, hour, day of the"
                " month, month, day of the week."
            )
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    # When it is due

    @lazy
    def _days(self) -> Days:
        return Days(self.month_of_year, self.day_of_month, self.day_of_week)

    @lazy
    def _calendars(self) -> tuple[Calendar | None, Calendar | None]:
        """What is due once at each time of a day, and what is due whenever the clock shows it."""
        each = elapsing(self._orig_hour, self.hour)
        return self._calendar(self.hour - each), self._calendar(each)

    def _calendar(self, hours: set[int]) -> Calendar | None:
        if not hours:
            return None
        return Calendar(self._days, Times(tuple(sorted(hours)), tuple(sorted(self.minute))))

    def next_after(self, moment: datetime) -> datetime | None:
        """Return when this is due next after a moment, in this schedule's time zone."""
        return self._next(moment, self.tz)

    def _next(self, moment: datetime, zone: tzinfo) -> datetime | None:
        moment = aware(moment)
        first, each = self._calendars
        try:
            due = [next_first(first, moment, zone)] if first else []
            if each:
                due.append(next_each(each, moment, zone))
            found = [one for one in due if one is not None]
            return min(found).astimezone(zone) if found else None
        except OverflowError:  # the year 10000 begins
            return None

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether this is due, by its last run, and in how many seconds to look again.

        What is later than the setting beat_cron_starting_deadline is not made up for.
        """
        seconds = self.remaining_estimate(last_run_at).total_seconds()
        if seconds > 0:
            return schedstate(False, min(seconds, NEVER))
        return schedstate(not self._is_too_late(), self._after_now())

    def _is_too_late(self) -> bool:
        """Tell whether the deadline of a start has passed for all times at which this was due."""
        deadline = self.app.conf.beat_cron_starting_deadline
        if deadline is None:
            return False
        now = aware(self.now())
        # A time exactly as long ago as the deadline says is still within it.
        found = self.next_after(now - timedelta(seconds=deadline) - _STEP)
        return found is None or found > now

    def remaining_delta(
        self, last_run_at: datetime, tz: str | tzinfo | None = None
    ) -> tuple[datetime, timedelta, datetime]:
        """Return the last run, how far the clock on the wall moves until the next one, and the time.

        All are of the zone `tz`, else this schedule's. Added to the first, the second is the next run.
        """
        zone = ZoneInfo(tz) if isinstance(tz, str) else tz or self.tz
        last = aware(last_run_at, zone)
        found = self._next(last, zone)
        delta = timedelta.max if found is None else _wall(found) - _wall(last)
        return last, delta, aware(self.now(), zone)

    # What it looks like

    def __repr__(self) -> str:
        return (
            f"<crontab: {self._orig_minute} {self._orig_hour} {self._orig_day_of_month}"
            f" {self._orig_month_of_year} {self._orig_day_of_week} (m/h/dM/MY/d)>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return type(self), fields, self._orig_kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__init__(**state)
        self._orig_kwargs = dict(state)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            return (
                other.month_of_year == self.month_of_year
                and other.day_of_month == self.day_of_month
                and other.day_of_week == self.day_of_week
                and other.hour == self.hour
                and other.minute == self.minute
                and super().__eq__(other)
            )
        return NotImplemented

    __hash__ = None


def _field(spec: Cronspec | None) -> Cronspec:
    """Return a field as it is kept; one that can be read only once as what it gives."""
    if spec is None:
        return "*"
    if isinstance(spec, int | str | set | frozenset | list | tuple | range):
        return spec
    return list(spec) if hasattr(spec, "__iter__") else spec


def _wall(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None, fold=0)

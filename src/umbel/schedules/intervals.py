"""Every so many seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, cast

from umbel.localtimes import aware, first_moment, last_boundary, second_moment
from umbel.schedules.base import NEVER, BaseSchedule, schedstate

if TYPE_CHECKING:
    from umbel.app import Umbel

_DAY = timedelta(days=1)
#: The units to which a relative schedule is rounded, beside days.
_UNITS = (timedelta(hours=1), timedelta(minutes=1))


class schedule(BaseSchedule):
    """Every `run_every`: seconds, or a timedelta.

    With `relative` it is due at the unit that its interval is of: every 2 hours at full hours, every day at
    midnight; else as long after its last run. `nowfun` and `app` are as for every schedule.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Umbel | None = None,
    ) -> None:
        self.run_every = _interval(run_every)
        self.relative = relative
        super().__init__(nowfun, app)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return when this is due next after it was due at a moment."""
        zone = self.tz
        start = aware(moment)
        try:
            if not self.relative:
                return (start + self.run_every).astimezone(zone)
            return _rounded(start, self.run_every, zone).astimezone(zone)
        except OverflowError:
            return None

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether this is due, by its last run, and in how many seconds to look again."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, min(left, NEVER))
        after = self._after_now() if self.relative else 0.0
        return schedstate(True, after or self.seconds)

    @property
    def seconds(self) -> float:
        """The interval in seconds."""
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        """The interval for people to read: ``5.00 minutes``."""
        return humanize_seconds(self.seconds)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return self.run_every == other.run_every
        return self.run_every == other

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)


def _interval(run_every: float | timedelta | None) -> timedelta:
    if run_every is None:  # of a subclass that has a rule of its own
        return cast("timedelta", None)
    if isinstance(run_every, timedelta):
        return run_every
    try:
        return timedelta(seconds=run_every)
    except TypeError:
        raise TypeError(
            f"The interval of a schedule is {run_every!r}, but must be a number of seconds or a timedelta."
        ) from None
    except (OverflowError, ValueError):
        raise ValueError(
            f"The interval of a schedule is {run_every!r} seconds, which is too long."
        ) from None


def _rounded(start: datetime, every: timedelta, zone: tzinfo) -> datetime:
    """Return the end of an interval, in UTC, at a full unit of the clock on the wall.

    It is the last one that an interval comes to, and always after its start. Days are those of the calendar.
    """
    if every >= _DAY:
        return _midnight(start, every, zone)
    end = start + every
    unit = next((unit for unit in _UNITS if every >= unit), None)
    if unit is None:
        second = end.replace(microsecond=0)
        return second if second > start else end
    found = last_boundary(end, unit, zone)
    # Clocks were turned back for less than the unit: the next full one may be further off than the interval.
    return found if found > start else last_boundary(end + unit, unit, zone)


def _midnight(start: datetime, every: timedelta, zone: tzinfo) -> datetime:
    wall = start.astimezone(zone).replace(tzinfo=None, fold=0) + every
    midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    first = first_moment(midnight, zone)
    return first if first > start else second_moment(midnight, zone)


def maybe_schedule(
    s: float | timedelta | BaseSchedule | None, relative: bool = False, app: Umbel | None = None
) -> Any:
    """Return a schedule: of seconds or a timedelta one of that interval, and a schedule itself with this app.

    Raises TypeError for anything else; None stays None.
    """
    if s is None:
        return None
    if isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    if not hasattr(s, "is_due"):
        raise TypeError(
            f"{s!r} is no schedule: it must be a number of seconds, a timedelta, a crontab(...) or another"
            " schedule of umbel.schedules."
        )
    s.app = app
    return s


_NAMES = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Return a number of seconds for people to read, as Celery writes it: ``5.00 minutes``.

    `prefix` and `sep` go before it. Less than a second is `now`, or with `microseconds` a number, too.
    """
    secs = round(secs, 2)
    for name, unit in _NAMES:
        if secs >= unit:
            count = secs / unit
            return f"{prefix}{sep}{count:.2f} {name}{'' if count == 1 else 's'}"
    return f"{prefix}{sep}{secs:.2f} seconds" if microseconds and secs > 0 else now

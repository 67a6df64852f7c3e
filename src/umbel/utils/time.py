"""What Celery has in ``celery.utils.time``: dates with time zones, and lengths of time."""

from __future__ import annotations

import numbers
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from umbel.absent import absent_from
from umbel.clock import SYSTEM, SYSTEM_ZONE, SystemZone, utc
from umbel.schedules.intervals import humanize_seconds

LocalTimezone = SystemZone
#: The days of the week as crontabs count them.
WEEKDAYS = {
    name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])
}
_RATES = {"s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))

__all__ = [
    "LocalTimezone",
    "adjust_timestamp",
    "delta_resolution",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
]


class _Timezone:
    """``timezone``: time zones by name, and dates in them."""

    utc = UTC
    local = SYSTEM_ZONE

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """Return a zone by its IANA name; a zone as it is."""
        if not isinstance(zone, str):
            return zone
        return UTC if zone.upper() == "UTC" else ZoneInfo(zone)

    def tz_or_local(self, tzinfo: str | tzinfo | None = None) -> tzinfo:
        """Return a zone; without one, the system's."""
        return SYSTEM_ZONE if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(
        self, dt: datetime, local: str | tzinfo | None = None, orig: tzinfo | None = None
    ) -> datetime:
        """Return a date in a zone, by default the system's; `orig`, or UTC, is that of a naive date."""
        return localize(
            make_aware(dt, orig or UTC) if is_naive(dt) else dt, self.tz_or_local(local)
        )

    def to_system(self, dt: datetime) -> datetime:
        """Return a date in the system's zone."""
        return localize(dt, SYSTEM_ZONE)

    def to_local_fallback(self, dt: datetime) -> datetime:
        """Return a date in the system's zone, whose naive ones are its own."""
        return localize(make_aware(dt, SYSTEM_ZONE) if is_naive(dt) else dt, SYSTEM_ZONE)


timezone = _Timezone()


def is_naive(dt: datetime) -> bool:
    """Tell whether a date has no time zone."""
    return dt.utcoffset() is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """Return a date as one of a zone: what its clocks show stays, whatever zone the date had."""
    return dt.replace(tzinfo=tz)


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """Return a date in another zone; a naive one is taken to be in it."""
    return (make_aware(dt, tz) if is_naive(dt) else dt).astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """Return a date as one of UTC: what its clocks show stays."""
    return make_aware(dt, UTC)


def maybe_make_aware(dt: Any, tz: str | tzinfo | None = None, naive_as_utc: bool = True) -> Any:
    """Return a naive date in a zone, UTC by default; it is UTC's, or that zone's. All else as it is."""
    if not isinstance(dt, datetime) or not is_naive(dt):
        return dt
    zone = UTC if tz is None else timezone.tz_or_local(tz)
    return localize(to_utc(dt) if naive_as_utc else make_aware(dt, zone), zone)


def maybe_timedelta(delta: Any) -> Any:
    """Return a number of seconds as a timedelta; anything else as it is."""
    return timedelta(seconds=float(delta)) if isinstance(delta, numbers.Real) else delta


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """Return the date of a text in ISO 8601; dates, and None, as they are."""
    return datetime.fromisoformat(dt) if isinstance(dt, str) else dt


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """Return a date rounded down to days, hours or minutes: the largest that `delta` is as long as."""
    seconds = max(delta.total_seconds(), 0)
    below = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    for name, (_, length) in zip(("hour", "minute", "second"), _UNITS, strict=False):
        if seconds >= length:
            return dt.replace(**below)  # type: ignore[arg-type]
        del below[name]
    return dt


def remaining(
    start: datetime, ends_in: timedelta, now: datetime | None = None, relative: bool = False
) -> timedelta:
    """Return how long it is until `ends_in` after `start`; less than nothing if that has passed.

    That is time that really passes, whatever clocks do in between. With `relative` the end is rounded down
    as `delta_resolution` does, on the clocks of the zone of `start`; days are counted on them too.
    """
    moment = now or utc(SYSTEM.time())
    if relative and ends_in >= timedelta(days=1):
        end = start + ends_in
    else:
        end = (start.astimezone(UTC) + ends_in).astimezone(start.tzinfo)
    if relative:
        end = delta_resolution(end, ends_in).replace(microsecond=0)
    return end.astimezone(UTC) - moment.astimezone(UTC)


def rate(r: str | float | None) -> float:
    """Return how many a second a rate is, such as ``"10/m"``; 0 for none."""
    if not r:
        return 0
    if not isinstance(r, str):
        return float(r)
    number, _, unit = r.partition("/")
    return (float(number) or 0) / _RATES[unit or "s"]


def weekday(name: str) -> int:
    """Return the number of a day of the week, Sunday is 0. Raises KeyError for other names."""
    return WEEKDAYS[name[:3].lower()]


def utcoffset(time: Any = time, localtime: Callable[..., Any] = time.localtime) -> int:
    """Return how many hours UTC is ahead of the system's zone."""
    return int((time.altzone if localtime().tm_isdst else time.timezone) // 3600)


def adjust_timestamp(ts: float, offset: int, here: Callable[[], int] = utcoffset) -> float:
    """Return a timestamp of a machine whose `utcoffset` is given, as one of this machine."""
    return ts - (offset - here()) * 3600


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Return the pause before a retry in seconds: doubling, up to a maximum; by chance with `full_jitter`."""
    pause = min(maximum, factor * 2**retries)
    return max(0, random.randrange(pause + 1) if full_jitter else pause)


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)

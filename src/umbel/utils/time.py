"""What Celery has in ``celery.utils.time`` and schedulers of other packages import."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from umbel.absent import absent_from
from umbel.localtimes import aware
from umbel.schedules.intervals import humanize_seconds

__all__ = ["humanize_seconds", "is_naive", "maybe_make_aware", "maybe_timedelta"]


def is_naive(dt: datetime) -> bool:
    """Tell whether a datetime has no time zone."""
    return dt.utcoffset() is None


def maybe_make_aware(
    dt: datetime, tz: tzinfo | str | None = None, naive_as_utc: bool = True
) -> datetime:
    """Return a datetime that has a time zone as it is; one without in the zone `tz`, else in UTC.

    It is taken for UTC, or with `naive_as_utc` False for a time of that zone.
    """
    if not is_naive(dt):
        return dt
    zone = ZoneInfo(tz) if isinstance(tz, str) else tz or UTC
    return aware(dt, zone) if naive_as_utc else dt.replace(tzinfo=zone)


def maybe_timedelta(delta: float | timedelta) -> timedelta:
    """Return a number of seconds as a timedelta."""
    return delta if isinstance(delta, timedelta) else timedelta(seconds=delta)


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)

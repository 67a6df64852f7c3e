"""Schedules as they are written down: as JSON values, and as people type them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from umbel.cron import Cronspec
from umbel.schedules.base import BaseSchedule
from umbel.schedules.clocks import clocked
from umbel.schedules.crontabs import crontab
from umbel.schedules.intervals import schedule
from umbel.schedules.suns import solar

if TYPE_CHECKING:
    from umbel.app import Umbel

Written = Mapping[str, Any]


def schedule_as_data(found: Any) -> dict[str, Any] | None:
    """Return a schedule as JSON values; None for one of somebody's own, which only code can say."""
    kind = type(found)
    if getattr(found, "nowfun", None) is not None:
        return None
    if kind is schedule:
        relative = {"relative": True} if found.relative else {}
        return {"every": found.run_every.total_seconds(), **relative}
    if kind is crontab:
        return {"crontab": _line(found)}
    if kind is solar:
        return {"solar": [found.event, found.lat, found.lon]}
    if kind is clocked:
        return {"at": found.clocked_time.isoformat()}
    return None


def schedule_of_data(data: Written, app: Umbel | None = None) -> BaseSchedule:
    """Return the schedule that `schedule_as_data` wrote. Raises ValueError for anything else."""
    try:
        if "every" in data:
            return schedule(data["every"], bool(data.get("relative")), app=app)
        if "crontab" in data:
            found = crontab.from_string(data["crontab"])
            found.app = app
            return found
        if "solar" in data:
            return solar(*data["solar"], app=app)
        if "at" in data:
            return clocked(datetime.fromisoformat(data["at"]), app=app)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{dict(data)!r} is no schedule: {error}") from None
    raise ValueError(f"{dict(data)!r} is no schedule: it has none of every, crontab, solar and at.")


def _line(found: crontab) -> str:
    fields = (
        found._orig_minute,
        found._orig_hour,
        found._orig_day_of_month,
        found._orig_month_of_year,
        found._orig_day_of_week,
    )
    return " ".join(map(_field, fields))


def _field(spec: Cronspec) -> str:
    if isinstance(spec, str):
        return "".join(spec.split())  # "1, 15" is one field
    return str(spec) if isinstance(spec, int) else ",".join(map(str, sorted(spec)))


def shown_schedule(found: Any) -> str:
    """Return a schedule for people: ``every 5.00 minutes``, ``0 4 * * mon``."""
    kind = type(found)
    if kind is crontab:
        return _line(found)
    if kind is schedule:
        aligned = ", aligned" if found.relative else ""
        return f"every {_length(found.seconds)}{aligned}"
    if kind is solar:
        return f"{found.event} at {found.lat:g}, {found.lon:g}"
    if kind is clocked:
        return f"once, {found.clocked_time:%Y-%m-%d %H:%M:%S %Z}"
    return repr(found)


def _length(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"

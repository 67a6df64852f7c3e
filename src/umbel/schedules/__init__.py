"""When periodic tasks are due: intervals, crontabs, the sun, and one moment; Celery's ``celery.schedules``.

Each schedule is a function of time: `next_after` takes a moment and returns the next one, asks no clock and
does no I/O. What Celery's callers know, `is_due` and `remaining_estimate`, stands on it.
"""

from umbel.cron import ParseException, crontab_parser
from umbel.schedules.base import NEVER, BaseSchedule, schedstate
from umbel.schedules.clocks import clocked
from umbel.schedules.crontabs import crontab
from umbel.schedules.intervals import maybe_schedule, schedule
from umbel.schedules.suns import solar

__all__ = [
    "NEVER",
    "BaseSchedule",
    "ParseException",
    "clocked",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]

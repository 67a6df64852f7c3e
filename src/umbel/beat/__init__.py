"""Beat: sends periodic tasks when they are due. `Scheduler` and `ScheduleEntry` are Celery's ``celery.beat``.

One step is `Scheduler.tick`: it sends what is due and says how long to wait. `Service` makes these steps, in
one process of a fleet at a time. `PersistentScheduler` keeps its state where the whole fleet has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.absent import absent_from
from umbel.beat.entries import BeatLazyFunc, LiveEntry, ScheduleEntry
from umbel.beat.persistent import PersistentScheduler
from umbel.beat.scheduler import DEFAULT_MAX_INTERVAL, Scheduler, event_t
from umbel.beat.service import EmbeddedService, Service
from umbel.exceptions import SchedulingError
from umbel.periodic import Problem, check

__all__ = [
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "EmbeddedService",
    "LiveEntry",
    "PersistentScheduler",
    "Problem",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "check",
    "event_t",
]


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)

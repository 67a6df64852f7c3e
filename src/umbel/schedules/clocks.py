"""Once, at one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from umbel.localtimes import aware
from umbel.schedules.base import NEVER, BaseSchedule, schedstate

if TYPE_CHECKING:
    from umbel.app import Umbel


class clocked(BaseSchedule):
    """Once, at `clocked_time`; one without a time zone is in UTC. The name is django-celery-beat's.

    It is due until it has run, if that is late, and never again.
    """

    def __init__(
        self,
        clocked_time: datetime,
        nowfun: Callable[[], datetime] | None = None,
        app: Umbel | None = None,
    ) -> None:
        if not isinstance(clocked_time, datetime):
            raise TypeError(f"The time of clocked is {clocked_time!r}, but must be a datetime.")
        has_zone = clocked_time.tzinfo is not None and clocked_time.utcoffset() is not None
        self.clocked_time = clocked_time if has_zone else aware(clocked_time)
        super().__init__(nowfun, app)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the time when it is after this moment, else None."""
        return self.clocked_time if self.clocked_time > aware(moment) else None

    def remaining_estimate(self, last_run_at: datetime | None) -> timedelta:
        """Return how long it takes until then; negative when it is past."""
        return self.clocked_time - aware(self.now())

    def is_due(self, last_run_at: datetime | None) -> schedstate:
        """Tell whether the time has come and this has not run since; None is for what has never run."""
        if last_run_at is not None and aware(last_run_at) >= self.clocked_time:
            return schedstate(False, NEVER)
        seconds = self.remaining_estimate(None).total_seconds()
        return schedstate(False, seconds) if seconds > 0 else schedstate(True, NEVER)

    def __repr__(self) -> str:
        return f"<clocked: {self.clocked_time}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, clocked):
            return self.clocked_time == other.clocked_time
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.clocked_time, self.nowfun)

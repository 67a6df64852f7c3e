"""What all schedules have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from umbel.clock import SYSTEM_ZONE
from umbel.current import get_current_app
from umbel.localtimes import aware

if TYPE_CHECKING:
    from umbel.app import Umbel

#: Seconds until something is looked at again that is never due again: more than three years.
NEVER = 100_000_000


class schedstate(NamedTuple):
    """Whether something is due, and in how many seconds to look again."""

    is_due: bool
    next: float


class BaseSchedule:
    """A schedule. One of your own needs a method `next_after`, or, as in Celery, `is_due`.

    `nowfun` returns the time instead of the app's clock; `app` is the app whose time zone counts, else
    the current one.
    """

    _app: Umbel | None = None
    _tz: tzinfo | None = None

    def __init__(
        self, nowfun: Callable[[], datetime] | None = None, app: Umbel | None = None
    ) -> None:
        self.nowfun = nowfun
        self._app = app

    def next_after(self, moment: datetime) -> datetime | None:
        """Return when this is due next after a moment; None when it is never due again.

        Both have a time zone; a moment without one is taken for UTC.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no method next_after, which says when it is due next."
        )

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it takes from now until this is due after its last run; negative when it is late.

        It is ``timedelta.max`` when it is never due again.
        """
        found = self.next_after(last_run_at)
        return timedelta.max if found is None else found - aware(self.now())

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether this is due, by its last run, and in how many seconds to look again.

        ``(True, 20.0)``: run it now, and look again in 20 seconds. ``(False, 12.3)``: it is not due yet.
        """
        seconds = self.remaining_estimate(last_run_at).total_seconds()
        if seconds > 0:
            return schedstate(False, min(seconds, NEVER))
        return schedstate(True, self._after_now())

    def _after_now(self) -> float:
        """Return in how many seconds this is due after it was due now."""
        seconds = self.remaining_estimate(self.now()).total_seconds()
        return min(max(seconds, 0.0), NEVER)

    def now(self) -> datetime:
        """Return the time: that of `nowfun`, else the app's."""
        return (self.nowfun or self.app.now)()

    @property
    def app(self) -> Umbel:
        """The app whose time zone and clock count: the one given, else the current one."""
        return self._app or get_current_app()

    @app.setter
    def app(self, app: Umbel | None) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """The time zone: the app's, unless another one is set."""
        return self._tz or self.app.timezone

    @tz.setter
    def tz(self, tz: tzinfo) -> None:
        self._tz = tz

    # Celery's names

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """Return a datetime that has a time zone as it is; one without in this schedule's zone.

        It is taken for UTC, or with `naive_as_utc` False for a time of that zone.
        """
        if dt.tzinfo is not None and dt.utcoffset() is not None:
            return dt
        return aware(dt, self.tz) if naive_as_utc else dt.replace(tzinfo=self.tz)

    @property
    def utc_enabled(self) -> bool:
        """The setting enable_utc."""
        return self.app.conf.snapshot.enable_utc

    def to_local(self, dt: datetime) -> datetime:
        """Return a datetime as it is or, without enable_utc, in the system's time zone."""
        return dt if self.utc_enabled else aware(dt, SYSTEM_ZONE)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented

    # Equal by what can be changed, so no key of a mapping; as in Celery.
    __hash__ = None  # type: ignore[assignment]

"""Local times and moments: what happens when clocks are turned back or forward.

A clock on the wall that is turned back shows some times twice, and one that is turned forward leaves some out
(PEP 495 calls them a fold and a gap). A search on the wall's times becomes one on moments here, in two ways:
`next_first` for what is due at a time of day, `next_each` for what is due every so often.

Nothing here asks for the time, and no zone has to say when its clocks change: that is found by halving.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

SECOND = timedelta(seconds=1)
ZERO = timedelta(0)


class Walls(Protocol):
    """What is due by the clock on the wall; times without a zone."""

    def at_or_after(self, wall: datetime) -> datetime | None:
        """Return the first one that is not before this."""

    def after(self, wall: datetime) -> datetime | None:
        """Return the first one after this."""


def aware(moment: datetime, zone: tzinfo = UTC) -> datetime:
    """Return a moment in a zone. One without a zone is taken for UTC, as in Celery."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(zone)


def _offsets(wall: datetime, zone: tzinfo) -> tuple[timedelta, timedelta]:
    """Return how far a zone is ahead of UTC at a time of its wall: as before and as after a change.

    Both are the same unless the time is shown twice (the first is more) or left out (the first is less).
    """
    before = wall.replace(tzinfo=zone, fold=0).utcoffset()
    after = wall.replace(tzinfo=zone, fold=1).utcoffset()
    return before or ZERO, after or ZERO


def _twice(wall: datetime, zone: tzinfo) -> bool:
    before, after = _offsets(wall, zone)
    return before > after


def _boundary(low: datetime, high: datetime, is_past: Callable[[datetime], bool]) -> datetime:
    """Return the first full second from `low` to `high` that is past something; `high` is."""
    seconds = int((high - low) / SECOND)
    below, above = -1, seconds
    while above - below > 1:
        middle = (below + above) // 2
        if is_past(low + middle * SECOND):
            above = middle
        else:
            below = middle
    return low + above * SECOND


def change_after_gap(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which the clock was turned forward over a time that it left out."""
    before, after = _offsets(wall, zone)
    plain = wall.replace(tzinfo=None)
    # The time would have been this moment by the old clock, and that one by the new one.
    late, early = plain - before, plain - after

    def is_past(moment: datetime) -> bool:
        return moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() != before

    early = early.replace(microsecond=0)
    return _boundary(early, late, is_past).replace(tzinfo=UTC)


def first_moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which the wall shows a time for the first time, or would have to.

    That of a time which is left out is the first one after it: that at which the clock is turned forward.
    """
    before, after = _offsets(wall, zone)
    if before < after:
        return change_after_gap(wall, zone)
    return (wall.replace(tzinfo=None, fold=0) - before).replace(tzinfo=UTC)


def second_moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which the wall shows a time for the last time."""
    return (wall.replace(tzinfo=None, fold=0) - _offsets(wall, zone)[1]).replace(tzinfo=UTC)


def _end_of_twice(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first time of the wall that is shown once again, after one that is shown twice."""
    before, after = _offsets(wall, zone)
    low = wall.replace(microsecond=0)
    return _boundary(low, low + (before - after) + SECOND, lambda t: not _twice(t, zone))


def _start_of_twice(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first time of the wall that is shown twice, up to one that is."""
    before, after = _offsets(wall, zone)
    high = wall.replace(microsecond=0)
    return _boundary(high - (before - after) - SECOND, high, lambda t: _twice(t, zone))


def _next_wall(walls: Walls, local: datetime, zone: tzinfo) -> datetime | None:
    """Return the next time of the wall whose first moment is after this one."""
    wall = local.replace(tzinfo=None, fold=0)
    if not local.fold or not _twice(wall, zone):
        return walls.after(wall)
    # The wall shows times for the second time now: the first moments of all of them are past.
    return walls.at_or_after(_end_of_twice(wall, zone))


def next_first(walls: Walls, moment: datetime, zone: tzinfo) -> datetime | None:
    """Return the next moment, in UTC, for what is due once at each of these times of a day.

    A time that is shown twice counts when it is shown first, and one that is left out counts as soon as the
    clock has been turned forward over it.
    """
    local = moment.astimezone(zone)
    wall = _next_wall(walls, local, zone)
    while wall is not None:
        found = first_moment(wall, zone)
        if found > moment:
            return found
        # Left out, and due at the moment from which we look: so are the others that were left out.
        wall = walls.after(wall)
    return None


def next_each(walls: Walls, moment: datetime, zone: tzinfo) -> datetime | None:
    """Return the next moment, in UTC, at which the wall shows one of these times.

    Each that is shown twice counts twice, and none that is left out.
    """
    local = moment.astimezone(zone)
    found = _first_shown(walls, local, zone)
    again = _second_shown(walls, local, zone)
    if found is None or again is None:
        return found or again
    return min(found, again)


def _first_shown(walls: Walls, local: datetime, zone: tzinfo) -> datetime | None:
    wall = _next_wall(walls, local, zone)
    while wall is not None:
        before, after = _offsets(wall, zone)
        if before >= after:
            return (wall - before).replace(tzinfo=UTC)
        shown = change_after_gap(wall, zone).astimezone(zone).replace(tzinfo=None, fold=0)
        wall = walls.at_or_after(shown)
    return None


def _second_shown(walls: Walls, local: datetime, zone: tzinfo) -> datetime | None:
    """Return the next moment at which a time is shown for the second time.

    Only now, or when the times that are shown now come back, can that be before anything else.
    """
    wall = local.replace(tzinfo=None, fold=0)
    if not _twice(wall, zone):
        return None
    found = walls.after(wall) if local.fold else walls.at_or_after(_start_of_twice(wall, zone))
    if found is None or not _twice(found, zone):
        return None
    return second_moment(found, zone)


def last_boundary(moment: datetime, unit: timedelta, zone: tzinfo) -> datetime:
    """Return the last moment, in UTC, at which the wall showed a full unit: a full hour, a full minute.

    One that was left out counts when the clock is turned forward over it.
    """
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    full = wall - (wall - wall.replace(hour=0, minute=0, second=0, microsecond=0)) % unit
    shown = (first_moment(full, zone), second_moment(full, zone))
    return max(found for found in (*shown, first_moment(full - unit, zone)) if found <= moment)

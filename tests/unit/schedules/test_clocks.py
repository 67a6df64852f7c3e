from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from umbel.schedules import NEVER, clocked

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_it_is_due_once() -> None:
    one = clocked(NOON)
    assert one.next_after(NOON - HOUR) == NOON
    assert one.next_after(NOON) is None
    one.nowfun = lambda: NOON - HOUR
    assert one.is_due(NOON - 2 * HOUR) == (False, 3600)
    one.nowfun = lambda: NOON + HOUR
    assert one.is_due(NOON - 2 * HOUR) == (True, NEVER)
    assert one.is_due(NOON + HOUR) == (False, NEVER)


def test_what_never_ran_may_have_no_last_run() -> None:
    one = clocked(NOON, lambda: NOON + HOUR)
    assert one.is_due(None) == (True, NEVER)
    assert one.remaining_estimate(None) == -HOUR


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert clocked(datetime.fromisoformat("2026-01-01T12:00")) == clocked(NOON)
    with pytest.raises(TypeError, match="The time of clocked is '12:00', but must be a datetime"):
        clocked("12:00")  # type: ignore[arg-type]


def test_it_can_be_pickled_compared_and_read() -> None:
    assert pickle.loads(pickle.dumps(clocked(NOON))) == clocked(NOON)  # noqa: S301 - our own
    assert clocked(NOON) != clocked(NOON + HOUR)
    assert clocked(NOON) != NOON
    assert repr(clocked(NOON)) == "<clocked: 2026-01-01 12:00:00+00:00>"

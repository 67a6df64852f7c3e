from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.schedules.zones import MOMENTS, ZONES
from umbel import Umbel
from umbel.schedules import crontab, maybe_schedule, schedule
from umbel.schedules.intervals import humanize_seconds

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(text: str, zone: str = "Europe/Paris") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def relative(seconds: float, zone: str = "Europe/Paris") -> schedule:
    one = schedule(seconds, relative=True)
    one.tz = ZoneInfo(zone)
    return one


def due(one: schedule, last: datetime, now: datetime) -> Any:
    one.nowfun = lambda: now
    return one.is_due(last)


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("interval", [30, 30.0, timedelta(seconds=30)])
def test_an_interval_is_due_when_it_has_passed(interval: Any) -> None:
    one = schedule(interval)
    assert due(one, NOON, NOON + timedelta(seconds=10)) == (False, 20)
    assert due(one, NOON, NOON + timedelta(seconds=30)) == (True, 30)
    assert due(one, NOON, NOON + timedelta(seconds=100)) == (True, 30)
    assert one.next_after(NOON) == NOON + timedelta(seconds=30)


@pytest.mark.usefixtures("app")
def test_an_interval_is_elapsed_time_whatever_clocks_show() -> None:
    one = schedule(timedelta(days=1))
    one.tz = ZoneInfo("Europe/Paris")
    assert one.next_after(at("2026-10-24T12:00")) == at("2026-10-25T11:00")
    assert one.next_after(at("2026-03-28T12:00")) == at("2026-03-29T13:00")


@pytest.mark.parametrize(
    ("seconds", "last", "wanted"),
    [
        (86400, "2026-05-05T12:34", "2026-05-06T00:00"),
        (2 * 86400, "2026-05-05T12:34", "2026-05-07T00:00"),
        (86400, "2026-10-24T12:00", "2026-10-25T00:00"),
        (86400, "2026-10-25T12:00", "2026-10-26T00:00"),
        (3600, "2026-05-05T12:34", "2026-05-05T13:00"),
        (7200, "2026-05-05T12:34", "2026-05-05T14:00"),
        (60, "2026-05-05T12:34:56", "2026-05-05T12:35"),
        (10, "2026-05-05T12:34:56.5", "2026-05-05T12:35:06"),
        (0.5, "2026-05-05T12:34:56", "2026-05-05T12:34:56.5"),
    ],
)
def test_a_relative_interval_ends_at_a_full_unit(seconds: float, last: str, wanted: str) -> None:
    assert relative(seconds).next_after(at(last)) == at(wanted)


def test_a_relative_day_begins_when_the_wall_says_so() -> None:
    # In Cairo the clock goes from midnight to one.
    daily = relative(86400, "Africa/Cairo")
    assert daily.next_after(at("2026-04-23T12:00", "Africa/Cairo")) == at(
        "2026-04-24T01:00", "Africa/Cairo"
    )


@settings(max_examples=50)
@given(
    st.sampled_from(ZONES), MOMENTS, st.sampled_from([0.5, 1, 59, 60, 90, 3600, 7000, 86400, 6e5])
)
def test_a_relative_interval_ends_after_its_start_and_close_to_its_end(
    zone: str, last: datetime, seconds: float
) -> None:
    found = relative(seconds, zone).next_after(last)
    assert found is not None
    assert last < found <= last + timedelta(seconds=seconds + 2 * 3600)
    assert found.tzinfo == ZoneInfo(zone)


def test_a_relative_interval_is_due_again_at_the_next_full_unit() -> None:
    one = relative(3600)
    assert due(one, at("2026-05-05T12:00"), at("2026-05-05T13:10")) == (True, 50 * 60)


@pytest.mark.usefixtures("app")
def test_an_interval_beyond_all_time_is_never_over() -> None:
    assert schedule(timedelta.max).next_after(NOON) is None


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("5", TypeError, "The interval of a schedule is '5', but must be a number of seconds"),
        ({}, TypeError, "but must be a number of seconds or a timedelta"),
        (1e300, ValueError, "which is too long"),
        (float("nan"), ValueError, "which is too long"),
    ],
)
def test_what_is_no_interval_says_so(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        schedule(value)


def test_intervals_are_compared_by_their_length() -> None:
    assert schedule(60) == schedule(timedelta(minutes=1)) == timedelta(minutes=1)
    assert schedule(60) != schedule(61)
    assert schedule(60) != crontab()


def test_an_interval_can_be_pickled() -> None:
    found = pickle.loads(pickle.dumps(schedule(60, relative=True)))  # noqa: S301 - our own
    assert (found.run_every, found.relative, found.nowfun) == (timedelta(minutes=1), True, None)


def test_what_it_looks_like() -> None:
    assert repr(schedule(300)) == "<freq: 5.00 minutes>"
    assert schedule(timedelta(seconds=-1)).seconds == 0
    assert humanize_seconds(0.001) == "now"


def test_numbers_and_timedeltas_become_schedules_and_others_get_the_app(app: Umbel) -> None:
    assert maybe_schedule(None) is None
    assert maybe_schedule(10).run_every == maybe_schedule(timedelta(seconds=10)).run_every
    assert maybe_schedule(10, relative=True).relative
    assert maybe_schedule(10, app=app)._app is app
    other = crontab()
    assert maybe_schedule(other, app=app) is other
    assert other._app is app


def test_what_is_no_schedule_says_what_is_one() -> None:
    with pytest.raises(TypeError, match=r"'0 4 \* \* \*' is no schedule: it must be a number"):
        maybe_schedule("0 4 * * *")  # type: ignore[arg-type]

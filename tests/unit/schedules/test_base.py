from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import ManualClock
from umbel import Umbel
from umbel.schedules import NEVER, BaseSchedule, crontab, schedule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Daily(BaseSchedule):
    """A schedule as somebody writes one."""

    def next_after(self, moment: datetime) -> datetime | None:
        return moment + timedelta(days=1)


class Ended(BaseSchedule):
    def next_after(self, moment: datetime) -> datetime | None:
        return None


def noon() -> datetime:
    return NOON


def test_one_of_your_own_needs_to_say_when_it_is_due_next() -> None:
    daily = Daily(noon)
    assert daily.remaining_estimate(NOON - timedelta(hours=1)) == timedelta(hours=23)
    assert daily.is_due(NOON - timedelta(hours=1)) == (False, 23 * 3600)
    assert daily.is_due(NOON - timedelta(hours=25)) == (True, 24 * 3600)
    assert daily.is_due(NOON - timedelta(hours=24)) == (True, 24 * 3600)


def test_what_is_never_due_is_looked_at_some_day() -> None:
    assert Ended(noon).remaining_estimate(NOON) == timedelta.max
    assert Ended(noon).is_due(NOON) == (False, NEVER)


def test_one_that_does_not_say_it_is_told_so() -> None:
    with pytest.raises(NotImplementedError, match="BaseSchedule has no method next_after"):
        BaseSchedule(noon).is_due(NOON)


def test_time_and_zone_are_the_apps(app: Umbel, clock: ManualClock) -> None:
    app.clock = clock
    app.conf.timezone = "Asia/Tokyo"
    one = schedule(5)
    assert one.app is app  # the current one
    assert one.now() == datetime.fromtimestamp(clock.now, UTC)
    assert one.now().tzinfo == one.tz == ZoneInfo("Asia/Tokyo")
    app.conf.timezone = "Europe/Paris"
    assert one.tz == ZoneInfo("Europe/Paris")
    one.tz = ZoneInfo("Asia/Kolkata")
    assert one.tz == ZoneInfo("Asia/Kolkata")


def test_an_app_of_its_own_comes_first(app: Umbel) -> None:
    other = Umbel(broker="memory://", timezone="Asia/Tokyo", set_as_current=False)
    one = crontab(app=other)
    assert one.app is other
    assert one.tz == ZoneInfo("Asia/Tokyo")
    one.app = app
    assert one.app is app


def test_a_zone_may_be_set_before_the_rest(app: Umbel) -> None:
    class InZone(crontab):
        def __init__(self, zone: str) -> None:
            self.tz = ZoneInfo(zone)
            super().__init__(0, 12)

    found = InZone("Asia/Tokyo").next_after(NOON)
    assert found == datetime(2026, 1, 2, 3, tzinfo=UTC)


def test_times_without_a_zone_are_in_utc_unless_told(app: Umbel) -> None:
    app.conf.timezone = "Asia/Tokyo"
    one = schedule(5)
    naive = datetime.fromisoformat("2026-01-01T12:00")
    assert one.maybe_make_aware(naive) == NOON
    assert one.maybe_make_aware(naive, naive_as_utc=False) == NOON - timedelta(hours=9)
    assert one.maybe_make_aware(NOON) is NOON


def test_to_local_is_for_times_of_the_system(app: Umbel) -> None:
    one = schedule(5)
    assert one.utc_enabled
    assert one.to_local(NOON) is NOON
    app.conf.enable_utc = False
    assert one.to_local(NOON) == NOON
    assert str(one.to_local(NOON).tzinfo) != "UTC" or one.to_local(NOON).utcoffset() == timedelta(0)


def test_schedules_are_compared_by_their_clock_and_no_keys_of_mappings() -> None:
    assert BaseSchedule(noon) == BaseSchedule(noon)
    assert BaseSchedule(noon) != BaseSchedule()
    assert BaseSchedule() != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(crontab())

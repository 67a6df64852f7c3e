from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Umbel
from umbel.beat import BeatLazyFunc, ScheduleEntry
from umbel.beat.entries import evaluated
from umbel.schedules import crontab, schedule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def app(app: Umbel, clock: ManualClock) -> Umbel:
    app.clock = clock
    return app


def entry(app: Umbel, **fields: Any) -> ScheduleEntry:
    given = {"name": "n", "task": "proj.add", "schedule": 60, "args": (1,), "app": app}
    return ScheduleEntry(**{**given, **fields})


def test_a_number_becomes_a_schedule_of_the_app(app: Umbel) -> None:
    found = entry(app, relative=True)
    assert found.schedule == schedule(60)
    assert found.schedule.relative
    assert found.schedule.app is app
    assert (found.kwargs, found.options, found.total_run_count) == ({}, {}, 0)


def test_what_has_not_run_counts_from_now(app: Umbel, clock: ManualClock) -> None:
    found = entry(app)
    assert found.last_run_at == datetime.fromtimestamp(clock.now, UTC)
    assert found.is_due() == (False, 60)
    clock.now += 60
    assert found.is_due() == (True, 60)
    assert ScheduleEntry("n", "t", app=app).last_run_at == app.now()


def test_the_next_one_has_run_now(app: Umbel, clock: ManualClock) -> None:
    class Mine(ScheduleEntry):
        pass

    first = Mine("n", "proj.add", NOON, 5, 60, (1,), {"y": 2}, {"queue": "a"}, app=app)
    following = next(first)
    assert type(following) is Mine
    assert following == first
    assert (following.total_run_count, following.last_run_at) == (6, app.now())
    assert (first.total_run_count, first.last_run_at) == (5, NOON)
    assert first._next_instance(NOON + timedelta(1)).last_run_at == NOON + timedelta(1)
    assert first.next().total_run_count == 6


def test_entries_are_compared_by_what_they_say(app: Umbel) -> None:
    assert entry(app) == entry(app, last_run_at=NOON, total_run_count=3, name="other")
    for other in ({"task": "x"}, {"args": ()}, {"kwargs": {"y": 1}}, {"options": {"queue": "a"}}):
        assert entry(app) != entry(app, **other)
    assert entry(app) != entry(app, schedule=61)
    assert entry(app) != 5
    assert not entry(app).editable_fields_equal(None)


def test_entries_have_some_order(app: Umbel) -> None:
    one, other = entry(app), entry(app)
    assert (one < other) != (other < one)
    assert one <= other or other <= one
    with pytest.raises(TypeError):
        assert one < 5


def test_an_update_keeps_the_runs(app: Umbel) -> None:
    one = entry(app, last_run_at=NOON, total_run_count=3)
    one.update(entry(app, task="other", schedule=crontab(0), options={"queue": "a"}))
    assert (one.task, one.schedule, one.options) == ("other", crontab(0), {"queue": "a"})
    assert (one.last_run_at, one.total_run_count) == (NOON, 3)


def test_an_entry_can_be_pickled_and_read(app: Umbel) -> None:
    one = entry(app, last_run_at=NOON, total_run_count=3, kwargs={"y": 2})
    found = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert found == one
    assert (found.name, found.last_run_at, found.total_run_count) == ("n", NOON, 3)
    assert repr(one) == "<ScheduleEntry: n proj.add(1, y=2) <freq: 1.00 minute>>"


def test_a_lazy_argument_is_made_when_it_is_sent() -> None:
    made: list[int] = []

    def make(x: int, y: int) -> int:
        made.append(x)
        return x + y

    lazy = BeatLazyFunc(make, 1, y=2)
    assert made == []
    assert evaluated(lazy) == lazy.delay() == 3
    assert evaluated(5) == 5
    assert made == [1, 1]

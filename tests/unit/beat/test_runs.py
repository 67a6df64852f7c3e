from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tests.each import for_each
from umbel import Umbel
from umbel.beat.runs import (
    MOST,
    Plan,
    Runs,
    interval,
    is_asked,
    jitter,
    mark,
    next_due,
    plan,
    run_id,
)
from umbel.schedules import BaseSchedule, clocked, crontab, schedule
from umbel.schedules.rules import GRACE, Rules

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC).timestamp()
MINUTELY = schedule(60.0)


def cron(app: Umbel, line: str, zone: str = "UTC") -> crontab:
    found = crontab.from_string(line)
    found.app, found.tz = app, ZoneInfo(zone)
    return found


class Odd(schedule):
    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:  # type: ignore[override]
        return True, 1.0


class Blank(BaseSchedule):
    pass


def test_the_state_is_read_as_it_was_written() -> None:
    runs = Runs(NOON + 0.25, "schedule 60.0", NOON, NOON + 0.001, "id", 3, 4, True)
    assert Runs.load(runs.dump()) == runs
    assert Runs.load(None) == Runs.load("{}") == Runs()


@for_each("text", ["", "null", "[]", '{"strange": 1}', "7"])
def test_a_state_that_nobody_wrote_counts_as_nothing(text: str) -> None:
    assert Runs.load(text) == Runs()


def test_an_interval_keeps_its_rhythm_however_late_it_is_asked(app: Umbel) -> None:
    schedule_ = schedule(10.0, app=app)
    assert next_due(schedule_, NOON, NOON) == NOON + 10
    assert next_due(schedule_, NOON, NOON + 9.9) == NOON + 10
    assert next_due(schedule_, NOON, NOON + 10) == NOON + 20
    assert next_due(schedule_, NOON, NOON + 3601) == NOON + 3610
    assert next_due(schedule(0, app=app), NOON, NOON) is None


@given(
    every=st.floats(0.05, 1e6),
    start=st.floats(1e9, 2e9),
    late=st.floats(0, 1e7),
)
def test_the_next_time_is_the_first_after(every: float, start: float, late: float) -> None:
    found = next_due(schedule(every), start, start + late)
    assert found is not None
    seconds = timedelta(seconds=every).total_seconds()
    assert start + late < found <= start + late + seconds + 1e-4


def test_other_schedules_are_asked_for_the_first_after(app: Umbel) -> None:
    assert next_due(cron(app, "0 * * * *"), NOON, NOON + 5000) == NOON + 7200
    once = clocked(datetime.fromtimestamp(NOON + 60, UTC), app=app)
    assert next_due(once, NOON, NOON) == NOON + 60
    assert next_due(once, NOON, NOON + 60) is None


def test_what_is_late_is_made_up_for_as_its_rules_say() -> None:
    now = NOON + 205  # four times are over, and the fifth is to come
    times = tuple(NOON + 60 * number for number in range(4))

    def found(late_by: float | None = None, **rules: object) -> Plan:
        said = Rules(**rules)  # type: ignore[arg-type]
        return plan(MINUTELY, said, said.late_by(late_by), NOON, now)

    assert found() == Plan((NOON,), None, NOON + 240, made_up=True)
    assert found(catch_up="all") == Plan(times, None, NOON + 240)
    assert found(catch_up="none") == Plan((times[3],), NOON, NOON + 240)  # by 25 s: in time
    assert found(catch_up="none", deadline=20) == Plan((), NOON, NOON + 240)
    assert found(deadline=100) == Plan((times[2],), NOON, NOON + 240, made_up=True)
    assert found(deadline=100, catch_up="all") == Plan(times[2:], NOON, NOON + 240)
    assert found(late_by=100.0) == found(deadline=100)
    assert found(late_by=100.0, deadline=500) == found()
    assert Rules(catch_up="none").late_by() == GRACE


def test_very_many_are_made_up_for_in_several_steps() -> None:
    now, due, sent = NOON + 1000 * 60, NOON, 0
    while due <= now:
        step = plan(MINUTELY, Rules(catch_up="all"), None, due, now)
        assert len(step.send) <= MOST
        assert step.due is not None
        sent, due = sent + len(step.send), step.due
    assert sent == 1001


def test_a_single_moment_is_never_due_again(app: Umbel) -> None:
    once = clocked(datetime.fromtimestamp(NOON, UTC), app=app)
    assert plan(once, Rules(), None, NOON, NOON + 9) == Plan((NOON,), None, None)


def test_schedules_of_ones_own_are_asked(app: Umbel) -> None:
    asked = [Odd(3.0), Blank(), crontab(nowfun=app.now)]
    assert [is_asked(one) for one in asked] == [True] * 3
    assert [is_asked(one) for one in (MINUTELY, crontab(), clocked(app.now()))] == [False] * 3
    assert (
        interval(Odd(3.0)) is interval(crontab()) is interval(schedule(60, relative=True)) is None
    )
    assert interval(MINUTELY) == 60.0


def test_a_mark_tells_schedules_apart(app: Umbel) -> None:
    schedules = [
        schedule(60.001, app=app),
        schedule(60.002, app=app),
        schedule(60.0, relative=True, app=app),
        cron(app, "0 * * * *"),
        cron(app, "0 * * * *", "Europe/Paris"),
        cron(app, "1 * * * *"),
        Odd(3.0, app=app),
        clocked(app.now(), app=app),
    ]
    assert len({mark(one) for one in schedules}) == len(schedules)
    assert mark(schedule(60.001, app=app)) == mark(schedules[0])


def test_a_run_has_one_id_and_no_other_run_has_it() -> None:
    ids = {
        run_id(scope, name, due, number)
        for scope in ("shop", "other")
        for name in ("a", "b", "a\0b")
        for due in (NOON, NOON + 1, NOON + 0.001)
        for number in (0, 1)
    }
    assert len(ids) == 36
    assert run_id("shop", "a", NOON, 0) in ids
    for one in ids:
        read = uuid.UUID(one)
        assert (read.version, read.variant, str(read)) == (8, uuid.RFC_4122, one)
    assert run_id("s", "a", NOON, 0) < run_id("s", "a", NOON + 0.001, 0) < run_id("s", "b", 2e9, 0)


def test_jitter_is_spread_and_the_same_for_all() -> None:
    found = [jitter("shop", f"entry {number}", NOON, 60.0) for number in range(200)]
    assert found == [jitter("shop", f"entry {number}", NOON, 60.0) for number in range(200)]
    assert 0 <= min(found) < 5
    assert 55 < max(found) <= 60
    assert jitter("shop", "a", NOON, 60.0) != jitter("shop", "a", NOON + 60, 60.0)
    assert jitter("shop", "a", NOON, 0.0) == 0.0

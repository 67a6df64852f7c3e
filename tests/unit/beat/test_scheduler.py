from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import ManualClock, calls, only_call
from umbel import OperationalError, Umbel
from umbel.beat import (
    DEFAULT_MAX_INTERVAL,
    BeatLazyFunc,
    ScheduleEntry,
    Scheduler,
    SchedulingError,
)
from umbel.beat.pace import RETRY_AFTER
from umbel.schedules import clocked, crontab


@pytest.fixture
def app(app: Umbel, clock: ManualClock) -> Umbel:
    app.clock = clock
    # 2026-05-05 12:00:00
    clock.now = datetime(2026, 5, 5, 12, tzinfo=UTC).timestamp()

    @app.task(name="proj.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return app


def entries(**schedules: Any) -> dict[str, Any]:
    return {
        name: {"task": "proj.add", "schedule": schedule, "args": (len(name),)}
        for name, schedule in schedules.items()
    }


def run(scheduler: Scheduler, clock: ManualClock, seconds: float) -> list[tuple[float, int]]:
    """Step as beat does for some seconds; return when each call was sent, and its argument."""
    begin, end, found = clock.now, clock.now + seconds, []
    seen = len(calls(scheduler.app))
    while clock.now <= end:
        wait = scheduler.tick()
        sent = calls(scheduler.app)
        found += [(clock.now - begin, call.args[0]) for call in sent[seen:]]
        seen = len(sent)
        clock.now += wait
    return found


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.ERROR]


def test_each_entry_is_sent_when_it_is_due_and_once(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20, bb=30, ccc=crontab("*/1"))
    assert run(Scheduler(app), clock, 65) == [
        *((20, 1), (30, 2), (40, 1), (60, 1), (60, 2), (60, 3))
    ]


def test_a_step_sends_one_and_says_how_long_to_wait(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20, bb=20)
    scheduler = Scheduler(app)
    assert scheduler.tick() == 20
    clock.now += 20
    assert (scheduler.tick(), len(calls(app))) == (0, 1)
    assert (scheduler.tick(), len(calls(app))) == (0, 2)
    assert (scheduler.tick(), len(calls(app))) == (20, 2)


def test_what_was_missed_is_sent_once(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20, bb=crontab("*/1"))
    scheduler = Scheduler(app)
    scheduler.tick()
    clock.now += 3600
    assert run(scheduler, clock, 10) == [(0, 1), (0, 2)]


def test_at_one_moment_and_never_again(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=clocked(app.now() + timedelta(seconds=90)))
    assert run(Scheduler(app), clock, 100_000) == [(90, 1)]
    # What is past when beat starts is over.
    assert run(Scheduler(app), clock, 100_000) == []


def test_no_wait_is_longer_than_asked_for(app: Umbel) -> None:
    assert Scheduler(app).tick() == DEFAULT_MAX_INTERVAL
    app.conf.beat_schedule = entries(a=10_000)
    assert Scheduler(app).tick() == DEFAULT_MAX_INTERVAL
    assert Scheduler(app, max_interval=7).tick() == 7
    app.conf.beat_max_loop_interval = 9
    assert Scheduler(app).tick() == 9


def test_a_message_says_that_it_is_from_beat(app: Umbel, clock: ManualClock) -> None:
    options = {"queue": "mails", "headers": {"tenant": "a"}}
    app.conf.beat_schedule = {
        "a": {
            "task": "proj.add",
            "schedule": 20,
            "args": (BeatLazyFunc(lambda: clock.now),),
            "kwargs": {"y": BeatLazyFunc(int, "5")},
            "options": options,
        }
    }
    scheduler = Scheduler(app)
    clock.now += 20
    scheduler.tick()
    call = only_call(app, "mails")
    assert (list(call.args), dict(call.kwargs)) == ([clock.now], {"y": 5})
    headers = app.queues.peek("mails", 1)[0].message.headers
    assert headers["celery_beat_task"] is True
    assert headers["tenant"] == "a"
    assert options["headers"] == {"tenant": "a"}


def test_a_task_that_is_not_known_here_is_sent_by_its_name(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = {"a": {"task": "elsewhere.task", "schedule": 20}}
    scheduler = Scheduler(app)
    clock.now += 20
    scheduler.tick()
    assert only_call(app).task == "elsewhere.task"


class Unreachable(Scheduler):
    """A scheduler whose broker is away for a time."""

    away = 2

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            self.away -= 1
            raise OperationalError("The broker does not answer.")
        return super().send_task(*args, **kwargs)


def test_what_could_not_be_sent_is_sent_when_the_broker_is_back(
    app: Umbel, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {"a": {"task": "elsewhere.task", "schedule": 60, "args": (1,)}}
    scheduler = Unreachable(app)
    with caplog.at_level(logging.ERROR):
        assert run(scheduler, clock, 125) == [(60 + 2 * RETRY_AFTER, 1), (122, 1)]
    assert errors(caplog) == 2 * [
        "Scheduler: The periodic task a could not be sent: The broker does not answer."
    ]


def test_what_can_never_be_sent_holds_up_no_other(
    app: Umbel, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {
        "empty": {"task": "", "schedule": 20},
        "object": {"task": "proj.add", "schedule": 20, "args": (object(),)},
        "wrong": {"task": "proj.add", "schedule": 20, "args": ()},
        **entries(right=20),
    }
    with caplog.at_level(logging.ERROR):
        assert run(Scheduler(app), clock, 45) == [(20, 5), (40, 5)]
    told = " ".join(errors(caplog))
    for name in ("empty", "object", "wrong"):
        assert told.count(f"The periodic task {name} could not be sent") == 2


def test_an_error_when_sending_is_raised_to_who_sends(app: Umbel) -> None:
    entry = ScheduleEntry("a", "proj.add", schedule=20, app=app)
    scheduler = Scheduler(app)
    with pytest.raises(SchedulingError, match="The periodic task a could not be sent") as caught:
        scheduler.apply_async(entry, advance=False)
    assert isinstance(caught.value.__cause__, TypeError)


def test_sending_by_hand_notes_a_run(app: Umbel) -> None:
    app.conf.beat_schedule = entries(a=20)
    scheduler = Scheduler(app)
    result = scheduler.apply_async(scheduler.schedule["a"])
    assert result.id == only_call(app).id
    assert scheduler.schedule["a"].total_run_count == 1


class Broken(ScheduleEntry):
    def is_due(self) -> Any:
        if self.name == "broken":
            raise ValueError("Nobody knows.")
        return None if self.name == "none" else super().is_due()


def test_an_entry_that_cannot_tell_holds_up_no_other(
    app: Umbel, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Scheduler):
        Entry = Broken

    app.conf.beat_schedule = entries(broken=20, none=20, right=20)
    with caplog.at_level(logging.ERROR):
        assert run(Mine(app), clock, 45) == [(20, 5), (40, 5)]
    assert "When the periodic task broken is due next cannot be told" in caplog.text


def test_an_entry_that_cannot_be_made_holds_up_no_other(
    app: Umbel, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {
        "no": {"task": "proj.add", "schedule": "0 4 * * *"},
        **entries(right=20),
    }
    with caplog.at_level(logging.ERROR):
        assert run(Scheduler(app), clock, 25) == [(20, 5)]
    assert "The periodic task no does not run: '0 4 * * *' is no schedule" in caplog.text


# The schedule


def set_late(app: Umbel) -> None:
    app.conf.beat_schedule = entries(a=20, bb=20)


def added_late(app: Umbel) -> None:
    app.add_periodic_task(20, app.task_of("proj.add"), (2,), name="bb")


def put_in_late(app: Umbel) -> None:
    app.conf.beat_schedule["bb"] = entries(bb=20)["bb"]


@pytest.mark.parametrize("change", [set_late, added_late, put_in_late])
def test_entries_that_come_while_beat_runs_are_taken(
    app: Umbel, clock: ManualClock, change: Callable[[Umbel], None]
) -> None:
    app.conf.beat_schedule = entries(a=20)
    scheduler = Scheduler(app)
    scheduler.tick()
    clock.now += 15
    change(app)
    assert run(scheduler, clock, 21) == [(5, 1), (20, 2)]


def test_entries_that_change_while_beat_runs_do(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20)
    scheduler = Scheduler(app)
    scheduler.tick()
    app.conf.beat_schedule["a"]["schedule"] = 10
    assert run(scheduler, clock, 25) == [(10, 1), (20, 1)]


def test_entries_that_go_while_beat_runs_do(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20, bb=20)
    scheduler = Scheduler(app)
    scheduler.tick()
    del app.conf.beat_schedule["bb"]
    assert run(scheduler, clock, 25) == [(20, 1)]


def test_entries_of_ones_own_stay_beside_those_of_the_settings(
    app: Umbel, clock: ManualClock
) -> None:
    app.conf.beat_schedule = entries(a=20)
    scheduler = Scheduler(app)
    scheduler.add(name="bb", task="proj.add", schedule=20, args=(2,))
    app.conf.beat_schedule = entries(ccc=20)
    assert run(scheduler, clock, 20) == [(20, 2), (20, 3)]


def test_a_merge_keeps_runs_and_forgets_what_is_gone(app: Umbel) -> None:
    scheduler = Scheduler(app, lazy=True)
    scheduler.update_from_dict(entries(a=20, bb=20))
    scheduler.reserve(scheduler.schedule["a"])
    scheduler.merge_inplace(entries(a=30, ccc=20))
    assert set(scheduler.schedule) == {"a", "ccc"}
    assert scheduler.schedule["a"].total_run_count == 1
    assert scheduler.schedule["a"].schedule.seconds == 30


def test_entries_may_be_given_as_such(app: Umbel) -> None:
    scheduler = Scheduler(app, lazy=True)
    entry = ScheduleEntry("a", "proj.add", schedule=20)
    scheduler.update_from_dict({"a": entry})
    assert scheduler.schedule == {"a": entry}
    assert entry.app is app


def test_a_lazy_one_has_no_schedule_yet(app: Umbel) -> None:
    app.conf.beat_schedule = entries(a=20)
    assert Scheduler(app, lazy=True).schedule == {}
    given = {"a": ScheduleEntry("a", "proj.add", schedule=20, app=app)}
    assert Scheduler(app, given, lazy=True).get_schedule() is given


def test_schedules_are_equal_when_their_entries_are(app: Umbel) -> None:
    scheduler = Scheduler(app, lazy=True)

    def made(**schedules: Any) -> dict[str, ScheduleEntry]:
        return {name: ScheduleEntry(name, "t", schedule=one) for name, one in schedules.items()}

    assert scheduler.schedules_equal(None, None)
    assert not scheduler.schedules_equal(None, {})
    assert scheduler.schedules_equal(made(a=1), made(a=1))
    assert not scheduler.schedules_equal(made(a=1), made(a=2))
    assert not scheduler.schedules_equal(made(a=1), made(b=1))


# Its state


class Stored(Scheduler):
    """A scheduler that counts how often its state is stored."""

    stored = 0

    def sync(self) -> None:
        self.stored += 1


def test_the_state_is_stored_from_time_to_time(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=60)
    scheduler = Stored(app)
    run(scheduler, clock, 60)
    assert scheduler.stored == 1
    run(scheduler, clock, 110)
    assert scheduler.stored == 1
    run(scheduler, clock, 60)
    assert scheduler.stored == 2
    scheduler.close()
    assert scheduler.stored == 3


def test_the_state_is_stored_after_so_many_runs(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=1)
    app.conf.beat_sync_every = 5
    scheduler = Stored(app)
    run(scheduler, clock, 11)
    assert scheduler.stored == 1 + 2
    assert Stored(app, sync_every_tasks=7).sync_every_tasks == 7


# What other packages do with it


def test_a_patched_method_is_called_with_scheduler_and_entry(
    app: Umbel, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sentry-sdk patches it: it takes both by position, and changes the options of the entry."""
    original = Scheduler.apply_entry
    seen = []

    def patched(*args: Any, **kwargs: Any) -> Any:
        scheduler, entry = args
        headers = entry.options.pop("headers", {})
        headers.update({"sentry-monitor-slug": entry.name})
        entry.options["headers"] = headers
        seen.append((scheduler.app, entry.schedule.seconds))
        return original(*args, **kwargs)

    monkeypatch.setattr(Scheduler, "apply_entry", patched)
    app.conf.beat_schedule = entries(a=20)
    run(Scheduler(app), clock, 20)
    assert seen == [(app, 20)]
    headers = app.queues.peek("celery", 1)[0].message.headers
    assert headers["sentry-monitor-slug"] == "a"


class Rows(Scheduler):
    """A scheduler whose entries are elsewhere, as in django-celery-beat."""

    max_interval = 5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rows: dict[str, ScheduleEntry] = {}
        self.dirty: set[str] = set()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        self.install_default_entries(self.schedule)
        self.update_from_dict(self.app.conf.beat_schedule)

    def update_from_dict(self, dict_: Any) -> None:
        for name, fields in dict_.items():
            self.rows[name] = self.Entry(name=name, app=self.app, **fields)

    @property
    def schedule(self) -> Any:
        return dict(self.rows)

    def reserve(self, entry: Any) -> Any:
        following = next(entry)
        self.dirty.add(entry.name)
        self.rows[entry.name] = following
        return following


def test_a_scheduler_of_another_package_works(app: Umbel, clock: ManualClock) -> None:
    app.conf.beat_schedule = entries(a=20)
    scheduler = Rows(app)
    assert scheduler.tick() == 5
    assert run(scheduler, clock, 45) == [(20, 1), (40, 1)]
    assert scheduler.dirty == {"a"}
    scheduler.rows["bb"] = ScheduleEntry("bb", "proj.add", schedule=5, args=(2,), app=app)
    assert run(scheduler, clock, 5) == [(5, 2)]


def test_what_other_packages_ask_for_is_there(app: Umbel) -> None:
    scheduler = Scheduler(app)
    assert scheduler.info == ""
    assert scheduler.logger.name == "umbel.beat.scheduler"
    assert scheduler.connection.connected
    assert scheduler.producer.connection.connected
    assert scheduler.Producer is type(scheduler.producer)
    assert scheduler.adjust(5, drift=-1) == 4
    assert scheduler.adjust(0) == 0

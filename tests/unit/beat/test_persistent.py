from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import ManualClock, calls
from umbel import Umbel
from umbel.beat import PersistentScheduler
from umbel.beat.editing import NoEntry, Schedule
from umbel.beat.runs import Runs, run_id
from umbel.beat.store import KEPT, Store
from umbel.exceptions import OperationalError
from umbel.periodic import check
from umbel.ports import Change
from umbel.schedules import crontab, schedule

START = datetime(2040, 5, 5, 12, tzinfo=UTC).timestamp()
Sent = list[tuple[float, Any]]


class TwoClocks(ManualClock):
    """A clock on the wall that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.now = START
        self.elapsed = 0.0

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds

    def set_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> TwoClocks:
    return TwoClocks()


@pytest.fixture
def app(app: Umbel, clock: TwoClocks) -> Umbel:
    app.clock = clock

    @app.task(name="note")
    def note(what: Any = None) -> Any:
        return what

    return app


def entry(schedule: Any, what: str, **fields: Any) -> dict[str, Any]:
    return {"task": "note", "schedule": schedule, "args": (what,), **fields}


@pytest.fixture
def run(app: Umbel, clock: TwoClocks) -> Callable[..., Sent]:
    """Let schedulers step by turns for some seconds; return what was sent: when, and its argument."""

    def run(seconds: float, *schedulers: PersistentScheduler) -> Sent:
        begin, end, found = clock.elapsed, clock.elapsed + seconds, []
        seen = len(calls(app))
        while clock.elapsed < end:
            waits = [scheduler.tick() for scheduler in schedulers]
            sent = calls(app)
            found += [(round(clock.elapsed - begin, 3), call.args[0]) for call in sent[seen:]]
            seen = len(sent)
            clock.sleep(
                min(*waits, end - clock.elapsed, 1.0)
                if len(waits) > 1
                else max(min(waits[0], end - clock.elapsed), 0.001)
            )
        return found

    return run


def scheduler(app: Umbel) -> PersistentScheduler:
    return PersistentScheduler(app)


def runs_of(app: Umbel, name: str) -> Runs:
    return Runs.load(Store.of(app).runs_of(name))


def test_each_entry_is_sent_when_it_is_due(app: Umbel, run: Callable[..., Sent]) -> None:
    app.conf.beat_schedule = {
        "a": entry(20.0, "a"),
        "b": entry(crontab(), "b"),
    }
    found = run(125, scheduler(app))
    assert [at for at, what in found if what == "a"] == pytest.approx(
        [20, 40, 60, 80, 100, 120], abs=0.01
    )
    assert [at for at, what in found if what == "b"] == pytest.approx([60, 120], abs=0.01)


def test_a_run_says_of_which_entry_and_time_it_is(app: Umbel, run: Callable[..., Sent]) -> None:
    options = {"headers": {"mine": 1}, "queue": "celery"}
    app.conf.beat_schedule = {"a": entry(20.0, "a", options=options)}
    run(21, scheduler(app))
    (call,) = calls(app)
    assert call.id == run_id("proj", "a", START + 20, 0)
    assert call.headers["periodic_task_name"] == "a"
    assert call.headers["periodic_task_due"] == "2040-05-05T12:00:20+00:00"
    assert call.headers["mine"] == 1
    runs = runs_of(app, "a")
    assert (runs.count, runs.last, runs.task_id) == (1, START + 20, call.id)
    assert runs.due == START + 40


def test_beats_that_do_not_know_of_each_other_send_each_run_once(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {name: entry(3.0, name) for name in "abc"}
    found = run(30.5, *(scheduler(app) for _ in range(3)))
    assert sorted(what for _, what in found) == sorted("abc" * 10)


def test_a_new_beat_goes_on_where_the_last_one_was(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(60.0, "a")}
    assert run(50, scheduler(app)) == []
    clock.sleep(5)
    assert [at for at, _ in run(60, scheduler(app))] == [pytest.approx(5, abs=0.01)]
    clock.sleep(600)  # nobody is there
    assert [at for at, _ in run(66, scheduler(app))] == pytest.approx([0, 5, 65], abs=0.02)


def test_missed_runs_are_made_up_for_as_each_entry_says(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "umbel")
    app.conf.beat_schedule = {
        "once": entry(60.0, "once"),
        "all": entry(60.0, "all", catch_up="all"),
        "none": entry(60.0, "none", catch_up="none"),
        "recent": entry(60.0, "recent", catch_up="all", deadline=timedelta(minutes=10)),
        "cron": entry(crontab(), "cron", deadline=10),
    }
    scheduler(app)
    clock.sleep(3645)
    found = [what for _, what in run(1, scheduler(app))]
    counts = {name: found.count(name) for name in app.conf.beat_schedule}
    assert counts == {"once": 1, "all": 60, "none": 0, "recent": 10, "cron": 0}
    left_out = [one.message for one in caplog.records if "too late" in one.message]
    assert sorted(one.split()[3] for one in left_out) == ["cron", "none", "recent"]
    assert [what for _, what in run(30, scheduler(app))].count("once") == 1
    history = Store.of(app).history("none")
    assert [line.what for line in history] == ["sent", "left out"]
    (made_up,) = (one.message for one in caplog.records if "makes up" in one.message)
    assert made_up.startswith("The periodic task once was due at ")
    assert [line.why for line in Store.of(app).history("once")] == [
        None,
        "It makes up for all that were missed since.",
    ]


def test_what_has_not_ended_is_not_started_again(
    app: Umbel, run: Callable[..., Sent], caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.result_backend = app.broker_url
    app.conf.beat_schedule = {"a": entry(10.0, "a", overlap=False)}
    beat = scheduler(app)
    assert len(run(35, beat)) == 1  # it waits: nobody runs it
    assert [line.what for line in beat.store.history("a")] == ["left out", "left out", "sent"]
    (call,) = calls(app)
    app.queues.purge("celery")
    assert len(run(10, beat)) == 1  # its message is gone
    assert call.id != calls(app)[-1].id


def test_a_result_tells_that_a_run_has_ended(app: Umbel, run: Callable[..., Sent]) -> None:
    app.conf.result_backend = app.broker_url
    app.conf.beat_schedule = {"a": entry(10.0, "a", overlap=False)}
    beat = scheduler(app)
    run(15, beat)
    app.backend.mark_as_done(calls(app)[0].id, None)
    assert len(run(10, beat)) == 1


def test_jitter_puts_runs_off_and_loses_none(app: Umbel, run: Callable[..., Sent]) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a", jitter=9.0)}
    found = run(401, scheduler(app))
    late = [at - 10 * number for number, (at, _) in enumerate(found, 1)]
    assert len(found) in (39, 40)
    assert all(0 <= one <= 9.01 for one in late)
    assert max(late) - min(late) > 4


def test_a_paused_entry_waits_and_misses_nothing(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a", catch_up="all"), "b": entry(10.0, "b")}
    beat = scheduler(app)
    run(11, beat)
    beat.store.say("a", {"enabled": False})
    assert [what for _, what in run(30, beat)] == ["b", "b", "b"]
    beat.store.say("a", {})
    found = run(11, beat)
    assert sorted(what for _, what in found) == ["a", "b"]
    app.conf.beat_schedule["b"]["enabled"] = False
    assert [what for _, what in run(20, scheduler(app))] == ["a", "a"]


def test_entries_are_added_changed_and_taken_away_while_it_runs(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(100.0, "a")}
    beat = scheduler(app)
    run(5, beat)
    beat.store.say("new", {"task": "note", "schedule": {"every": 10}, "args": ["new"]})
    beat.store.say("a", {"schedule": {"crontab": "* * * * *"}, "args": ["edited"]})
    found = run(60, beat)
    assert [what for _, what in found].count("new") == 5
    assert [what for _, what in found].count("edited") == 1
    beat.store.say("new", {})
    app.conf.beat_schedule["late"] = entry(10.0, "late")
    assert {what for _, what in run(25, beat)} == {"late"}


def test_a_schedule_that_has_changed_counts_from_the_last_run(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(3600.0, "a", catch_up="all")}
    run(3610, scheduler(app))
    app.conf.beat_schedule = {"a": entry(7200.0, "a", catch_up="all")}
    assert run(3600, scheduler(app)) == []
    app.conf.beat_schedule = {"a": entry(60.0, "a", catch_up="all")}
    assert len(run(30, scheduler(app))) == 1  # one late run, and not one for each minute


def test_an_interval_goes_on_when_the_clock_is_set_back(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a"), "cron": entry(crontab(minute=5), "cron")}
    beat = scheduler(app)
    assert [what for _, what in run(305, beat)].count("cron") == 1
    for _ in range(2):
        clock.set_by(-3600)
        found = run(100, beat)
        assert [what for _, what in found].count("a") == 10
        clock.set_by(-30)
        # Another beat takes over, and knows nothing of what the clock showed.
        beat = scheduler(app)
        found = run(60, beat)
        assert 5 <= [what for _, what in found].count("a") <= 6
        assert "cron" not in [what for _, what in found]
    ids = [call.id for call in calls(app)]
    assert len(set(ids)) == len(ids)


def test_a_clock_that_is_set_forward_makes_runs_late_but_not_double(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a"), "cron": entry(crontab(minute=5), "cron")}
    beat = scheduler(app)
    run(15, beat)
    clock.set_by(3600)
    found = run(100, beat)
    assert [what for _, what in found].count("a") in (10, 11)
    assert [what for _, what in found].count("cron") == 1


def test_beats_whose_clocks_differ_by_hours_take_turns(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    """C3: one beat's clock is two hours ahead, the other's two hours late."""
    app.conf.beat_schedule = {"a": entry(10.0, "a"), "cron": entry(crontab(minute=5), "cron")}
    found: Sent = []
    for turn in range(8):
        clock.set_by(14400 if turn % 2 else -14400)
        found += run(50, scheduler(app))
    whats = [what for _, what in found]
    # In 400 seconds 40, give or take one for each turn: none stops for hours, and none is sent by hundreds.
    assert 32 <= whats.count("a") <= 48
    assert whats.count("cron") <= 2
    ids = [call.id for call in calls(app)]
    assert len(set(ids)) == len(ids)


def test_a_broker_that_is_away_is_asked_again(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    beat = scheduler(app)
    change, tries = beat.store.state.change, []

    def away(changes: list[Change], timeout: float) -> list[bool]:
        tries.append(changes)
        if len(tries) == 1:
            raise OperationalError("It is away.")
        made = change(changes, timeout)
        if len(tries) == 2:
            raise OperationalError("Its answer was lost.")
        return made

    monkeypatch.setattr(beat.store.state, "change", away)
    assert len(run(15, beat)) == 1
    assert [len(one) for one in tries] == [1, 1, 1]


def test_an_entry_that_cannot_be_sent_holds_up_no_other(
    app: Umbel, run: Callable[..., Sent], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(schedule):
        def next_after(self, moment: datetime) -> datetime | None:
            raise RuntimeError("broken")

    app.conf.beat_schedule = {
        "broken": entry(Broken(5.0, relative=True), "broken"),
        "unsendable": {"task": "note", "schedule": 10.0, "args": (object(),)},
        "none": entry(0, "none"),
        "strange": entry(10.0, "x", catch_up="twice"),
        "a": entry(10.0, "a"),
    }
    assert [what for _, what in run(35, scheduler(app))] == ["a", "a", "a"]
    text = caplog.text
    for part in (
        "task broken is due next cannot be told",
        "unsendable could not be sent",
        "'twice'",
    ):
        assert part in text
    assert Store.of(app).history("unsendable")[0].what == "not sent"


def test_schedules_of_ones_own_are_asked_whether_they_are_due(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    class EachFull(schedule):
        """Due at full minutes; Celery's kind of schedule."""

        def is_due(self, last_run_at: datetime) -> tuple[bool, float]:  # type: ignore[override]
            left = 60 - clock.now % 60
            return int(clock.now // 60) > int(last_run_at.timestamp() // 60), left

    app.conf.beat_schedule = {"a": entry(EachFull(60.0), "a")}
    first = scheduler(app)
    assert [at for at, _ in run(125, first)] == pytest.approx([60, 120], abs=0.05)
    assert [at for at, _ in run(60, scheduler(app), first)] == pytest.approx([55], abs=1.01)


def test_the_history_has_the_last_runs(app: Umbel, run: Callable[..., Sent]) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    beat = scheduler(app)
    run(10 * (KEPT + 5) + 1, beat)
    history = beat.store.history("a")
    assert len(history) == KEPT
    assert [line.due for line in history[:2]] == [START + 250, START + 240]
    assert {line.task_id for line in history} <= {call.id for call in calls(app)}
    beat.store.forget("a")
    assert beat.store.history("a") == []


def test_apps_of_other_names_have_schedules_of_their_own(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    first = scheduler(app)
    app.conf.beat_name = "other"
    assert [what for _, what in run(10.5, first, scheduler(app))] == ["a", "a"]
    app.conf.beat_name = None
    assert Store.of(app).scope == "proj"
    app.main = None
    assert Store.of(app).scope == "beat"


def test_what_is_added_to_the_scheduler_itself_runs(app: Umbel, run: Callable[..., Sent]) -> None:
    beat = scheduler(app)
    beat.add(name="a", task="note", schedule=10.0, args=("a",))
    assert len(run(25, beat)) == 2
    del beat.schedule["a"]
    assert run(25, beat) == []


def test_other_schedulers_methods_are_called(app: Umbel, run: Callable[..., Sent]) -> None:
    class Mine(PersistentScheduler):
        def apply_async(self, entry: Any, producer: Any = None, advance: bool = True) -> Any:
            if entry.args == ("skipped",):
                return None
            entry.args = (*entry.args, "mine")
            entry.args = entry.args[-1:]
            return super().apply_async(entry, producer, advance)

    app.conf.beat_schedule = {"a": entry(10.0, "a"), "b": entry(10.0, "skipped")}
    assert [what for _, what in run(25, Mine(app))] == ["mine", "mine"]


def test_without_a_step_of_both_a_run_is_sent_and_then_noted(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {name: entry(3.0, name) for name in "ab"}
    beats = [scheduler(app) for _ in range(2)]
    for beat in beats:
        monkeypatch.setattr(beat.sender, "_joint", False)
    monkeypatch.setattr(beats[0].sender, "_swaps", False)
    found = run(30.5, *beats)
    assert sorted(what for _, what in found) == sorted("ab" * 10)


def test_a_slow_broker_is_given_more_time_each_time(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {"a": entry(100.0, "a")}
    beat = scheduler(app)
    monkeypatch.setattr(beat.sender, "_joint", False)
    publish, given = app.broker.publish, []

    def slow(messages: Any, timeout: float) -> None:
        given.append((timeout, beat.takes_long))
        if len(given) < 6:
            raise OperationalError("It did not confirm in time.")
        publish(messages, timeout)

    monkeypatch.setattr(app.broker, "publish", slow)
    assert len(run(110, beat)) == 1
    assert given == [(2, False), (4, True), (8, True), (16, True), (16, True), (16, True)]
    assert not beat.takes_long


def test_all_that_is_due_is_logged_as_celery_does(
    app: Umbel, run: Callable[..., Sent], caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    with caplog.at_level(logging.DEBUG):
        run(11, scheduler(app))
    (call,) = calls(app)
    assert "Scheduler: Sending due task a (note)" in caplog.messages
    assert f"note sent. id->{call.id}" in caplog.messages


def test_a_pause_that_is_taken_back_before_a_beat_looks(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    """To the beat nothing has changed, but for what it holds of the entry's runs."""
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    beat = scheduler(app)
    assert len(run(15, beat)) == 1
    Schedule(app).pause("a")
    Schedule(app).resume("a")
    assert [at for at, _ in run(25, beat)] == pytest.approx([10, 20], abs=0.01)


def test_missed_runs_do_not_start_while_the_first_of_them_runs(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent]
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a", overlap=False, catch_up="all")}
    beat = scheduler(app)
    run(5, beat)
    clock.sleep(50)
    assert len(run(0.5, beat)) == 1


def test_an_edit_that_leaves_the_due_time_changes_nothing_of_how_often_it_is_prepared(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    beat = scheduler(app)
    prepared: list[str] = []
    prepare = beat._prepare

    def counted(name: str, *arguments: Any) -> Any:
        prepared.append(name)
        return prepare(name, *arguments)

    monkeypatch.setattr(beat, "_prepare", counted)
    for number in range(3):
        run(2, beat)
        Schedule(app).edit("a", {"args": [number]})
    assert [what for _, what in run(5, beat)] == [2]
    assert prepared == ["a"]


@pytest.mark.parametrize("broken", [entry("nonsense", "a"), {"schedule": 3.0}])
def test_an_entry_that_can_be_read_no_more_is_sent_no_more(
    app: Umbel, run: Callable[..., Sent], broken: Any
) -> None:
    app.conf.beat_schedule = {"a": entry(10.0, "a")}
    beat = scheduler(app)
    run(3, beat)
    app.conf.beat_schedule["a"] = broken
    assert run(30, beat) == []


@pytest.mark.parametrize(("late", "sent"), [(20, 1), (1800, 0)])
def test_what_is_not_made_up_for_is_not_late_by_the_deadline_of_all(
    app: Umbel, clock: TwoClocks, run: Callable[..., Sent], late: int, sent: int
) -> None:
    app.conf.beat_cron_starting_deadline = 3600
    app.conf.beat_schedule = {"a": entry(crontab(minute=0), "a", catch_up="none")}
    beat = scheduler(app)
    run(5, beat)
    clock.sleep(3595 + late)
    assert len(run(1, beat)) == sent


def test_a_schedule_whose_remaining_estimate_is_its_own_is_asked(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    class Slow(schedule):
        def remaining_estimate(self, last_run_at: datetime) -> timedelta:
            return super().remaining_estimate(last_run_at) + timedelta(seconds=100)

    app.conf.beat_schedule = {"a": entry(Slow(10.0), "a")}
    assert run(50, scheduler(app)) == []


def test_a_run_leaves_the_schedule_in_the_zone_of_its_app(
    app: Umbel, run: Callable[..., Sent]
) -> None:
    """Also where the app is not the current one, as with two of them in a process."""
    app.conf.timezone = "Asia/Tokyo"
    app.conf.beat_schedule = {"a": entry(crontab(), "a")}
    beat = scheduler(app)
    Umbel("another").set_current()
    assert len(run(61, beat)) == 1
    assert str(beat.schedule["a"].schedule.tz) == "Asia/Tokyo"
    Schedule(app).run_now("a")
    assert str(beat.schedule["a"].schedule.tz) == "Asia/Tokyo"


# The broker and the store go away in the midst of a step


def away(*_: Any, **__: Any) -> Any:
    raise OperationalError("It is away.")


def test_what_could_not_be_sent_is_decided_on_again(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time, by its rules and by what it has become since."""
    app.conf.beat_schedule = {
        "late": entry(crontab(minute=1), "late", deadline=20.0),
        "edited": entry(crontab(minute=1), "before"),
        "once": entry(1.0, "once"),
    }
    beat = scheduler(app)
    run(59.5, beat)
    with monkeypatch.context() as patched:
        patched.setattr(beat.store.state, "change", away)
        assert run(30, beat) == []
        Schedule(app).store.say("edited", {"args": ["after"]})
    assert sorted(what for _, what in run(2.4, beat)) == ["after", "once", "once"]
    assert [line.what for line in Store.of(app).history("late")] == ["left out"]


@pytest.mark.parametrize("error", [OperationalError("Refused."), RuntimeError("No such text.")])
def test_a_message_that_the_broker_never_takes_holds_up_no_other(
    app: Umbel,
    run: Callable[..., Sent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    names = [f"n{number}" for number in range(20)]
    app.conf.beat_schedule = {name: entry(10.0, name) for name in [*names, "refused"]}
    beat = scheduler(app)
    change, tries = beat.store.state.change, []

    def refuse(changes: list[Change], timeout: float) -> list[bool]:
        if any(one.key == "refused" and one.publish for one in changes):
            tries.append(len(changes))
            raise error
        return change(changes, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(beat.store.state, "change", refuse)
        found = run(125, beat)
    for name in names:
        at = [at for at, what in found if what == name]
        assert len(at) == 12, name
        assert all(time % 10 < 1.5 for time in at[2:]), name  # found out in two rounds
    assert len(tries) < 40
    assert "Scheduler: refused could not be sent" in caplog.text
    assert [what for _, what in run(61, beat)].count("refused") >= 1


def test_many_entries_go_on_at_once_when_the_broker_is_back(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {f"n{number}": entry(10.0, f"n{number}") for number in range(150)}
    beat = scheduler(app)
    run(5, beat)
    with monkeypatch.context() as patched:
        patched.setattr(beat.store.state, "change", away)
        run(30, beat)
    assert len(run(1.5, beat)) == 150


def test_a_store_that_goes_away_while_states_are_read_again_loses_no_entry(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {name: entry(10.0, name) for name in "abc"}
    beats = [scheduler(app) for _ in range(2)]
    run(10.5, beats[0])
    with monkeypatch.context() as patched:
        patched.setattr(beats[1].store, "runs_of", away)
        with pytest.raises(OperationalError):
            beats[1].tick()
    assert sorted(what for _, what in run(20, beats[1])) == sorted("aabbcc")


def test_a_store_that_goes_away_while_changes_are_taken_over_loses_none(
    app: Umbel, run: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.beat_schedule = {"a": entry(1000.0, "a"), "b": entry(10.0, "b")}
    beat = scheduler(app)
    run(5, beat)
    Schedule(app).edit("a", {"schedule": {"every": 10.0}})
    Schedule(app).store.say("b", {"enabled": False})
    for place, method in ((beat.store, "runs_of"), (beat.store.state, "change")):
        with monkeypatch.context() as patched:
            patched.setattr(place, method, away)
            beat._look_at = 0.0
            with pytest.raises(OperationalError):
                beat.tick()
    assert [what for _, what in run(12, beat)] == ["a"]


def test_a_name_that_cannot_be_one_holds_up_no_other(
    app: Umbel,
    run: Callable[..., Sent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.conf.beat_schedule = {7: entry(2.0, "7"), "\udcff": entry(2.0, "x"), "a": entry(2.0, "a")}
    change = app.engines.state_store().change

    def strict(changes: list[Change], timeout: float) -> list[bool]:
        for one in changes:
            one.key.encode()  # as where texts are written as UTF-8
        return change(changes, timeout)

    beat = PersistentScheduler(app, lazy=True)
    monkeypatch.setattr(type(app.engines.state_store()), "change", lambda _, *given: strict(*given))
    beat.setup_schedule()
    assert [what for _, what in run(5, beat)] == ["a", "a"]
    assert (
        "The periodic task 7 does not run: its name is 7, and no text. Call it '7'." in caplog.text
    )
    assert "The periodic task '\\udcff' does not run" in caplog.text
    assert [one.state for one in Schedule(app).entries()] == ["broken", "", ""]
    assert "its name is 7" in str(check(app)[0])
    assert Schedule(app).entry("7").state == "broken"
    with pytest.raises(NoEntry, match="could not run"):
        Schedule(app).pause("7")

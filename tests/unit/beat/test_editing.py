"""The schedule as people see and change it, where something in it is broken or gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Umbel
from umbel.beat import PersistentScheduler, Service
from umbel.beat.editing import NoEntry, Schedule
from umbel.beat.entries import LiveEntry
from umbel.exceptions import OperationalError
from umbel.periodic import check
from umbel.schedules import BaseSchedule, schedule


class Raises(BaseSchedule):
    """A schedule that cannot tell when it is due."""

    def next_after(self, moment: Any) -> Any:
        raise RuntimeError("no idea")


class Asked(schedule):
    """One with a rule of its own."""

    def is_due(self, last_run_at: Any) -> Any:
        return super().is_due(last_run_at)


@pytest.fixture
def app(app: Umbel) -> Umbel:
    app.task(name="note")(lambda what=None: what)
    app.finalize()
    return app


def states(app: Umbel) -> dict[str, str]:
    return {seen.name: seen.state for seen in Schedule(app).entries()}


def test_a_broken_entry_is_shown_among_the_others(app: Umbel) -> None:
    app.conf.beat_schedule = {
        "none": {"task": "note"},
        "raises": {"task": "note", "schedule": Raises()},
        "fine": {"task": "note", "schedule": 3.0},
    }
    assert states(app) == {"none": "broken", "raises": "broken", "fine": ""}
    told = {problem.entry: problem.text for problem in check(app)}
    assert told.keys() == {"none", "raises"}
    assert "RuntimeError('no idea')" in told["raises"]


def test_a_router_that_raises_is_the_entrys_problem_alone(app: Umbel) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise KeyError("region")

    app.conf.task_routes = [lost]
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 3.0}}
    (problem,) = check(app)
    assert "KeyError('region')" in problem.text


def test_a_schedule_that_is_asked_is_not_over_before_a_beat_has_seen_it(app: Umbel) -> None:
    app.conf.beat_schedule = {"asked": {"task": "note", "schedule": Asked(3.0)}}
    assert states(app) == {"asked": ""}


def test_what_was_said_over_an_entry_that_is_gone_does_not_keep_its_name(app: Umbel) -> None:
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 3.0}}
    whole = Schedule(app)
    whole.pause("a")
    del app.conf.beat_schedule["a"]
    with pytest.raises(NoEntry):
        whole.edit("a", {"args": [1]})
    assert whole.add("a", {"task": "note", "schedule": {"every": 5}}).state == ""


def test_an_option_is_added_to_those_of_an_entry_that_is_an_object(app: Umbel) -> None:
    given = LiveEntry("a", task="note", schedule=3.0, options={"queue": "slow"}, app=app)
    app.conf.beat_schedule = {"a": given}
    seen = Schedule(app).edit("a", {"options": {"priority": 3}})
    assert seen.definition.entry is not None
    assert seen.definition.entry.options == {"queue": "slow", "priority": 3}


def test_after_an_edit_the_next_time_counts_from_the_last_run(
    app: Umbel, clock: ManualClock
) -> None:
    """As a beat counts it that hears of the edit."""
    app.clock = clock
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 3600.0}}
    beat, start = PersistentScheduler(app), clock.now
    clock.now += 3600
    beat.tick()
    clock.now += 1800
    seen = Schedule(app).edit("a", {"schedule": {"every": 2700}})
    assert seen.due == start + 3600 + 2700
    assert Schedule(app).edit("a", {"schedule": {"every": 600}}).due == clock.now
    assert Schedule(app).edit("a", {"catch_up": "none"}).due == clock.now + 600


def test_what_was_said_while_beats_ran_is_checked_like_the_code(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {
        "mended": {"task": "nope", "schedule": 3.0},
        "spoilt": {"task": "note", "schedule": 3.0},
        "typing": {"task": "note", "schedule": 3.0, "arg": (1,)},
    }
    said = Schedule(app)
    said.edit("mended", {"task": "note"})
    said.edit("spoilt", {"args": [1, 2, 3]})
    said.add("gone", {"task": "was.here", "schedule": {"every": 3}})
    said.store.say("unreadable", {"task": "note", "schedule": {"crontab": "61 * * * *"}})
    texts = {one.entry: one.text for one in said.problems()}
    assert texts.keys() == {"spoilt", "typing", "gone", "unreadable"}
    assert "out of range" in texts["unreadable"]
    service = Service(app)
    service.stop()
    service.start()
    for problem in said.problems():
        assert str(problem) in caplog.messages


def test_a_single_moment_that_was_heeded_is_no_problem(app: Umbel, clock: ManualClock) -> None:
    app.clock = clock
    at = {"at": datetime.fromtimestamp(clock.now + 5, UTC).isoformat()}
    beat = PersistentScheduler(app)
    Schedule(app).add("once", {"task": "note", "schedule": at})
    Schedule(app).add("held", {"task": "note", "schedule": at, "enabled": False})
    assert Schedule(app).problems() == []
    clock.now += 6
    beat.tick()
    (problem,) = Schedule(app).problems()
    assert (problem.entry, problem.text.split(":")[0]) == ("held", "is never due")


def test_problems_of_the_code_are_told_while_the_store_is_away(
    app: Umbel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("It is away.")

    app.conf.beat_schedule = {"bad": {"task": "nope", "schedule": 3.0}}
    monkeypatch.setattr(type(app.engines.state_store()), "items", away)
    service = Service(app)
    service.stop()
    service.start()
    assert "names the task 'nope'" in caplog.text


@pytest.mark.parametrize("swaps", [True, False])
def test_edits_at_the_same_time_are_all_heeded(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, swaps: bool
) -> None:
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 3.0}}
    first, second = Schedule(app), Schedule(app)
    monkeypatch.setattr(first, "_swaps", swaps)
    defined = first._defined
    edits: list[dict[str, Any]] = [{"jitter": 2.0}, {"enabled": False}]

    def meanwhile(name: str, fields: Any) -> Any:
        if edits:
            second.edit("a", edits.pop())
        return defined(name, fields)

    monkeypatch.setattr(first, "_defined", meanwhile)
    seen = first.edit("a", {"args": [5]})
    assert (seen.entry.args, seen.entry.rules.jitter, seen.state) == ([5], 2.0, "paused")
    first.reset("a")
    assert first.entry("a").definition.source == "code"
    assert first.store.entries() == {}


def test_what_is_no_entry_is_shown_and_told_and_can_be_mended(app: Umbel) -> None:
    app.conf.beat_schedule = {"empty": {}, "none": None, "list": ["note"]}
    assert states(app) == dict.fromkeys(("empty", "none", "list"), "broken")
    assert {one.entry for one in Schedule(app).problems()} == {"empty", "none", "list"}
    for name in ("empty", "none"):
        with pytest.raises(NoEntry, match="names no task"):
            Schedule(app).pause(name)
        Schedule(app).edit(name, {"task": "note", "schedule": {"every": 5}})
        assert Schedule(app).entry(name).definition.source == "code, edited"


def test_an_edit_of_one_option_leaves_the_others_to_the_code(app: Umbel) -> None:
    """Also those that could not be stored."""
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    entry = {"task": "note", "schedule": 3.0, "options": {"expires": moment, "queue": "q"}}
    app.conf.beat_schedule = {"a": entry}
    found = Schedule(app).edit("a", {"options": {"priority": 3}}, unset=["queue"])
    assert found.entry.options == {"expires": moment, "priority": 3}
    app.conf.beat_schedule["a"] = {**entry, "options": {"expires": 60, "time_limit": 9}}
    assert PersistentScheduler(app).schedule["a"].options == {
        "expires": 60,
        "time_limit": 9,
        "priority": 3,
    }

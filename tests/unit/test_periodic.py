from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Queue, Umbel, signals
from umbel.beat import BeatLazyFunc, Problem, ScheduleEntry, check
from umbel.schedules import BaseSchedule, clocked, crontab, schedule


@pytest.fixture
def app(app: Umbel) -> Umbel:
    @app.task(name="proj.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return app


def add(app: Umbel) -> Any:
    return app.task_of("proj.add")


# add_periodic_task


def test_an_entry_is_added(app: Umbel) -> None:
    name = app.add_periodic_task(10.0, add(app), (1,), {"y": 2}, expires=5)
    assert name == "proj.add(1, y=2)"
    assert app.conf.beat_schedule == {
        "proj.add(1, y=2)": {
            "schedule": 10.0,
            "task": "proj.add",
            "args": (1,),
            "kwargs": {"y": 2},
            "options": {"expires": 5},
        }
    }


def test_a_task_may_be_given_by_its_name_or_as_a_signature(app: Umbel) -> None:
    app.add_periodic_task(10.0, "elsewhere.task", name="by name")
    signature = {"task": "proj.add", "args": (1,), "kwargs": {"y": 2}, "options": {"queue": "a"}}
    app.add_periodic_task(10.0, signature, name="signature")
    app.add_periodic_task(10.0, signature, (5,), {"y": 7}, name="partial", queue="b")
    app.add_periodic_task(10.0, {**signature, "immutable": True}, (5,), name="immutable")
    found = app.conf.beat_schedule
    assert found["by name"]["task"] == "elsewhere.task"
    calls = {
        name: (entry["args"], entry["kwargs"], entry["options"]) for name, entry in found.items()
    }
    assert calls["signature"] == ((1,), {"y": 2}, {"queue": "a"})
    assert calls["partial"] == ((5, 1), {"y": 7}, {"queue": "b"})
    assert calls["immutable"] == ((1,), {"y": 2}, {"queue": "a"})


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (("0 4 * * *", "proj.add"), {}, "is no schedule"),
        ((10.0, None), {}, "needs a task, the name of one or a signature, and not None"),
        ((10.0, ""), {}, "needs a task"),
        ((10.0, "proj.add", 5), {}, "must be a list or a tuple"),
        ((10.0, "proj.add"), {"expire": 5}, "has no option 'expire'. Did you mean 'expires'"),
    ],
)
def test_what_is_wrong_is_refused_where_it_is_written(
    app: Umbel, given: Any, options: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        app.add_periodic_task(*given, **options)
    assert app.conf.beat_schedule == {}


def test_handlers_of_a_complete_app_add_entries(app: Umbel) -> None:
    def when_configured(sender: Umbel, **_: Any) -> None:
        sender.add_periodic_task(10.0, add(sender), (1,), name="configured")

    def when_finalized(sender: Umbel, **_: Any) -> None:
        sender.add_periodic_task(10.0, add(sender), (1,), name="finalized")

    app.on_after_configure.connect(when_configured)
    app.on_after_finalize.connect(when_finalized)
    app.conf.beat_schedule = {"written": {"task": "proj.add", "schedule": 5}}
    app.finalize()
    assert list(app.conf.beat_schedule) == ["written", "configured", "finalized"]


def test_entries_outlive_settings_that_are_loaded_later(app: Umbel) -> None:
    app.add_periodic_task(10.0, add(app), (1,), name="early")
    app.config_from_object({"beat_schedule": {"loaded": {"task": "proj.add", "schedule": 5}}})
    assert set(app.conf.beat_schedule) >= {"loaded"}
    app.finalize()
    assert set(app.conf.beat_schedule) == {"loaded", "early"}


def test_entries_count_more_than_the_module_that_is_loaded_first(app: Umbel) -> None:
    app.config_from_object({"beat_schedule": {"same": {"task": "proj.add", "schedule": 5}}})
    app.add_periodic_task(10.0, add(app), (1,), name="same")
    assert app.conf.beat_schedule["same"]["schedule"] == 10.0


def test_what_replaces_an_entry_later_counts(app: Umbel) -> None:
    app.add_periodic_task(10.0, add(app), (1,), name="same")
    app.conf.beat_schedule["same"] = {"task": "proj.add", "schedule": 5}
    app.finalize()
    assert app.conf.beat_schedule["same"]["schedule"] == 5


def test_apps_have_schedules_of_their_own(app: Umbel) -> None:
    app.add_periodic_task(10.0, add(app), (1,))
    assert Umbel(broker="memory://").conf.beat_schedule == {}


@pytest.mark.parametrize("complete", [False, True])
def test_two_calls_without_a_name_are_told_of(
    app: Umbel, complete: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if complete:
        app.finalize()
    app.add_periodic_task(10.0, add(app), (1,))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        app.add_periodic_task(20.0, add(app), (1,))
    assert "proj.add(1) takes the place of another one of the same call" in caplog.text
    assert app.conf.beat_schedule["proj.add(1)"]["schedule"] == 20.0


# check


def told(app: Umbel, **entry: Any) -> list[str]:
    app.conf.beat_schedule = {"entry": {"task": "proj.add", "schedule": 60, "args": (1,), **entry}}
    return [str(problem) for problem in check(app)]


def test_what_is_right_has_no_problems(app: Umbel) -> None:
    assert told(app) == []
    assert told(app, schedule=crontab(0), options={"queue": "a", "expires": 5}, relative=True) == []
    assert told(app, args=(BeatLazyFunc(int),), kwargs={"y": 3}, enabled=True) == []
    entry = ScheduleEntry("entry", "proj.add", schedule=60, args=(1,), app=app)
    app.conf.beat_schedule = {"entry": entry}
    assert check(app) == []


def test_the_empty_task_of_the_article_is_told_of(app: Umbel) -> None:
    """An app's `ready` sets the schedule, and its author has left the task empty."""

    def ready() -> None:
        app.conf.beat_schedule = {
            "send_conversations_details": {
                "task": "",
                "schedule": crontab(day_of_week="monday", hour=0, minute=0),
            }
        }

    ready()
    (problem,) = check(app)
    assert problem == Problem("send_conversations_details", problem.text, certain=True)
    assert str(problem) == (
        "The periodic task 'send_conversations_details' has '' as its task, so nothing would run."
        " Give the name of a task as 'task', such as 'proj.add'."
    )


class Own(BaseSchedule):
    """One of somebody's own, of Celery's kind."""

    def is_due(self, last_run_at: datetime) -> Any:
        return False, 5


def test_more_is_not_asked_of_a_schedule_of_ones_own(app: Umbel) -> None:
    assert told(app, schedule=Own()) == []


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"task": None}, "has None as its task"),
        ({"task": "proj.ad"}, "which this app does not have. Did you mean 'proj.add'?"),
        ({"schedule": None}, "has None as its schedule. Give seconds"),
        ({"schedule": "0 4 * * *"}, "has no schedule: '0 4 * * *' is no schedule"),
        ({"schedule": 0}, "does not run: its schedule is an interval of 0 seconds"),
        ({"schedule": -5}, "an interval of -5 seconds"),
        (
            {"schedule": clocked(datetime(2000, 1, 1, tzinfo=UTC))},
            "is never due: its schedule is <clocked",
        ),
        ({"schedule": schedule(timedelta.max)}, "is never due"),
        ({"args": ()}, "cannot be sent: "),
        ({"args": 5}, "cannot be sent: The arguments of a call must be a list or a tuple"),
        ({"kwargs": [5]}, "cannot be sent: The keyword arguments of a call must be a mapping"),
        ({"kwargs": {"z": 1}}, "cannot be sent: "),
        ({"options": {"expire": 5}}, "has no option 'expire'. Did you mean 'expires'?"),
        ({"options": {"priority": 999}}, "cannot be sent: priority is 999"),
        ({"relatve": True}, "has an unknown field 'relatve'. Did you mean 'relative'?"),
        ({"colour": "red"}, "has an unknown field 'colour'. An entry has: task, schedule"),
    ],
)
def test_what_is_wrong_is_told(app: Umbel, entry: dict[str, Any], text: str) -> None:
    (found,) = told(app, **entry)
    assert found.startswith("The periodic task 'entry' ")
    assert text in found


def test_a_queue_that_there_is_not_is_told(app: Umbel) -> None:
    app.conf.task_queues = [Queue("celery")]
    app.conf.task_create_missing_queues = False
    (found,) = told(app, options={"queue": "mails"})
    assert "cannot be sent" in found
    assert "mails" in found


@pytest.mark.parametrize("entry", [5, {}, {"task": "proj.add"}])
def test_what_is_no_entry_is_told(app: Umbel, entry: Any) -> None:
    app.conf.beat_schedule = {"entry": entry}
    (found,) = check(app)
    assert "has no schedule. Write {'task': ..., 'schedule': ...}" in str(found)


def test_only_what_others_may_know_is_uncertain(app: Umbel) -> None:
    app.conf.beat_schedule = {
        "unknown": {"task": "elsewhere.task", "schedule": 60},
        "empty": {"task": " ", "schedule": 60},
    }
    assert {problem.entry: problem.certain for problem in check(app)} == {
        "unknown": False,
        "empty": True,
    }


def test_a_broker_that_is_away_is_no_problem_of_an_entry(app: Umbel, clock: ManualClock) -> None:
    app.conf.broker_url = "redis://127.0.0.1:1/"
    assert told(app) == []


def test_a_task_that_a_handler_of_the_app_makes_is_known(app: Umbel) -> None:
    @app.on_after_finalize.connect
    def make(sender: Umbel, **_: Any) -> None:
        sender.task(name="proj.late")(lambda: None)

    assert told(app, task="proj.late", args=()) == []
    assert signals.beat_init is not None

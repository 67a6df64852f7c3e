"""``umbel schedule``: what is shown, and what beats hear of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TASKS, Command, Terminal
from umbel import Umbel
from umbel.beat import PersistentScheduler
from umbel.beat.runs import Runs
from umbel.beat.store import Store
from umbel.clock import SYSTEM

SCHEDULE = """
from umbel.schedules import crontab

app.conf.timezone = "Europe/Paris"
app.conf.beat_schedule = {{
    "weekly": {{"task": "add", "schedule": crontab(0, 6, day_of_week="{day}"), "args": (1,)}},
    "often": {{"task": "add", "schedule": 5.0, "args": (2,), "options": {{"queue": "q"}}}},
}}
"""


#: Not today, of which only the time is shown.
DAY = datetime.now(UTC) + timedelta(days=3)


@pytest.fixture
def project(project: Umbel, tmp_path: Path) -> Umbel:
    text = (TASKS + SCHEDULE).format(url=project.broker_url, day=f"{DAY:%a}".lower())
    (tmp_path / "tasks.py").write_text(text)
    return project


@pytest.fixture
def schedule(umbel: Command) -> Any:
    """Run a subcommand that must succeed; return what it printed."""

    def run(*words: str) -> Any:
        ended = umbel("schedule", *words)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.data if "--json" in words else ended.out

    return run


def refused(umbel: Command, *words: str) -> str:
    ended = umbel("schedule", *words)
    assert ended.code in (1, 2), ended
    assert ended.out == ""
    return " ".join(ended.err.split())


def names(schedule: Any) -> dict[str, str]:
    return {one["name"]: one["state"] for one in schedule("list", "--json")}


def test_entries_of_the_code_are_listed(schedule: Any) -> None:
    lines = schedule("list").splitlines()
    assert lines[0].split() == ["name", "schedule", "task", "next", "last", "runs", "state"]
    assert lines[1].startswith(f"weekly  0 6 * * {DAY:%a}  add   ".lower() + f"{DAY:%a} 06:00")
    assert lines[2].startswith("often   every 5 s    add")
    weekly, often = schedule("list", "--json")
    due = datetime.fromisoformat(weekly["next"])
    assert (due.weekday(), due.minute) == (DAY.weekday(), 0)
    assert often["options"] == {"queue": "q"}
    assert (often["source"], often["runs"], often["last_sent"]) == ("code", 0, None)


def test_entries_are_added_and_deleted(schedule: Any, umbel: Command) -> None:
    out = schedule(
        "add", "new", "add", "--every", "30m", "--jitter", "5m", "-a", "[7]", "-k", '{"y": 2}'
    )
    assert out.startswith("new: due next at ")
    data = schedule("show", "new", "--json")
    assert data["schedule_data"] == {"every": 1800.0}
    assert (data["args"], data["kwargs"], data["rules"]) == ([7], {"y": 2}, {"jitter": 300.0})
    assert data["source"] == "added"
    assert "\nschedule  every 30 min\n" in schedule("show", "new")
    assert "already" in refused(umbel, "add", "new", "add", "--every", "1m")
    assert "already" in refused(umbel, "add", "weekly", "add", "--every", "1m")
    assert schedule("delete", "new") == "Deleted new.\n"
    assert "new" not in names(schedule)
    assert "Take it out there, or pause it" in refused(umbel, "delete", "weekly")


def test_each_kind_of_schedule_is_read(schedule: Any) -> None:
    kinds = {
        "every": (("--every", "1.5h"), {"every": 5400.0}),
        "aligned": (("--every", "1d", "--aligned"), {"every": 86400.0, "relative": True}),
        "cron": (("--crontab", "*/5 8-17 * * mon-fri"), {"crontab": "*/5 8-17 * * mon-fri"}),
        "once": (("--at", "2099-01-01T09:00"), {"at": "2099-01-01T09:00:00+01:00"}),
    }
    for name, (words, data) in kinds.items():
        schedule("add", name, "add", *words, "-a", "[1]")
        assert schedule("show", name, "--json")["schedule_data"] == data
    assert "2099-01-01 09:00:00 CET" in schedule("preview", "once")


def test_what_cannot_be_is_refused(umbel: Command) -> None:
    cases = {
        ("add", "a", "add"): "When? Give --every, --crontab, --solar or --at.",
        ("add", "a", "add", "--every", "5", "--at", "2099-01-01"): "are two schedules",
        ("add", "a", "add", "--every", "soon"): "'soon' is no length of time",
        ("add", "a", "add", "--every", "0s"): "all the time",
        ("add", "a", "add", "--every", "-5"): "'-5' is no length of time",
        ("add", "a", "add", "--every", "30m1h"): "is no length of time",
        ("add", "a", "add", "--every", "101w", "--deadline", "9999w"): "more than a hundred years",
        ("add", "a", "add", "--at", "2020-01-01"): "'2020-01-01' is past",
        ("edit", "often", "--at", "2020-01-01"): "'2020-01-01' is past",
        ("add", " ", "add", "--every", "5s"): "' ' is no name for a periodic task",
        ("add", "a\nb", "add", "--every", "5s"): "is no name for a periodic task",
        ("add", "a" * 201, "add", "--every", "5s"): "is no name for a periodic task",
        ("add", "\udcff", "add", "--every", "5s"): "is no name for a periodic task",
        ("show", "\udcff"): "is no text that can be stored",
        ("add", "a", "add", "--every", "5s", "--option", "expire=5"): "Did you mean 'expires'?",
        ("add", "a", "add", "--every", "5s", "--option", "time_limit"): "is no option and value",
        ("edit", "often", "--unset", "nothing"): "has no 'nothing' that could be unset",
        ("preview", "often", "--every", "5s"): "one of the two",
        ("add", "a", "add", "--crontab", "* * *"): "has 3 fields, but must have 5",
        ("add", "a", "add", "--crontab", "0 0 31 2 *"): "is never due",
        ("add", "a", "add", "--at", "tomorrow"): "is no ISO 8601 time",
        ("add", "a", "add", "--solar", "sunset"): "is no event and place",
        ("add", "a", "add", "--aligned"): "--aligned goes with --every",
        ("add", "a", "ad", "--every", "5s"): "Did you mean 'add'?",
        ("add", "a", "add", "--every", "5s", "-a", "{}"): "is no JSON list",
        ("show", "weekli"): "Did you mean 'weekly'?",
        ("edit", "weekly"): "What is to change?",
        ("edit", "nothing", "--every", "5s"): "There is no periodic task 'nothing'",
        ("preview",): "Name an entry, or give a schedule",
        ("pause", "weekly", "nothing"): "There is no periodic task 'nothing'",
    }
    for words, text in cases.items():
        assert text in refused(umbel, *words), words


def test_entries_of_the_code_are_edited_and_reset(schedule: Any, umbel: Command) -> None:
    schedule("edit", "often", "--every", "1h", "--priority", "3", "--catch-up", "all")
    data = schedule("show", "often", "--json")
    assert data["schedule"] == "every 1 h"
    assert data["options"] == {"queue": "q", "priority": 3}
    assert (data["args"], data["rules"]) == ([2], {"catch_up": "all"})
    assert data["source"] == "code, edited"
    schedule("edit", "often", "--reset")
    data = schedule("show", "often", "--json")
    assert (data["schedule"], data["source"], data["rules"]) == ("every 5 s", "code", {})
    schedule("add", "mine", "add", "--every", "1h30m", "--args", "[2]", "--paused")
    assert schedule("show", "mine", "--json")["schedule_data"] == {"every": 5400.0}
    assert "is none of the app's code" in refused(umbel, "edit", "mine", "--reset")


def test_what_was_given_is_unset(schedule: Any) -> None:
    schedule(
        "edit",
        "often",
        "--option",
        "time_limit=30",
        "--option",
        "routing_key=q",
        "--deadline",
        "5m",
    )
    data = schedule("show", "often", "--json")
    assert data["options"] == {"queue": "q", "time_limit": 30, "routing_key": "q"}
    assert data["rules"] == {"deadline": 300.0}
    schedule(
        *("edit", "often", "--unset", "queue", "--unset", "time_limit", "--unset", "routing_key"),
        *("--unset", "deadline", "--unset", "args", "-k", '{"x": 1}', "--unset", "catch-up"),
    )
    data = schedule("show", "often", "--json")
    assert (data["options"], data["rules"], data["args"], data["kwargs"]) == ({}, {}, [], {"x": 1})
    schedule("edit", "often", "--reset")
    data = schedule("show", "often", "--json")
    assert (data["options"], data["args"]) == ({"queue": "q"}, [2])


def test_a_run_by_hand_of_what_nobody_knows_is_sent_with_a_warning(umbel: Command) -> None:
    umbel("schedule", "add", "mine", "nope", "--every", "5s", "--by-name")
    ended = umbel("schedule", "run-now", "mine")
    assert ended.code == 0
    assert "'mine' names the task 'nope', which this app does not have" in ended.err


def test_an_entry_that_could_not_be_sent_is_added_with_a_warning(umbel: Command) -> None:
    ended = umbel("schedule", "add", "mine", "add", "--every", "5s")
    assert ended.code == 0
    assert "'mine' cannot be sent: add() missing 1 required positional argument" in ended.err


def test_paused_entries_run_when_they_are_resumed(schedule: Any, project: Umbel) -> None:
    assert schedule("pause", "weekly", "often") == "Paused weekly.\nPaused often.\n"
    assert names(schedule) == {"weekly": "paused", "often": "paused"}
    assert "Nothing is due." in schedule("next")
    assert Runs.load(Store.of(project).runs_of("often")).held
    assert schedule("resume", "weekly") == "Resumed weekly.\n"
    assert names(schedule) == {"weekly": "active", "often": "paused"}


def test_what_is_next_is_shown_in_order(schedule: Any) -> None:
    schedule("add", "slower", "add", "--every", "7s", "-a", "[1]")
    found = schedule("next", "-n", "6", "--json")
    assert [one["due"] for one in found] == sorted(one["due"] for one in found)
    assert {one["name"] for one in found} == {"often", "slower"}
    assert len(schedule("next", "-n", "3").splitlines()) == 4


def test_the_preview_shows_both_times(schedule: Any) -> None:
    lines = schedule("preview", "weekly").splitlines()
    assert len(lines) == 21
    assert lines[0].split() == ["local", "time", "UTC"]
    assert all(line.startswith(f"{DAY:%a} ") and " 06:00:00 CE" in line for line in lines[1:])
    assert {line.split()[-1] for line in lines[1:]} <= {"05:00:00", "04:00:00"}
    each = schedule("preview", "--crontab", "30 2 * * *", "-n", "400", "--json")
    hours = {(one["local"][11:16], one["utc"][11:16]) for one in each}
    # Summer, winter, and the night in which the clocks are turned over it.
    assert hours == {("02:30", "00:30"), ("02:30", "01:30"), ("03:00", "01:00")}


def test_a_run_by_hand_is_sent_and_noted(schedule: Any, project: Umbel) -> None:
    task_id = schedule("run-now", "often").strip()
    (found,) = project.queues.find(task_id)
    assert found.queue == "q"
    assert found.message.headers["periodic_task_name"] == "often"
    (line,) = schedule("history", "often", "--json")
    assert (line["what"], line["id"], line["due"]) == ("by hand", task_id, None)
    assert "by hand" in schedule("history", "often")


def test_beats_and_the_command_work_on_the_same(schedule: Any, project: Umbel) -> None:
    project.conf.beat_schedule = {"often": {"task": "add", "schedule": 1e9, "args": (2,)}}
    beat = PersistentScheduler(project)
    schedule("add", "soon", "add", "--every", "0.05s", "-a", "[1]")
    beat._look_at = 0.0
    deadline = SYSTEM.monotonic() + 10
    while not project.queues.peek("celery", 10) and SYSTEM.monotonic() < deadline:
        SYSTEM.sleep(beat.tick())
    data = schedule("show", "soon", "--json")
    assert data["runs"] == 1
    assert data["last_id"] == project.queues.peek("celery", 1)[0].message.task_id
    assert schedule("history", "soon", "--json")[0]["what"] == "sent"
    schedule("run-now", "soon")
    schedule("delete", "soon")
    beat._look_at = 0.0
    beat.tick()
    assert "soon" not in beat.schedule
    assert datetime.fromisoformat(data["last_sent"]) <= datetime.now(UTC)


def test_what_is_wrong_is_said_below_the_list(umbel: Command, project: Umbel) -> None:
    path = Path("tasks.py")
    path.write_text(
        path.read_text() + '\napp.conf.beat_schedule["bad"] = {"task": "", "schedule": 5}\n'
    )
    ended = umbel("schedule", "list")
    assert ended.code == 0
    assert "The periodic task 'bad' has '' as its task" in ended.err


def test_who_has_another_scheduler_is_told_that_it_does_not_heed_this(
    umbel: Command, project: Umbel
) -> None:
    path = Path("tasks.py")
    path.write_text(path.read_text() + '\napp.conf.beat_scheduler = "umbel.beat:Scheduler"\n')
    for words in (("list",), ("pause", "often"), ("preview", "often")):
        ended = umbel("schedule", *words)
        assert ended.code == 0
        assert "beat_scheduler is umbel.beat:Scheduler, which keeps entries of its own" in ended.err
    path.write_text(path.read_text() + '\napp.conf.beat_scheduler = "not.installed:Here"\n')
    assert umbel("schedule", "list").err == ""


def test_a_terminal_gets_tables_that_fit(project: Umbel) -> None:
    for words in (("list",), ("show", "weekly"), ("next",), ("preview", "weekly")):
        terminal = Terminal("-A", "tasks", "schedule", *words)
        assert terminal.end() == 0
        lines = terminal.text.splitlines()
        assert len(lines) > 2
        assert max(map(len, lines)) <= 80

"""Celery's file of last runs is read without running anything that is in it."""

from __future__ import annotations

import dbm.dumb
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from umbel import Umbel
from umbel.beat import PersistentScheduler, ScheduleEntry
from umbel.beat.runs import Runs
from umbel.beat.shelf import read
from umbel.beat.store import Store
from umbel.clock import SYSTEM
from umbel.schedules import crontab, solar

LAST = datetime(2040, 5, 5, 12, tzinfo=UTC)


class Gadget:
    """Its pickle calls whatever it was given."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def write(path: Path, entries: Any) -> None:
    """Write a shelf as Python's `shelve` does."""
    with dbm.dumb.open(str(path), "c") as database:
        database[b"entries"] = pickle.dumps(entries)
        database[b"__version__"] = pickle.dumps("5.7.0")


def entry(name: str, last: Any, count: Any = 3, schedule: Any = 30.0) -> ScheduleEntry:
    made = ScheduleEntry(name, "note", LAST, 1, schedule, app=Umbel(set_as_current=False))
    made.last_run_at, made.total_run_count = last, count
    return made


def test_last_runs_are_read(tmp_path: Path) -> None:
    paris = ZoneInfo("Europe/Paris")
    entries = {
        "utc": entry("utc", LAST),
        "plain": entry("plain", LAST.replace(tzinfo=None)),
        "zone": entry("zone", LAST.astimezone(paris), schedule=crontab(minute=5)),
        "fixed": entry("fixed", LAST.astimezone(timezone(timedelta(hours=3)))),
        "strange": entry("strange", "yesterday"),
        "sun": entry("sun", LAST, "many", solar("sunset", 48.8, 2.3)),
        "other": {"name": "other"},
    }
    write(tmp_path / "shelf", entries)
    moment = LAST.timestamp()
    run = Runs(last=moment, sent=moment, count=3)
    assert read(tmp_path / "shelf") == {
        "utc": run,
        "plain": run,
        "zone": run,
        "fixed": run,
        "sun": Runs(last=moment, sent=moment),
    }


GADGETS: dict[str, Callable[[str], Gadget]] = {
    "exec": lambda place: Gadget(exec, f"open({place!r}, 'w')"),
    "open": lambda place: Gadget(open, place, "w"),
    "popen": lambda place: Gadget(subprocess.Popen, ["touch", place]),
    "import": lambda place: Gadget(__import__, "this"),
    "getattr": lambda place: Gadget(getattr, str, "format"),
}


def test_what_would_run_does_not(tmp_path: Path) -> None:
    for name, gadget in GADGETS.items():
        place, shelf = tmp_path / f"{name} ran", tmp_path / name
        bad = gadget(str(place))
        write(shelf, {"bad": bad, "good": entry("good", LAST), "in it": entry("in it", LAST, bad)})
        assert set(read(shelf)) == {"good", "in it"}, name
        write(shelf, bad)
        with pytest.raises(TypeError):
            read(shelf)
        assert not place.exists(), name
    assert "this" not in sys.modules


def test_runs_are_taken_over_once(
    app: Umbel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "celerybeat-schedule"
    write(path, {name: entry(name, LAST) for name in ("a", "b", "gone")})
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 1e9}}
    store = Store.of(app)

    def begin() -> Runs:
        PersistentScheduler(app, schedule_filename=str(path))
        return Runs.load(store.runs_of("a"))

    moment = LAST.timestamp()
    assert (begin().last, begin().due, begin().count) == (moment, moment + 1e9, 3)
    assert [one.message.split(",")[0] for one in caplog.records] == [f"Took over from {path}"]
    store.forget("a")
    assert begin().last is None


def test_who_dies_while_it_takes_over_does_it_again(
    app: Umbel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "celerybeat-schedule"
    write(path, {"a": entry("a", LAST)})
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 1e9}}
    with monkeypatch.context() as patch:
        patch.setattr("umbel.beat.sending.fail_point", sys.exit)
        with pytest.raises(SystemExit):
            PersistentScheduler(app, schedule_filename=str(path))
    PersistentScheduler(app, schedule_filename=str(path))
    assert Runs.load(Store.of(app).runs_of("a")).last == LAST.timestamp()


def test_a_file_that_cannot_be_read_is_left_as_it_is(
    app: Umbel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {"a": {"task": "note", "schedule": 60.0}}
    (tmp_path / "no database").write_text("hello")
    write(tmp_path / "no entries", ["a"])
    for name in ("no database", "no entries", "missing"):
        PersistentScheduler(app, schedule_filename=str(tmp_path / name))
        Store.of(app).forget("a")
    warnings = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert ["no database" in warnings[0], "no entries" in warnings[1], len(warnings)] == [
        True
    ] * 2 + [2]
    assert (tmp_path / "no database").read_text() == "hello"


def test_the_file_of_the_released_celery_is_read(tmp_path: Path) -> None:
    script = """
from datetime import timedelta
from celery import Celery
from celery.beat import PersistentScheduler
from celery.schedules import crontab

app = Celery("old", broker="memory://")
app.conf.timezone = "Europe/Paris"
app.conf.beat_schedule = {
    "a": {"task": "note", "schedule": 60.0, "args": (1,), "options": {"queue": "q"}},
    "b": {"task": "note", "schedule": crontab(minute="*/5", day_of_week="mon-fri")},
    "c": {"task": "note", "schedule": timedelta(hours=1), "relative": True},
}
scheduler = PersistentScheduler(app=app, schedule_filename="celerybeat-schedule")
scheduler.reserve(scheduler.schedule["a"])
scheduler.close()
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    found = read(tmp_path / "celerybeat-schedule")
    assert {name: one.count for name, one in found.items()} == {
        "a": 1,
        "b": 0,
        "c": 0,
        "celery.backend_cleanup": 0,
    }
    age = SYSTEM.time() - (found["a"].last or 0)
    assert 0 <= age < 60

"""Schedules are due when Celery's are, where clocks are not turned; ``record_schedules.py`` recorded when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from umbel import Umbel
from umbel.schedules import crontab, crontab_parser, schedule

GOLDEN = Path(__file__).parent / "golden" / "schedules.json"
CELERY: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))

FIELDS = {
    "minute": (60, 0),
    "hour": (24, 0),
    "day_of_week": (7, 0),
    "day_of_month": (31, 1),
    "month_of_year": (12, 1),
}
#: What is an error here, and Celery takes the beginning of.
READ_IN_PART = {"monday-"}


def at(seconds: float, zone: str) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone))


def app_of(zone: str, deadline: float | None = None) -> Umbel:
    app = Umbel(broker="memory://", set_as_current=False, timezone=zone)
    app.conf.beat_cron_starting_deadline = deadline
    return app


def test_everything_was_recorded() -> None:
    counts = {name: len(cases) for name, cases in CELERY.items() if name != "celery"}
    assert counts == {
        "crontabs": 2000,
        "deadlines": 300,
        "intervals": 400,
        "fields": 5,
        "texts": 17,
    }


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_crontab_is_due_when_celerys_is(zone: str) -> None:
    app, different = app_of(zone), []
    for line, of, last, seconds in CELERY["crontabs"]:
        if of == zone:
            one = crontab.from_string(line)
            one.app = app
            one.nowfun = lambda last=last: at(last, zone)
            found = one.remaining_estimate(at(last, zone)).total_seconds()
            if found != seconds:
                different.append((line, last, seconds, found))
    assert different == []


def test_a_crontab_that_is_late_runs_when_celerys_does() -> None:
    apps = {
        deadline: app_of("UTC", deadline) for deadline in {case[1] for case in CELERY["deadlines"]}
    }
    different = []
    for line, deadline, last, now, is_due, after in CELERY["deadlines"]:
        one = crontab.from_string(line)
        one.app = apps[deadline]
        one.nowfun = lambda now=now: at(now, "UTC")
        found = one.is_due(at(last, "UTC"))
        if found != (is_due, after):
            different.append((line, deadline, last, now, (is_due, after), found))
    assert different == []


def test_an_interval_is_due_when_celerys_is() -> None:
    apps = {zone: app_of(zone) for zone in ("UTC", "Asia/Kolkata")}
    different = []
    for seconds, relative, zone, last, now, is_due, after in CELERY["intervals"]:
        one = schedule(seconds, relative, lambda now=now, zone=zone: at(now, zone), apps[zone])  # type: ignore[misc]
        found = one.is_due(at(last, zone))
        if found != (is_due, after):
            different.append((seconds, relative, zone, last, now, (is_due, after), found))
    assert different == []


@pytest.mark.parametrize("kind", FIELDS)
def test_a_field_stands_for_what_celerys_does(kind: str) -> None:
    different = []
    for text, recorded in CELERY["fields"][kind].items():
        wanted = None if isinstance(recorded, str) or text in READ_IN_PART else recorded
        found: Any
        try:
            found = sorted(crontab_parser(*FIELDS[kind]).parse(text))
        except ValueError:
            found = None
        if found != wanted:
            different.append((text, wanted, found))
    assert different == []


@pytest.mark.parametrize("expression", CELERY["texts"])
def test_a_schedule_looks_as_celerys_does(expression: str) -> None:
    names = {"crontab": crontab, "schedule": schedule, "timedelta": timedelta}
    assert repr(eval(expression, names)) == CELERY["texts"][expression]  # noqa: S307 - our own

"""Record when schedules of real Celery 5.7.0 are due.

This script is run by hand, with a Python that has ``celery[redis]==5.7.0`` installed::

    python tests/compat/record_schedules.py [output file]

It writes ``golden/schedules.json`` next to itself unless told otherwise:

    ``crontabs``    cases ``[fields, zone, last run, seconds from the last run to the next]``; the fields are
                    those of a crontab's line. The zones are UTC and one whose clocks are never turned.
    ``deadlines``   cases ``[fields, deadline, last run, now, is_due, next]``, the deadline
                    being beat_cron_starting_deadline.
    ``intervals``   cases ``[seconds, relative, zone, last run, now, is_due, next]``.
    ``fields``      by kind, texts of fields with the numbers that they stand for, or the error's class.
    ``texts``       what `repr` says of schedules, made by the expression.

Times are seconds since 1970.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import celery
from celery.schedules import crontab, crontab_parser, schedule

CELERY_VERSION = "5.7.0"
SEED = 57
#: Clocks there have not been turned since 1945.
ZONES = ("UTC", "Asia/Kolkata")
NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

FIELDS = {
    "minute": (60, 0),
    "hour": (24, 0),
    "day_of_week": (7, 0),
    "day_of_month": (31, 1),
    "month_of_year": (12, 1),
}


def field(chance: random.Random, count: int, first: int, any_: float) -> str:
    """Return a field: a star with this probability, else one of the other notations."""
    last = first + count - 1
    if chance.random() < any_:
        return "*"
    one, other = chance.randint(first, last), chance.randint(first, last)
    forms = [
        str(one),
        f"*/{chance.randint(1, count)}",
        f"{one}-{other}",
        f"{one}-{other}/{chance.randint(1, 5)}",
        f"{one},{other}",
        f"{one},{min(one, other)}-{max(one, other)}",
    ]
    if count == 7:
        forms.append(f"{NAMES[one]}-{NAMES[other]}")
    return chance.choice(forms)


def line(chance: random.Random) -> str:
    """Return the line of a crontab that is due some day."""
    while True:
        fields = [
            field(chance, 60, 0, 0.2),
            field(chance, 24, 0, 0.3),
            field(chance, 31, 1, 0.5),
            field(chance, 12, 1, 0.6),
            field(chance, 7, 0, 0.5),
        ]
        try:
            crontab.from_string(" ".join(fields))
        except ValueError:
            continue
        return " ".join(fields)


def app_of(zone: str, deadline: float | None = None) -> Any:
    """Return an app."""
    app = celery.Celery(set_as_current=False)
    app.conf.timezone = zone
    app.conf.beat_cron_starting_deadline = deadline
    return app


def moment(chance: random.Random) -> int:
    """Return a second of the years 2020 to 2039, often a full minute."""
    found = chance.randint(1_577_836_800, 2_208_988_800)
    return found - found % 60 if chance.random() < 0.5 else found


def at(seconds: float, zone: str) -> datetime:
    """Return a moment in a zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone))


def crontabs(chance: random.Random) -> list[list[Any]]:
    """Return cases of crontabs."""
    found = []
    for number in range(2000):
        zone, text, last = ZONES[number % 2], line(chance), moment(chance)
        one = crontab.from_string(text)
        one.nowfun = lambda last=last, zone=zone: at(last, zone)
        one.app = app_of(zone)
        found.append([text, zone, last, one.remaining_estimate(at(last, zone)).total_seconds()])
    return found


def deadlines(chance: random.Random) -> list[list[Any]]:
    """Return cases of crontabs that are late."""
    found = []
    for _ in range(300):
        text, last = line(chance), moment(chance)
        deadline = chance.choice([None, 0, 60, 3600, 86400])
        now = last + chance.choice([0, 30, 60, 3600, 7200, 90000, 10_000_000])
        one = crontab.from_string(text)
        one.nowfun = lambda now=now: at(now, "UTC")
        one.app = app_of("UTC", deadline)
        is_due, after = one.is_due(at(last, "UTC"))
        found.append([text, deadline, last, now, is_due, after])
    return found


def intervals(chance: random.Random) -> list[list[Any]]:
    """Return cases of intervals."""
    found = []
    for number in range(400):
        zone, last = ZONES[number % 2], moment(chance)
        seconds = chance.choice([1, 10, 59, 60, 90, 600, 3600, 5400, 7200, 86400, 172800, 604800])
        relative = chance.random() < 0.6
        now = last + chance.choice(
            [0, 1, seconds // 2, seconds - 1, seconds, seconds + 1, 3 * seconds]
        )
        one = schedule(seconds, relative, lambda now=now, zone=zone: at(now, zone), app_of(zone))
        is_due, after = one.is_due(at(last, zone))
        found.append([seconds, relative, zone, last, now, is_due, after])
    return found


def fields(chance: random.Random) -> dict[str, dict[str, Any]]:
    """Return texts of fields with what they stand for."""
    found: dict[str, dict[str, Any]] = {}
    wrong = ["", "x", "-1", "*/", "1-", "61", "1,,2", "99", "*x", "0-99", "monday-", "1/5", "*/0"]
    named = ["mon", "Sunday", "mon-fri", "fri-mon", "jan", "nov-feb", "MAR-may/2"]
    for kind, (count, first) in FIELDS.items():
        texts = {*wrong, *named, *(field(chance, count, first, 0.05) for _ in range(60))}
        found[kind] = {}
        for text in sorted(texts):
            try:
                found[kind][text] = sorted(crontab_parser(count, first).parse(text))
            except Exception as error:  # noqa: BLE001 - recorded, whatever it is
                found[kind][text] = type(error).__name__
    return found


def texts() -> dict[str, str]:
    """Return what schedules look like."""
    made = {
        "crontab()": crontab(),
        "crontab(minute=5, hour='*/2')": crontab(minute=5, hour="*/2"),
        "crontab(0, [1, 2], 'mon-fri', '1-7', {3})": crontab(0, [1, 2], "mon-fri", "1-7", {3}),
        **{
            f"schedule({seconds})": schedule(seconds)
            for seconds in (0, 0.5, 0.999, 1, 1.5, 59.999, 60, 61, 90, 3600, 5400, 86400, 172800)
        },
        "schedule(timedelta(days=2))": schedule(timedelta(days=2)),
    }
    return {expression: repr(one) for expression, one in made.items()}


def main() -> None:
    """Write what was recorded."""
    assert celery.__version__ == CELERY_VERSION
    chance = random.Random(SEED)
    recorded = {
        "celery": CELERY_VERSION,
        "crontabs": crontabs(chance),
        "deadlines": deadlines(chance),
        "intervals": intervals(chance),
        "fields": fields(chance),
        "texts": texts(),
    }
    default = Path(__file__).parent / "golden" / "schedules.json"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    text = json.dumps(recorded, indent=0, ensure_ascii=False)
    # A case is a line.
    lines = text.replace("\n", "").replace("],[", "],\n[").replace('},"', '},\n"')
    target.write_text(f"{lines}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

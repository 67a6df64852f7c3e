"""Countdowns, times and expiries, in every form and time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.compat.calls.model import Case, sends

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = datetime(2050, 7, 1, 9, 30, tzinfo=UTC)
NAIVE = SUMMER.replace(tzinfo=None)
LOCAL = {"timezone": "Europe/Berlin"}
NOT_UTC = {"timezone": "Europe/Berlin", "enable_utc": False}
SYDNEY = {"timezone": "Australia/Sydney"}
PAST = datetime(2050, 1, 1, 11, tzinfo=UTC)

COUNTDOWNS = [
    sends("countdown", countdown=90),
    sends("countdown-float", countdown=0.25),
    sends("countdown-tiny", countdown=1e-7),
    sends("countdown-zero", countdown=0),
    sends("countdown-negative", countdown=-5),
    sends("countdown-none", countdown=None),
    sends("countdown-year", countdown=86400 * 365),
    sends("countdown-berlin", countdown=90, conf=LOCAL),
    sends("countdown-berlin-summer", countdown=86400 * 180, conf=LOCAL),
    sends("countdown-sydney", countdown=90, conf=SYDNEY),
    sends("countdown-not-utc", countdown=90, conf=NOT_UTC),
    sends("countdown-not-utc-no-zone", countdown=90, conf={"enable_utc": False}),
    sends("countdown-and-eta", countdown=90, eta=SUMMER),
    sends("countdown-zero-and-eta", countdown=0, eta=SUMMER),
    sends("countdown-text", countdown="90"),
    sends("countdown-timedelta", countdown=timedelta(seconds=90)),
    sends("countdown-true", countdown=True),
    sends("countdown-decimal", countdown=Decimal("1.5")),
    sends("countdown-nan", countdown=float("nan")),
    sends("countdown-infinite", countdown=float("inf")),
    sends("countdown-far-negative", countdown=-(2**40)),
    sends("countdown-beyond-years", countdown=10**12),
]

ETAS = [
    sends("eta-utc", eta=SUMMER),
    sends("eta-berlin", eta=datetime(2050, 7, 1, 9, 30, 0, 123456, BERLIN)),
    sends("eta-berlin-winter", eta=datetime(2050, 12, 1, 9, 30, tzinfo=BERLIN)),
    sends("eta-berlin-fold", eta=datetime(2050, 10, 30, 2, 30, tzinfo=BERLIN, fold=1)),
    sends("eta-offset", eta=SUMMER.astimezone(timezone(timedelta(hours=-3.5)))),
    sends("eta-naive", eta=NAIVE),
    sends("eta-naive-berlin", eta=NAIVE, conf=LOCAL),
    sends("eta-naive-not-utc", eta=NAIVE, conf=NOT_UTC),
    sends("eta-utc-in-berlin", eta=SUMMER, conf=LOCAL),
    sends("eta-past", eta=PAST),
    sends("eta-none", eta=None),
    sends("eta-text", eta="2050-07-01T09:30:00+02:00"),
    sends("eta-text-z", eta="2050-07-01T09:30:00Z"),
    sends("eta-text-naive", eta="2050-07-01T09:30:00"),
    sends("eta-text-day", eta="2050-07-01"),
    sends("eta-text-empty", eta=""),
    sends("eta-text-wrong", eta="tomorrow"),
    sends("eta-date", eta=date(2050, 7, 1)),
    sends("eta-number", eta=1800),
    sends("eta-zero", eta=0),
]

EXPIRIES = [
    sends("expires-seconds", expires=120),
    sends("expires-float", expires=0.5),
    sends("expires-zero", expires=0),
    sends("expires-negative", expires=-5),
    sends("expires-none", expires=None),
    sends("expires-true", expires=True),
    sends("expires-aware", expires=SUMMER),
    sends("expires-berlin", expires=SUMMER.astimezone(BERLIN)),
    sends("expires-naive", expires=NAIVE),
    sends("expires-naive-in-berlin", expires=NAIVE, conf=LOCAL),
    sends("expires-naive-not-utc", expires=NAIVE, conf=NOT_UTC),
    sends("expires-past", expires=PAST),
    sends("expires-seconds-berlin", expires=120, conf=LOCAL),
    sends("expires-seconds-not-utc", expires=120, conf=NOT_UTC),
    sends("expires-text", expires="2050-07-01T09:30:00+00:00"),
    sends("expires-text-naive", expires="2050-07-01T09:30:00"),
    sends("expires-text-wrong", expires="tomorrow"),
    sends("expires-text-number", expires="120"),
    sends("expires-text-empty", expires=""),
    sends("expires-timedelta", expires=timedelta(seconds=120)),
    sends("expires-date", expires=date(2050, 7, 1)),
    sends("expires-nan", expires=float("nan")),
    sends("expires-list", expires=[120]),
    sends("expires-and-countdown", expires=120, countdown=60),
    sends("expires-of-task", task={"expires": 300}),
    sends("expires-of-task-time", task={"expires": SUMMER}),
    sends("expires-of-task-and-call", expires=120, task={"expires": 300}),
    sends("expires-of-task-taken-back", expires=None, task={"expires": 300}),
]

CASES: list[Case] = [*COUNTDOWNS, *ETAS, *EXPIRIES]

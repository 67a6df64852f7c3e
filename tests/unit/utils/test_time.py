from __future__ import annotations

import time as clock
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from umbel.utils import time

#: Without a zone: that is what is tested.
NOON = datetime.fromisoformat("2026-01-31T12:30:15.000007")
PARIS = ZoneInfo("Europe/Paris")


def test_a_naive_date_gets_a_zone() -> None:
    assert time.is_naive(NOON)
    assert time.to_utc(NOON) == NOON.replace(tzinfo=UTC)
    assert time.make_aware(NOON, PARIS).tzinfo is PARIS
    assert time.make_aware(time.to_utc(NOON), PARIS) == NOON.replace(tzinfo=PARIS)
    assert time.localize(NOON, PARIS).hour == 12
    assert time.localize(time.to_utc(NOON), PARIS).hour == 13


def test_a_date_may_have_a_zone() -> None:
    assert time.maybe_make_aware(NOON) == time.to_utc(NOON)
    assert time.maybe_make_aware(NOON, "Europe/Paris").hour == 13
    assert time.maybe_make_aware(NOON, PARIS, naive_as_utc=False).hour == 12
    assert time.maybe_make_aware("soon") == "soon"
    assert time.maybe_make_aware(NOON.replace(tzinfo=PARIS)).tzinfo is PARIS


def test_zones_by_name() -> None:
    assert time.timezone.get_timezone("Europe/Paris") == PARIS
    assert time.timezone.get_timezone("utc") is time.timezone.utc is UTC
    assert time.timezone.tz_or_local(None) is time.timezone.local
    assert time.timezone.to_local(NOON, "Europe/Paris").hour == 13
    assert time.timezone.to_local(NOON, PARIS, orig=PARIS).hour == 12
    assert time.timezone.to_system(time.to_utc(NOON)) == time.to_utc(NOON)
    assert time.timezone.to_local_fallback(NOON).replace(tzinfo=None) == NOON


def test_lengths_of_time() -> None:
    assert time.maybe_timedelta(1.5) == timedelta(seconds=1.5)
    assert time.maybe_timedelta(timedelta(days=1)) == timedelta(days=1)
    assert time.maybe_timedelta(None) is None


def test_dates_as_texts() -> None:
    assert time.maybe_iso8601("2026-01-31T12:30:15.000007") == NOON
    assert time.maybe_iso8601("2026-01-31T12:30:15Z") == datetime(
        2026, 1, 31, 12, 30, 15, tzinfo=UTC
    )
    assert time.maybe_iso8601(NOON) is NOON
    assert time.maybe_iso8601(None) is None


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (timedelta(days=2), NOON.replace(hour=0, minute=0, second=0, microsecond=0)),
        (timedelta(hours=2), NOON.replace(minute=0, second=0, microsecond=0)),
        (timedelta(minutes=2), NOON.replace(second=0, microsecond=0)),
        (timedelta(seconds=2), NOON),
    ],
)
def test_dates_are_rounded_down(delta: timedelta, expected: datetime) -> None:
    assert time.delta_resolution(NOON, delta) == expected


def test_what_remains() -> None:
    start = time.to_utc(NOON)
    assert time.remaining(start, timedelta(hours=2), start + timedelta(hours=3)) == timedelta(
        hours=-1
    )
    assert time.remaining(start, timedelta(hours=2), start, relative=True) == timedelta(
        hours=1, minutes=29, seconds=44, microseconds=999993
    )
    assert time.remaining(start, timedelta(0)) < timedelta(0)


def test_time_passes_whatever_clocks_do() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=PARIS)
    after = datetime(2026, 10, 25, 12, tzinfo=PARIS)
    assert time.remaining(before, timedelta(days=1), after) == timedelta(hours=-1)
    midnight = time.remaining(before, timedelta(days=1), after, relative=True)
    assert midnight == timedelta(hours=-13)


@pytest.mark.parametrize(
    ("written", "number"),
    [("10/s", 10), ("60/m", 1), ("3600/h", 1), ("5", 5), (2, 2), (None, 0), ("", 0)],
)
def test_rates(written: str | int | None, number: float) -> None:
    assert time.rate(written) == number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4 * 86400, "4.00 days"),
        (86400, "1.00 day"),
        (4 * 3600, "4.00 hours"),
        (90, "1.50 minutes"),
        (60, "1.00 minute"),
        (1, "1.00 second"),
        (0, "now"),
    ],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert time.humanize_seconds(seconds) == text


def test_seconds_for_people_in_a_sentence() -> None:
    assert time.humanize_seconds(90, "due in", " ") == "due in 1.50 minutes"
    assert time.humanize_seconds(0.5, microseconds=True) == "0.50 seconds"


def test_days_of_the_week() -> None:
    assert [time.weekday(name) for name in ("sun", "Monday", "SAT")] == [0, 1, 6]
    with pytest.raises(KeyError):
        time.weekday("xyz")


def test_clocks_of_other_machines() -> None:
    system = SimpleNamespace(altzone=-7200, timezone=-3600)
    for summer, hours in ((1, -2), (0, -1)):
        assert (
            time.utcoffset(system, lambda is_summer=summer: SimpleNamespace(tm_isdst=is_summer))
            == hours
        )
    assert time.adjust_timestamp(7200.0, 1, lambda: 2) == 7200 + 3600
    assert time.utcoffset() in (clock.timezone // 3600, clock.altzone // 3600)


def test_pauses_double() -> None:
    pauses = [time.get_exponential_backoff_interval(2, tries, 10) for tries in range(4)]
    assert pauses == [2, 4, 8, 10]
    assert 0 <= time.get_exponential_backoff_interval(2, 3, 10, full_jitter=True) <= 10

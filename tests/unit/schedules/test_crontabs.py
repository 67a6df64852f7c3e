from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.schedules.zones import MOMENTS, ZONES
from umbel import Umbel
from umbel.schedules import ParseException, crontab

PARIS = ZoneInfo("Europe/Paris")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def in_paris(*fields: Any, **named: Any) -> crontab:
    one = crontab(*fields, **named)
    one.tz = PARIS
    return one


def follow(one: crontab, start: str, count: int) -> list[str]:
    """Return when something is due, as the clocks of Paris show it."""
    moment, found = at(start), []
    for _ in range(count):
        following = one.next_after(moment)
        assert following is not None
        found.append(following.strftime("%d %H:%M %Z"))
        moment = following
    return found


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("0 4 * * *", "2026-05-06T04:00"),
        ("*/15 * * * *", "2026-05-05T12:45"),
        ("34 12 * * *", "2026-05-06T12:34"),
        ("0 0 * * mon", "2026-05-11T00:00"),
        ("0 0 1 * *", "2026-06-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 29 2 mon", "2044-02-29T00:00"),
        ("0 0 1-7 * sat", "2026-06-06T00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59"),
        ("0 22-2 * * *", "2026-05-05T22:00"),
    ],
)
def test_when_a_crontab_is_due_next(line: str, wanted: str) -> None:
    one = crontab.from_string(line)
    one.tz = PARIS
    found = one.next_after(at("2026-05-05T12:34:00"))
    assert found == at(wanted)
    assert found is not None
    assert found.tzinfo is PARIS


def test_turned_back_a_time_of_day_counts_once_and_stars_go_on() -> None:
    assert follow(in_paris(30, 2), "2026-10-24T12:00", 3) == [
        *("25 02:30 CEST", "26 02:30 CET", "27 02:30 CET")
    ]
    assert follow(in_paris(0), "2026-10-25T00:30", 4) == [
        *("25 01:00 CEST", "25 02:00 CEST", "25 02:00 CET", "25 03:00 CET")
    ]
    assert follow(in_paris(0, "*/2"), "2026-10-24T23:30", 4) == [
        *("25 00:00 CEST", "25 02:00 CEST", "25 02:00 CET", "25 04:00 CET")
    ]
    # The hour 2 is a time of day here, the hours with a step are not.
    assert follow(in_paris(0, "2,4-8/2"), "2026-10-24T23:30", 3) == [
        *("25 02:00 CEST", "25 04:00 CET", "25 06:00 CET")
    ]


def test_turned_forward_a_time_of_day_counts_at_once_and_stars_go_on() -> None:
    assert follow(in_paris(30, 2), "2026-03-28T12:00", 2) == ["29 03:00 CEST", "30 02:30 CEST"]
    assert follow(in_paris("*/20"), "2026-03-29T01:30", 3) == [
        *("29 01:40 CET", "29 03:00 CEST", "29 03:20 CEST")
    ]
    assert follow(in_paris("0,30", "2,3"), "2026-03-29T01:30", 3) == [
        *("29 03:00 CEST", "29 03:30 CEST", "30 02:00 CEST")
    ]


@settings(max_examples=40)
@given(st.sampled_from(ZONES), MOMENTS, st.sampled_from([5, 10, 15, 30, 60]))
def test_every_so_many_minutes_has_no_gap_in_any_zone(
    zone: str, start: datetime, step: int
) -> None:
    one = crontab(f"*/{step}" if step < 60 else 0)
    one.tz = ZoneInfo(zone)
    moments, moment = [], start
    for _ in range(30):
        moment = one.next_after(moment) or start
        moments.append(moment.astimezone(UTC))
    gaps = {b - a for a, b in pairwise(moments)}
    # Some zones turn their clocks by less than an hour: there the minutes of the wall jump.
    turned = {moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in [start, *moments]}
    by = {(b or timedelta()) - (a or timedelta()) for a in turned for b in turned}
    if all(change % timedelta(minutes=step) == timedelta() for change in by):
        assert gaps == {timedelta(minutes=step)}
    assert max(gaps) < timedelta(minutes=2 * step)


@settings(max_examples=40)
@given(st.sampled_from(ZONES), MOMENTS, st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_is_due_once_a_day_in_any_zone(
    zone: str, start: datetime, hour: int, minute: int
) -> None:
    one = crontab(minute, hour)
    one.tz = ZoneInfo(zone)
    days, moment = [], start
    for _ in range(10):
        moment = one.next_after(moment) or start
        days.append(moment.date())
    assert {b - a for a, b in pairwise(days)} <= {timedelta(days=1)} or zone in (
        *("Pacific/Apia", "Pacific/Fakaofo"),  # which have left out a day
    )


def test_beyond_the_last_year_it_is_never_due() -> None:
    assert in_paris(0, 0).next_after(at("9999-12-31T12:00")) is None


def test_any_past_will_do_as_the_last_run() -> None:
    assert in_paris(0, 0).next_after(at("0001-01-02T00:00")) is not None


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"day_of_month": 31, "month_of_year": 2}, ValueError, "never due: there is no such day"),
        (
            {"day_of_month": 30, "month_of_year": "feb"},
            ValueError,
            "day_of_month 30 and month_of_year 'feb'",
        ),
        ({"day_of_month": 31, "month_of_year": "4,6,9,11"}, ValueError, "is never due"),
        ({"minute": []}, ValueError, "A crontab whose minute is empty is never due"),
        ({"day_of_week": set()}, ValueError, "A crontab whose day_of_week is empty is never due"),
        ({"hour": 24}, ValueError, "In the field hour of a crontab: 24 is out of range"),
        ({"day_of_week": "7"}, ValueError, "it must be 0 to 6"),
        ({"minute": "*/"}, ParseException, "In the field minute of a crontab"),
        ({"minute": 1.5}, TypeError, "The field minute of a crontab is 1.5"),
    ],
)
def test_what_cannot_be_due_is_refused_when_it_is_made(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        crontab(**fields)


@pytest.mark.parametrize("line", ["", "* * * *", "* * * * * *"])
def test_a_line_has_five_fields(line: str) -> None:
    with pytest.raises(ValueError, match="must have 5: minute, hour, day of the month"):
        crontab.from_string(line)


def test_a_line_may_have_more_spaces() -> None:
    assert crontab.from_string(" 0  4 1 2\t3 ") == crontab(0, 4, 3, 1, 2)


def test_fields_are_kept_as_they_were_given() -> None:
    one = crontab(0, [1, 2], "mon-fri", "*/2", None)  # type: ignore[arg-type] # as in Celery
    kept = (one._orig_minute, one._orig_hour, one._orig_day_of_week, one._orig_day_of_month)
    assert kept == (0, [1, 2], "mon-fri", "*/2")
    assert one._orig_month_of_year == "*"
    assert one.month_of_year == set(range(1, 13))
    assert crontab(iter([1, 2]))._orig_minute == [1, 2]


def nowfun() -> datetime:
    return at("2026-05-05T12:00")


def test_a_crontab_can_be_pickled() -> None:
    one = crontab("*/5", 3, nowfun=nowfun)
    found = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert found == one
    assert found.nowfun is nowfun
    assert (found._orig_minute, found._orig_kwargs) == ("*/5", {"nowfun": nowfun})


def test_crontabs_are_compared_by_what_their_fields_stand_for() -> None:
    assert crontab("*/30") == crontab("0,30") == crontab([0, 30])
    assert crontab(0) != crontab(1)
    assert crontab(0) != crontab(0, nowfun=nowfun)
    assert crontab(0) != 5


def test_what_it_looks_like() -> None:
    assert repr(crontab("*/5", 4, "mon", 1, "jan")) == "<crontab: */5 4 1 jan mon (m/h/dM/MY/d)>"


def test_is_due_counts_from_the_last_run(app: Umbel) -> None:
    one = crontab(0, app=app, nowfun=nowfun)
    one.tz = PARIS
    assert one.is_due(at("2026-05-05T11:30")) == (True, 3600)
    assert one.is_due(at("2026-05-05T08:30")) == (True, 3600)  # once, however many were missed
    assert one.is_due(at("2026-05-05T12:00")) == (False, 3600)


@pytest.mark.parametrize(
    ("deadline", "is_due"), [(None, True), (0, False), (1799, False), (1800, True), (86400, True)]
)
def test_what_is_too_late_is_not_made_up_for(
    app: Umbel, deadline: float | None, is_due: bool
) -> None:
    app.conf.beat_cron_starting_deadline = deadline
    one = crontab(30, app=app, nowfun=nowfun)
    one.tz = PARIS
    assert one.is_due(at("2026-05-05T11:15")) == (is_due, 1800)


def test_exactly_in_time_is_not_too_late(app: Umbel) -> None:
    app.conf.beat_cron_starting_deadline = 0
    one = crontab(0, app=app, nowfun=nowfun)
    one.tz = PARIS
    assert one.is_due(at("2026-05-05T11:15")) == (True, 3600)


def test_the_delta_is_that_of_the_clock_on_the_wall() -> None:
    one = in_paris(30, 4, nowfun=nowfun)
    last, delta, now = one.remaining_delta(datetime(2026, 10, 24, 10, tzinfo=UTC))
    assert last == at("2026-10-24T12:00")
    assert last + delta == at("2026-10-25T04:30")
    assert now == nowfun()
    last, delta, _ = one.remaining_delta(datetime(2026, 10, 24, 10, tzinfo=UTC), "Asia/Tokyo")
    assert (last + delta).strftime("%H:%M") == "04:30"

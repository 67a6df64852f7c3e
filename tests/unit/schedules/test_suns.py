from __future__ import annotations

import pickle
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.schedules import solar

MIDSUMMER = datetime(2026, 6, 21, tzinfo=UTC)
#: The events of a day in their order.
EVENTS = (
    *("dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", "solar_noon", "sunset"),
    *("dusk_civil", "dusk_nautical", "dusk_astronomical"),
)

pytestmark = pytest.mark.usefixtures("app")


def test_the_events_of_a_day_come_in_their_order() -> None:
    start = datetime(2026, 3, 20, tzinfo=UTC)
    found = [solar(event, 0, 0).next_after(start) for event in EVENTS]
    assert found == sorted(found, key=str)
    assert all(one is not None and one < start + timedelta(days=1) for one in found)


def test_the_sun_rises_in_greenwich() -> None:
    found = solar("sunrise", 51.48, 0.0).next_after(MIDSUMMER)
    assert found is not None
    assert abs(found - datetime(2026, 6, 21, 3, 43, tzinfo=UTC)) < timedelta(minutes=3)


def test_where_the_sun_does_not_set_it_is_due_when_it_does() -> None:
    found = solar("sunset", 69.65, 18.96).next_after(MIDSUMMER)
    assert found is not None
    assert (found.year, found.month) == (2026, 7)


def test_is_due_counts_from_the_last_run() -> None:
    one = solar("sunrise", 51.48, 0.0, nowfun=lambda: MIDSUMMER + timedelta(hours=4))
    is_due, after = one.is_due(MIDSUMMER)
    assert is_due
    assert 23 * 3600 < after < 24 * 3600
    assert not one.is_due(MIDSUMMER + timedelta(hours=4)).is_due


def test_what_is_not_found_is_looked_for_again() -> None:
    one = solar("sunset", 69.65, 18.96, nowfun=lambda: MIDSUMMER)
    one.max_search_days = 3
    assert one.next_after(MIDSUMMER) is None
    assert one.is_due(MIDSUMMER) == (False, 3 * 86400)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("noon", 0, 0),
            "There is no event 'noon' of the sun. There are: dawn_astronomical, dawn_civil",
        ),
        (("sunset", 91, 0), "The latitude is 91, but must be from -90 to 90"),
        (("sunset", 0, -181), "The longitude is -181, but must be from -180 to 180"),
    ],
)
def test_what_there_is_not_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solar(*given)


def test_it_can_be_pickled_compared_and_read() -> None:
    one = solar("sunset", 1.5, 2)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own
    assert one != solar("sunset", 1.5, 3)
    assert one != 5
    assert repr(one) == "<solar: sunset at latitude 1.5, longitude: 2>"


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'umbel\[solar\]'"):
        solar("sunset", 0, 0)

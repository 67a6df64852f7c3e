from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from umbel.absent import NotThereToImport
from umbel.utils import time
from umbel.utils.time import humanize_seconds, is_naive, maybe_make_aware, maybe_timedelta

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAIVE = datetime.fromisoformat("2026-01-01T12:00")


def test_a_time_gets_a_zone_unless_it_has_one() -> None:
    assert is_naive(NAIVE)
    assert not is_naive(NOON)
    assert maybe_make_aware(NOON, "Asia/Tokyo") is NOON
    assert maybe_make_aware(NAIVE) == NOON
    assert maybe_make_aware(NAIVE, "Asia/Tokyo") == NOON
    assert maybe_make_aware(NAIVE, ZoneInfo("Asia/Tokyo")).hour == 21
    assert maybe_make_aware(NAIVE, "Asia/Tokyo", naive_as_utc=False) == NOON - timedelta(hours=9)


def test_seconds_become_timedeltas_and_words() -> None:
    assert maybe_timedelta(1.5) == maybe_timedelta(timedelta(seconds=1.5))
    assert humanize_seconds(90) == "1.50 minutes"
    assert humanize_seconds(90, prefix="in", sep=" ") == "in 1.50 minutes"
    assert humanize_seconds(0.25) == "now"
    assert humanize_seconds(0.25, now="at once") == "at once"
    assert humanize_seconds(0.25, microseconds=True) == "0.25 seconds"


def test_other_names_say_that_they_are_celerys_own() -> None:
    with pytest.raises(NotThereToImport, match="ffwd is a helper of Celery's from within"):
        _ = time.ffwd  # type: ignore[attr-defined]

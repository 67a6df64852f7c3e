"""Two years of a schedule in seconds: leap day, ends of months, clocks that are turned, and set."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.unit.beat.test_persistent import TwoClocks
from umbel import Umbel
from umbel.beat import PersistentScheduler
from umbel.schedules import crontab

PARIS = ZoneInfo("Europe/Paris")
FIRST, LAST = date(2027, 9, 1), date(2029, 8, 31)
DAYS = [FIRST + timedelta(number) for number in range((LAST - FIRST).days + 1)]


class Recording(PersistentScheduler):
    """Notes what is due instead of sending it."""

    due: dict[str, list[datetime]]

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True) -> Any:
        moment = datetime.fromisoformat(entry.options["headers"]["periodic_task_due"])
        self.due[entry.name].append(moment.astimezone(PARIS))


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=PARIS)


def test_each_is_due_when_the_calendar_says(app: Umbel) -> None:
    clock = TwoClocks()
    clock.now = at(FIRST, 0).timestamp() - 1
    app.clock = clock
    app.task(name="note")(lambda: None)
    app.conf.timezone = "Europe/Paris"
    schedules = {
        "leap day": crontab(0, 12, day_of_month=29, month_of_year=2),
        "31st": crontab(59, 23, day_of_month=31),
        "first monday": crontab(0, 6, day_of_week="mon", day_of_month="1-7"),
        "every night": crontab(30, 2),
        "every ten days": timedelta(days=10),
    }
    app.conf.beat_schedule = {
        name: {"task": "note", "schedule": one} for name, one in schedules.items()
    }
    beat = Recording(app)
    beat.due = defaultdict(list)
    begun, end = clock.now, at(LAST, 23, 59).timestamp() + 30
    beat.max_interval = 366 * 86400.0
    number = 0
    while clock.now < end:
        wait = beat.tick()
        clock.sleep(max(min(wait, end - clock.now), 0.001))
        number += 1
        if number % 500 == 100:  # set by an hour, and put right a little later
            by = 3600.0 if number % 1000 == 100 else -3600.0
            clock.set_by(by)
            beat.tick()
            clock.sleep(60)
            clock.set_by(-by)

    assert beat.due["leap day"] == [at(date(2028, 2, 29), 12)]
    assert beat.due["31st"] == [at(day, 23, 59) for day in DAYS if day.day == 31]
    assert beat.due["first monday"] == [
        at(day, 6) for day in DAYS if day.weekday() == 0 and day.day <= 7
    ]
    # When clocks are turned forward from 02:00 to 03:00 it is due at 03:00.
    turned = {date(2028, 3, 26), date(2029, 3, 25)}
    assert beat.due["every night"] == [
        at(day, 3) if day in turned else at(day, 2, 30) for day in DAYS
    ]
    spans = [moment.timestamp() - begun for moment in beat.due["every ten days"]]
    assert spans == [number * 864_000 for number in range(1, len(spans) + 1)]
    assert len(spans) == (end - begun) // 864_000

"""What a test runs in a process of its own, with real Celery: are crontabs due at the same moments?

``python -m tests.interop.crontabs COUNT`` prints each difference, and the seed of what was tried.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab as celerys  # type: ignore[import-untyped]

from tests.compat import record_schedules as record
from umbel import Umbel
from umbel.schedules import crontab

#: The last two turn their clocks, in opposite seasons.
ZONES = (*record.ZONES, "Europe/Paris", "Australia/Sydney")


def turned(moment: datetime, zone: ZoneInfo) -> bool:
    """Tell whether clocks are turned on a day, or on those beside it."""
    days = ((moment + timedelta(days)).astimezone(zone).utcoffset() for days in (-2, 0, 2))
    return len(set(days)) > 1


def agrees(line: str, zone: str, last: int, apps: dict[str, tuple[Any, Umbel]]) -> str | None:
    """Return what is different, and None if nothing is; an empty text where clocks are turned."""
    place, celery = ZoneInfo(zone), celerys.from_string(line)
    ours = crontab.from_string(line)
    celery.app, ours.app = apps[zone]
    moment = record.at(last, zone)
    celery.nowfun = ours.nowfun = lambda: moment
    mine = moment.astimezone(UTC) + ours.remaining_estimate(moment)
    theirs = moment.astimezone(UTC) + celery.remaining_estimate(moment)
    if any(turned(one, place) for one in (moment, mine, theirs)):
        return ""
    return None if mine == theirs else f"{line} in {zone} after {moment}: {mine}, Celery's {theirs}"


def main(count: int) -> int:
    """Compare so many crontabs; return how many are different."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    apps = {
        zone: (record.app_of(zone), Umbel(broker="memory://", set_as_current=False, timezone=zone))
        for zone in ZONES
    }
    different = compared = 0
    while compared < count:
        zone = ZONES[compared % len(ZONES)]
        found = agrees(record.line(chance), zone, record.moment(chance), apps)
        compared += found != ""
        if found:
            print(found)
            different += 1
    print(f"seed {seed}")
    return different


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])) > 0)

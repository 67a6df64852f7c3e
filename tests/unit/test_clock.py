import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Thread
from zoneinfo import ZoneInfo

import pytest

from umbel.clock import SYSTEM, SYSTEM_ZONE, unique_id, utc
from umbel.schedules import crontab


def test_an_id_is_a_uuid_of_version_7_that_holds_the_time() -> None:
    before = SYSTEM.time()
    found = uuid.UUID(unique_id())
    after = SYSTEM.time()
    assert found.version == 7
    assert found.variant == uuid.RFC_4122
    milliseconds = found.int >> 80
    # Ids made faster than the clock ticks may run ahead of it a little.
    assert int(before * 1000) <= milliseconds <= int(after * 1000) + 5


def test_an_id_is_written_in_the_usual_form() -> None:
    text = unique_id()
    assert len(text) == 36
    assert text == str(uuid.UUID(text))


def test_ids_increase_strictly() -> None:
    ids = [unique_id() for _ in range(20_000)]
    assert all(one < other for one, other in pairwise(ids))


def test_ids_are_unique_and_increase_in_each_of_several_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(own: list[str]) -> None:
        own.extend(unique_id() for _ in range(3000))

    threads = [Thread(target=make, args=(own,)) for own in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert all(own == sorted(own) and len(own) == 3000 for own in made)
    assert len({text for own in made for text in own}) == 12_000


FORK = """
import os
from umbel.clock import unique_id

unique_id()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, "".join(unique_id() + "\\n" for _ in range(100)).encode())
    os._exit(0)
own = {unique_id() for _ in range(100)}
os.waitpid(child, 0)
others = set(os.read(reading, 100 * 37).decode().split())
print(len(own), len(others), len(own | others))
"""

FORK_WHILE_LOCKED = """
import os, signal, threading
from umbel import clock

# The fork waits until the other thread is done, so the child finds the lock free.
locked = threading.Event()
def hold():
    with clock._sequence_lock:
        locked.set()
        threading.Event().wait(0.02)
holder = threading.Thread(target=hold)
holder.start()
locked.wait()
child = os.fork()
if child == 0:
    signal.alarm(5)
    clock.unique_id()
    os._exit(0)
holder.join()
clock.unique_id()
print(os.waitpid(child, 0)[1])
"""


def _run(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout


def test_a_forked_child_makes_other_ids() -> None:
    assert _run(FORK).split() == ["100", "100", "200"]


def test_a_child_forked_while_a_thread_makes_an_id_can_make_its_own() -> None:
    assert _run(FORK_WHILE_LOCKED).split() == ["0"]


def test_utc_is_aware() -> None:
    assert utc(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert utc(1.5).utcoffset() == timedelta(0)
    assert utc(1.5).microsecond == 500_000


def test_the_system_clock_tells_both_times_and_sleeps() -> None:
    assert abs(SYSTEM.time() - datetime.now(UTC).timestamp()) < 5  # noqa: TID251 - compared with
    start = SYSTEM.monotonic()
    SYSTEM.sleep(0.001)
    assert SYSTEM.monotonic() - start >= 0.001


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the system be in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system's zone cannot be set")
@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("moment", "text", "name"),
    [
        ("2026-01-01T12:00", "2026-01-01T13:00:00+01:00", "CET"),
        ("2026-07-01T12:00", "2026-07-01T14:00:00+02:00", "CEST"),
        ("2026-03-29T00:59", "2026-03-29T01:59:00+01:00", "CET"),
        ("2026-03-29T01:00", "2026-03-29T03:00:00+02:00", "CEST"),
        ("2026-10-25T00:30", "2026-10-25T02:30:00+02:00", "CEST"),
        ("2026-10-25T01:30", "2026-10-25T02:30:00+01:00", "CET"),
    ],
)
def test_the_systems_zone_knows_summer_times(moment: str, text: str, name: str) -> None:
    before = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    here = before.astimezone(SYSTEM_ZONE)
    assert here.isoformat() == text
    assert here.tzname() == name
    assert here.dst() is None
    assert here.timestamp() == before.timestamp()
    assert str(SYSTEM_ZONE) in ("CET", "CEST")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system's zone cannot be set")
@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("wall", ["2026-03-29T02:30", "2026-10-25T02:30", "2026-07-01T12:00"])
@pytest.mark.parametrize("fold", [0, 1])
def test_the_systems_zone_says_of_each_time_what_the_same_zone_by_name_does(
    wall: str, fold: int
) -> None:
    # PEP 495: also of times that the clocks show twice, or leave out.
    then = datetime.fromisoformat(wall).replace(fold=fold)
    by_name = ZoneInfo("Europe/Berlin").utcoffset(then)
    assert SYSTEM_ZONE.utcoffset(then) == by_name


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system's zone cannot be set")
@pytest.mark.usefixtures("berlin")
def test_a_crontab_is_due_in_the_systems_zone() -> None:
    one = crontab(30, 2)
    one.tz = SYSTEM_ZONE
    found = one.next_after(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert found == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_all_that_is_random_of_ids_is_used_once() -> None:
    """The last 62 bits: each digit behind the variant takes every value, and none comes twice."""
    ends = [unique_id()[19:].replace("-", "") for _ in range(5000)]
    assert len(set(ends)) == len(ends)
    assert {end[0] for end in ends} == set("89ab")
    for digit in range(1, 16):
        assert {end[digit] for end in ends} == set("0123456789abcdef")

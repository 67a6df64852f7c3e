"""Very many entries: what one costs in memory, and that a step costs what is due and not what there is."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

from tests.conftest import ManualClock
from umbel import Umbel
from umbel.beat import PersistentScheduler
from umbel.beat.entries import LiveEntry
from umbel.clock import unique_id

#: Bytes, without settings: 100,000 entries are to fit into 150 MB, of which 75 are settings and umbel.
MOST = 400


def scheduler(clock: ManualClock, count: int) -> PersistentScheduler:
    app = Umbel("many", broker=f"memory://{unique_id()}", set_as_current=False)
    app.clock = clock
    app.task(name="note")(lambda: None)
    app.conf.beat_schedule = {
        f"entry {number}": {
            "task": "note",
            "schedule": 60.0 if number < 10 else 3600.0 + number % 50,
        }
        for number in range(count)
    }
    return PersistentScheduler(app)


def test_an_entry_is_small(clock: ManualClock) -> None:
    tracemalloc.start()
    try:
        sizes = []
        for count in (100, 2100):
            before = tracemalloc.get_traced_memory()[0]
            one = scheduler(clock, count)
            sizes.append(tracemalloc.get_traced_memory()[0] - before - elsewhere(one))
    finally:
        tracemalloc.stop()
    assert (sizes[1] - sizes[0]) / 2000 <= MOST


def elsewhere(one: PersistentScheduler) -> int:
    """Return what settings take of entries, and a store that is in memory of their states."""
    said = one.app.conf.beat_schedule
    settings = sum(sys.getsizeof(name) + sys.getsizeof(entry) + 24 for name, entry in said.items())
    store = sum(sys.getsizeof(text) + 200 for text in one.store.runs().values())
    return settings + store


def calls_of_a_step(clock: ManualClock, count: int) -> int:
    """Return how many functions are called to send ten of so many entries."""
    one = scheduler(clock, count)
    one.tick()
    clock.sleep(61)
    number = 0

    def count_calls(frame: Any, event: str, argument: Any) -> None:
        nonlocal number
        number += event == "call"

    sys.setprofile(count_calls)
    try:
        one.tick()
    finally:
        sys.setprofile(None)
    assert len(one.app.queues.peek("celery", 100)) == 10
    return number


def test_a_step_costs_what_is_due() -> None:
    """In a process of its own, since others of its threads would have to do with what is profiled."""
    command = [sys.executable, "-m", "tests.unit.beat.test_many"]
    said = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    few, many = map(int, said.stdout.split())
    assert 100 < many <= few * 1.1


def test_arguments_that_are_not_given_are_each_entrys_own(app: Umbel) -> None:
    first, second = (LiveEntry(name="a", task="note", schedule=5.0, app=app) for _ in range(2))
    assert "options" not in vars(first)
    first.options["queue"] = "other"
    assert (first.options, second.options, first.kwargs) == ({"queue": "other"}, {}, {})
    assert LiveEntry(**dict(second)).kwargs == {}


if __name__ == "__main__":
    print(*(calls_of_a_step(ManualClock(), count) for count in (20, 2000)))

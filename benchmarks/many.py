"""What is measured of executors that run many tasks at a time."""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks.measures import percentiles
from benchmarks.place import Place
from benchmarks.processes import proportional_mb, trees
from benchmarks.sides import UMBEL_ASYNCIO, umbel_many
from benchmarks.work import count, wait_until

#: Workers with as many slots as a measurement is about.
BURST = replace(
    UMBEL_ASYNCIO, workers=[umbel_many("-P", "asyncio", "-c", "250", "--processes", "2")]
)
FLIGHT = replace(
    UMBEL_ASYNCIO, workers=[umbel_many("-P", "asyncio", "-c", "25000", "--processes", "2")]
)
BESIDE = {
    "threads": replace(UMBEL_ASYNCIO, workers=[umbel_many("-P", "threads", "-c", "4")]),
    "asyncio": replace(UMBEL_ASYNCIO, workers=[umbel_many("-P", "asyncio", "-c", "100")]),
}


def burst(place: Place, tasks: int) -> float:
    """Return seconds from the first start to the last end of tasks that wait for 100 ms each."""
    BURST.client(place, "dozes", tasks)
    with BURST.working(place):
        wait_until(lambda: count(place.ledger) > 0, 20, every=0.0005)
        started = time.perf_counter()
        wait_until(lambda: count(place.ledger) >= 2 * tasks, 120)
        return time.perf_counter() - started


def in_flight(place: Place, tasks: int) -> float:
    """Return MB (PSS) of all processes of a node while so many tasks are in flight."""
    FLIGHT.client(place, "stays", tasks)
    with FLIGHT.working(place) as workers:
        wait_until(lambda: count(place.ledger) >= tasks, 180, every=0.05)
        return proportional_mb(trees(worker.pid for worker in workers))


def beside(executor: str, place: Place, calls: int) -> tuple[float, float]:
    """Return milliseconds from the end of a task to its result at the client: median, 99th percentile.

    In another slot of the same child a task computes in Python all the time.
    """
    side = BESIDE[executor]
    with side.working(place):
        return percentiles(side.client(place, "ends", calls))

"""The measurements: each happens in a `Place` of its own and returns figures."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.place import Place, kill
from benchmarks.processes import cpu_seconds, private_mb, proportional_mb, trees
from benchmarks.sides import UMBEL, Side
from benchmarks.work import count, naps, reached, wait_until


def sends(side: Side, place: Place, tasks: int) -> float:
    """Return calls per second, one by one, of one process."""
    return float(side.client(place, "send", tasks))


def fills(side: Side, place: Place, tasks: int) -> float:
    """Return calls per second of one process that sends in bulk, or as fast as it can."""
    return float(side.client(place, "fill", tasks))


def bare_commits(place: Place, tasks: int) -> float:
    """Return one-row transactions per second of one process."""
    file = str(place.directory / "bare.db")
    return float(_bare(place, "bare_sqlite", "one_row_commits", file, place.durability, tasks))


def bare_pushes(place: Place, tasks: int, pipeline: int = 1) -> float:
    """Return LPUSH of one of umbel's messages per second of one process."""
    UMBEL.client(place, "fill", 1)
    return float(_bare(place, "bare_redis", "push_rate", place.url, tasks, pipeline))


def bare_publishes(place: Place, tasks: int) -> float:
    """Return confirmed publishes of one of umbel's messages per second of one process."""
    UMBEL.client(place, "fill", 1)
    return float(_bare(place, "bare_rabbitmq", "publish_rate", place.url, tasks))


def bare_copies(place: Place, tasks: int) -> float:
    """Return rows of one of umbel's messages per second of one process, by COPY."""
    UMBEL.client(place, "fill", 1)
    return float(_bare(place, "bare_postgres", "copy_rate", place.url, tasks))


def bare_pings(place: Place, calls: int) -> tuple[float, float]:
    """Return milliseconds of a PING: median and 99th percentile."""
    return percentiles(_bare(place, "bare_redis", "pings", place.url, calls))


def _bare(place: Place, module: str, function: str, *arguments: Any) -> Any:
    """Call a function of a bare client in a process of its own; return what it found."""
    words = map(json.dumps, arguments)
    return json.loads(place.run("benchmarks.bare", module, function, *words))


def round_trips(side: Side, place: Place, calls: int) -> tuple[float, float]:
    """Return milliseconds from sending a call to its result: median and 99th percentile."""
    with side.working(place):
        return percentiles(side.client(place, "call", calls))


def percentiles(taken: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    taken = sorted(taken)
    return taken[len(taken) // 2], taken[math.ceil(len(taken) * 0.99) - 1]


def start_up(side: Side, place: Place) -> float:
    """Return seconds from starting the workers to their first task, which waits in the queue."""
    side.client(place, "fill", 1)
    started = time.perf_counter()
    with side.working(place):
        wait_until(lambda: count(place.ledger) > 0, 20)
        return time.perf_counter() - started


def idle(side: Side, place: Place, seconds: float) -> tuple[float, float]:
    """Return percent of a core, and MB (PSS), of workers that have nothing to do."""
    side.client(place, "fill", 1)
    with side.working(place) as workers:
        wait_until(lambda: count(place.ledger) > 0, 20)
        time.sleep(2)
        pids = trees(worker.pid for worker in workers)
        before = cpu_seconds(pids)
        time.sleep(seconds)
        return (cpu_seconds(pids) - before) / seconds * 100, proportional_mb(pids)


def cost_with_waiting(place: Place, waiting: int, tasks: int) -> float:
    """Return microseconds of processor time a task while about `waiting` others wait."""
    UMBEL.client(place, "fill", waiting + tasks)
    with UMBEL.working(place) as workers:
        wait_until(lambda: count(place.ledger) >= tasks // 10, 60)
        pids = trees(worker.pid for worker in workers)
        first, before = count(place.ledger), cpu_seconds(pids)
        wait_until(lambda: count(place.ledger) >= tasks, 120)
        used = cpu_seconds(pids) - before
        return used / (count(place.ledger) - first) * 1e6


def cost_with_scheduled(place: Place, scheduled: int, tasks: int) -> float:
    """Return microseconds of processor time a task while others are scheduled for tomorrow."""
    with UMBEL.working(place) as workers:
        UMBEL.client(place, "schedule", scheduled)
        # The first ones make the worker's batches grow to their size.
        for part in (tasks // 10, tasks):
            first = count(place.ledger)
            pids = trees(worker.pid for worker in workers)
            before = cpu_seconds(pids)
            UMBEL.client(place, "fill", part)
            wait_until(partial(_ran, place, first + part), 120)
        return (cpu_seconds(pids) - before) / part * 1e6


def _ran(place: Place, tasks: int) -> bool:
    return count(place.ledger) >= tasks


def memory_after(place: Place, few: int, many: int) -> tuple[float, float]:
    """Return MB of private memory of all the worker's processes after a few and after many tasks."""
    UMBEL.client(place, "fill", many)
    with UMBEL.working(place) as workers:
        wait_until(lambda: count(place.ledger) >= few, 60)
        pids = trees(worker.pid for worker in workers)
        early = private_mb(pids)
        wait_until(lambda: count(place.ledger) >= many, 600, every=0.1)
        return early, private_mb(pids)


@dataclass(frozen=True)
class Loss:
    """What is left of some tasks after all workers were killed: not done within a minute, done twice."""

    undone: int
    twice: int
    #: Seconds from the new start to the last task, if all were done.
    recovery: float | None


def loss(side: Side, place: Place, tasks: int, seconds: float = 60.0) -> Loss:
    """Kill all workers when a third of the tasks is done, start new ones, and look for a minute."""
    side.client(place, "naps", tasks)
    with side.working(place) as workers:
        wait_until(lambda: len(naps(place.ledger)) >= tasks * 3 // 10, 60)
        for worker in workers:
            for pid in trees([worker.pid]):
                _kill_one(pid)
            kill(worker)
    started = time.perf_counter()
    with side.working(place):
        complete = reached(lambda: len(set(naps(place.ledger))) == tasks, seconds, every=0.02)
        took = time.perf_counter() - started
    done = naps(place.ledger)
    return Loss(tasks - len(set(done)), len(done) - len(set(done)), took if complete else None)


def _kill_one(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

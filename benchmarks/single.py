"""What is measured of umbel alone, or beside a bare loop in one process.

Enqueueing, latency, idling, start.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.sides import UMBEL_WORKER, Place
from benchmarks.work import count, wait_until

ONE_BY_ONE = """
import time
from benchmarks.umbel_app import noop
noop.delay(1, 2)
started = time.perf_counter()
for _ in range({tasks}): noop.delay(1, 2)
print({tasks} / (time.perf_counter() - started))
"""
BULK = """
import time
from benchmarks.umbel_app import noop
noop.delay(1, 2)
started = time.perf_counter()
noop.delay_many([(1, 2)] * {tasks})
print({tasks} / (time.perf_counter() - started))
"""
BARE_COMMITS = """
from pathlib import Path
from benchmarks.bare import one_row_commits
print(one_row_commits(Path({path!r}), {durability!r}, {tasks}))
"""
ROUND_TRIPS = """
import time
from benchmarks.umbel_app import noop
for _ in range(20): noop.delay(1, 2).get(timeout=10)
times = []
for _ in range({tasks}):
    started = time.perf_counter()
    noop.delay(1, 2).get(timeout=10)
    times.append(time.perf_counter() - started)
times.sort()
print(times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000)
"""


def one_by_one(place: Place, tasks: int) -> float:
    """``delay()`` calls per second of one process."""
    return float(place.run(ONE_BY_ONE.format(tasks=tasks)))


def bulk(place: Place, tasks: int) -> float:
    """Calls per second of ``delay_many`` in one process."""
    return float(place.run(BULK.format(tasks=tasks)))


def bare_commits(place: Place, tasks: int) -> float:
    """One-row transactions per second of one process."""
    path = str(place.directory / "bare.db")
    code = BARE_COMMITS.format(path=path, durability=place.durability, tasks=tasks)
    return float(place.run(code))


def round_trips(place: Place, tasks: int) -> tuple[float, float]:
    """Milliseconds from ``delay()`` to the result of ``get()``: median and 99th percentile."""
    with place.process(*UMBEL_WORKER):
        median, p99 = place.run(ROUND_TRIPS.format(tasks=tasks)).split()
    return float(median), float(p99)


def start_up(place: Place) -> float:
    """Seconds from starting the worker to its first task, which waits in the queue."""
    place.run("from benchmarks.umbel_app import noop; noop.delay(1, 2)")
    started = time.perf_counter()
    with place.process(*UMBEL_WORKER):
        wait_until(lambda: count(place.ledger) > 0, 20)
        return time.perf_counter() - started


def idle(place: Place, seconds: float) -> tuple[float, float]:
    """Percent of a core and MB (proportional set size) of an idle worker's processes."""
    place.run("from benchmarks.umbel_app import noop; noop.delay(1, 2)")
    with place.process(*UMBEL_WORKER) as worker:
        wait_until(lambda: count(place.ledger) > 0, 20)
        time.sleep(2)
        pids = tree(worker.pid)
        before = sum(map(cpu_seconds, pids))
        time.sleep(seconds)
        used = sum(map(cpu_seconds, pids)) - before
        return used / seconds * 100, sum(map(proportional_mb, pids))


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(inner for child in children for inner in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def proportional_mb(pid: int) -> float:
    """Return a process's memory, shared pages divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def resident_mb(pid: int) -> float:
    """Return a process's own, private memory."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total / 1024

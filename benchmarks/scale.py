"""What large numbers do: a million waiting tasks, and a million tasks through one worker."""

from __future__ import annotations

from benchmarks.sides import UMBEL_FILL, UMBEL_WORKER, Place
from benchmarks.single import cpu_seconds, resident_mb, tree
from benchmarks.work import count, wait_until


def cost_with_waiting(place: Place, waiting: int, tasks: int) -> float:
    """Microseconds of processor time a task while about `waiting` others wait."""
    place.run(UMBEL_FILL.format(tasks=waiting + tasks))
    with place.process(*UMBEL_WORKER) as worker:
        wait_until(lambda: count(place.ledger) >= tasks // 10, 60)
        pids = tree(worker.pid)
        first, before = count(place.ledger), sum(map(cpu_seconds, pids))
        wait_until(lambda: count(place.ledger) >= tasks, 120)
        used = sum(map(cpu_seconds, pids)) - before
        return used / (count(place.ledger) - first) * 1e6


def memory_after(place: Place, few: int, many: int) -> tuple[float, float]:
    """MB of private memory of all the worker's processes after a few and after many tasks."""
    place.run(UMBEL_FILL.format(tasks=many))
    with place.process(*UMBEL_WORKER) as worker:
        wait_until(lambda: count(place.ledger) >= few, 60)
        pids = tree(worker.pid)
        early = sum(map(resident_mb, pids))
        wait_until(lambda: count(place.ledger) >= many, 600, every=0.1)
        return early, sum(map(resident_mb, pids))

"""The work that is measured: a task that does next to nothing, and proof that it ran.

Every `noop` appends one byte to a file in memory; its size is the number of tasks that ran. The bare loops
do the same. A `nap` appends its number and the end of a line.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

LEDGER = os.environ.get("BENCH_LEDGER", os.devnull)
_ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

#: Seconds that a nap takes.
NAP = 0.05

sleep = time.sleep
sleep_async = asyncio.sleep


def ran() -> None:
    """Say that a task ran."""
    os.write(_ledger, b".")


def ran_here() -> None:
    """Say which process ran a task."""
    os.write(_ledger, b"%d\n" % os.getpid())


def napped(number: int) -> None:
    """Say which nap is over."""
    os.write(_ledger, b"%d\n" % number)


def count(ledger: Path) -> int:
    """Return how many tasks ran."""
    try:
        return ledger.stat().st_size
    except FileNotFoundError:
        return 0


def naps(ledger: Path) -> list[int]:
    """Return the numbers of the naps that are over, in their order."""
    try:
        return [int(line) for line in ledger.read_text().split()]
    except FileNotFoundError:
        return []


def reached(condition: Callable[[], bool], seconds: float, every: float = 0.002) -> bool:
    """Wait for a condition; tell whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.002) -> None:
    """Wait for a condition. Raises TimeoutError."""
    if not reached(condition, seconds, every):
        raise TimeoutError(f"Nothing came of it within {seconds:g} s.")


def drain_rate(ledger: Path, tasks: int, seconds: float = 120.0) -> float:
    """Return tasks per second from the first tenth of `tasks` to the last one."""
    begin = tasks // 10
    wait_until(lambda: count(ledger) >= begin, seconds)
    first, started = count(ledger), time.perf_counter()
    wait_until(lambda: count(ledger) >= tasks, seconds)
    return (tasks - first) / (time.perf_counter() - started)

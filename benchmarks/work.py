"""The work that is measured: a task that does next to nothing, and proof that it ran.

Every task appends one byte to a file in memory; its size is the number of tasks that ran. The bare
loops do the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LEDGER = os.environ.get("BENCH_LEDGER", os.devnull)
_ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def ran() -> None:
    """Say that a task ran."""
    os.write(_ledger, b".")


def count(ledger: Path) -> int:
    """Return how many tasks ran."""
    try:
        return ledger.stat().st_size
    except FileNotFoundError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.002) -> None:
    """Wait for a condition. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Nothing came of it within {seconds:g} s.")
        time.sleep(every)


def drain_rate(ledger: Path, tasks: int, seconds: float = 120.0) -> float:
    """Return tasks per second from the first tenth of `tasks` to the last one."""
    begin = tasks // 10
    wait_until(lambda: count(ledger) >= begin, seconds)
    first, started = count(ledger), time.perf_counter()
    wait_until(lambda: count(ledger) >= tasks, seconds)
    return (tasks - first) / (time.perf_counter() - started)

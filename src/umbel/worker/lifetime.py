"""How long a child lives: until it has run so many tasks, or its memory has grown so much."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

try:
    import resource
except ImportError:  # Windows, where no child is ever replaced
    resource = None  # type: ignore[assignment]

_STATM = Path("/proc/self/statm")


def resident_kib() -> int:
    """Return how much memory this process has, in KiB; where the system does not say, the most it had."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        pass
    if resource is None:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


class Lifetime:
    """Counts what a child has run. Without limits, None or 0, it lives as long as its worker."""

    def __init__(
        self,
        tasks: int | None = None,
        memory: int | None = None,
        measure: Callable[[], int] = resident_kib,
    ) -> None:
        self._tasks = tasks or 0
        self._memory = memory or 0
        self._measure = measure
        self._run = 0
        self._ended = ""
        #: Whether it ever ends: else nothing needs to be counted.
        self.limited = bool(tasks or memory)

    def affords(self, limit: int) -> int:
        """Return how many of `limit` tasks it may still run: no more are fetched."""
        return min(limit, max(self._tasks - self._run, 1)) if self._tasks else limit

    def count(self) -> None:
        """Note that a task was run."""
        self._run += 1

    def end(self, why: str) -> None:
        """End it, whatever its limits are."""
        self._ended = why

    def over(self) -> str:
        """Return why it is over, in words, or nothing. Asked after each batch."""
        if self._ended:
            return self._ended
        if self._tasks and self._run >= self._tasks:
            return f"it ran {self._run} tasks (worker_max_tasks_per_child)"
        if self._memory and self._run and (found := self._measure()) > self._memory:
            return f"it has {found} KiB of {self._memory} (worker_max_memory_per_child)"
        return ""

"""The loop of a child under the name that it has in Celery's pool, for packages that put theirs around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Worker:
    """A child of the worker, as billiard's ``pool.Worker`` is: what `workloop` runs is all that it does."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run

    def workloop(self, debug: Any = None, now: Any = None, pid: int | None = None) -> None:
        """Fetch, run and settle until stopped. Called once in each child, `pid` is the child's."""
        self._run()

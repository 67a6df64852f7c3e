"""The workflows that are compared: umbel and Celery are called alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.work import ran_here

#: Chains that run at the same time, since one alone keeps only one process busy.
CHAINS = 2

Timed = Callable[[int], float]
"""Sends and awaits workflows of so many tasks; returns the seconds that took."""


def actions_of(app: Any, chain: Any, chord: Any) -> tuple[Timed, Timed]:
    """Give an app its tasks; return what times a chord, and what times some chains at the same time."""

    step = app.task(name="step", ignore_result=False)(_step)
    total = app.task(name="total", ignore_result=False)(_total)

    def chord_of(tasks: int) -> float:
        return taken(
            lambda: [chord([step.s(n) for n in range(tasks)], total.s()).apply_async()], tasks
        )

    def chains_of(tasks: int) -> float:
        def send() -> list[Any]:
            whole = [chain(step.s(1), *(step.s() for _ in range(tasks - 1))) for _ in range(CHAINS)]
            return [one.apply_async() for one in whole]

        return taken(send, 1)

    return chord_of, chains_of


def _step(x: int) -> int:
    """Do nothing."""
    ran_here()
    return x


def _total(values: list[int]) -> int:
    """Return how many results there are."""
    return len(values)


def taken(send: Callable[[], list[Any]], value: int) -> float:
    """Send workflows and wait for their results; return the seconds from building them to the last.

    Raises ValueError where a result is another one.
    """
    started = time.perf_counter()
    for result in send():
        found = result.get(timeout=300)
        if found != value:
            raise ValueError(f"A workflow returned {found!r}, not {value!r}.")
    return time.perf_counter() - started

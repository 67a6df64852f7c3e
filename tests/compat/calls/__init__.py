"""The table of calls that are made through Celery and through umbel alike, by subject."""

from __future__ import annotations

from tests.compat.calls import arguments, canvas, options, routes, running, tasks, times
from tests.compat.calls.model import Case


def _by_name(*tables: list[Case]) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for case in (case for table in tables for case in table):
        if case.name in found:
            raise ValueError(f"two cases are named {case.name}")
        found[case.name] = case
    return found


CASES = _by_name(
    arguments.CASES,
    times.CASES,
    options.CASES,
    routes.CASES,
    tasks.CASES,
    running.CASES,
    canvas.CASES,
)

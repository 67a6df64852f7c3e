"""huey on SQLite with the same fsync as umbel's."""

from __future__ import annotations

import os

from huey import SqliteHuey

from benchmarks.work import ran

huey = SqliteHuey(
    "bench",
    filename=os.environ.get("BENCH_HUEY_FILE", ":memory:"),
    fsync=os.environ.get("BENCH_DURABILITY", "full") == "full",
    results=os.environ.get("BENCH_RESULTS") == "1",
    store_none=True,
)


@huey.task()
def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def send() -> None:
    noop(1, 2)

"""The app that umbel's side runs."""

from __future__ import annotations

import os

from benchmarks.work import ran
from umbel import Umbel

app = Umbel(
    task_ignore_result=os.environ.get("BENCH_RESULTS") != "1",
    sqlite_durability=os.environ.get("BENCH_DURABILITY", "full"),
)


@app.task
def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y

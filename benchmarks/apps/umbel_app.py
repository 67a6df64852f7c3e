"""umbel: at least once, as it comes."""

from __future__ import annotations

import os

from benchmarks.work import NAP, napped, ran, sleep
from umbel import Umbel

app = Umbel(
    broker=os.environ.get("BENCH_URL"),
    backend=os.environ.get("BENCH_BACKEND"),
    task_ignore_result=os.environ.get("BENCH_RESULTS") != "1",
    sqlite_durability=os.environ.get("BENCH_DURABILITY", "full"),
)


@app.task
def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@app.task
def nap(number: int) -> None:
    """Take some time."""
    sleep(NAP)
    napped(number)


def prepare() -> None:
    app.engine(app.broker_url).migrate()


def send() -> None:
    noop.delay(1, 2)


def call() -> None:
    noop.delay(1, 2).get(timeout=10)


def bulk(count: int) -> None:
    noop.delay_many([(1, 2)] * count)


def schedule(count: int) -> None:
    noop.delay_many([(1, 2)] * count, countdown=86_400)


def send_nap(number: int) -> None:
    nap.delay(number)

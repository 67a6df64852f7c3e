"""huey on Redis: it takes a task off before it runs it. 2 processes."""

from __future__ import annotations

import os

from huey import RedisHuey

from benchmarks.work import NAP, napped, ran, sleep

huey = RedisHuey(
    "bench",
    url=os.environ["BENCH_URL"],
    results=os.environ.get("BENCH_RESULTS") == "1",
    store_none=True,
    notify_result=True,
)


@huey.task()
def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@huey.task()
def nap(number: int) -> None:
    """Take some time."""
    sleep(NAP)
    napped(number)


def send() -> None:
    noop(1, 2)


def call() -> None:
    noop(1, 2).get(blocking=True, timeout=10)


def send_nap(number: int) -> None:
    nap(number)

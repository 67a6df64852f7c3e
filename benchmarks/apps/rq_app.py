"""rq: two workers that run tasks in their own process (SimpleWorker), its fastest."""

from __future__ import annotations

import os
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.work import NAP, napped, ran, sleep

RESULTS = os.environ.get("BENCH_RESULTS") == "1"
queue = Queue(connection=Redis.from_url(os.environ["BENCH_URL"]))
KEPT: dict[str, Any] = {"result_ttl": 500 if RESULTS else 0}


def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def nap(number: int) -> None:
    """Take some time."""
    sleep(NAP)
    napped(number)


def send() -> None:
    queue.enqueue(noop, 1, 2, **KEPT)


def call() -> None:
    queue.enqueue(noop, 1, 2, **KEPT).latest_result(timeout=10)


def bulk(count: int) -> None:
    for first in range(0, count, 1000):
        queue.enqueue_many(
            [Queue.prepare_data(noop, (1, 2), **KEPT) for _ in range(min(1000, count - first))]
        )


def send_nap(number: int) -> None:
    queue.enqueue(nap, number, **KEPT)

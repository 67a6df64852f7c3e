"""Celery, by its documented advice for speed: early acknowledgement, a long prefetch, no remote control."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks.work import NAP, napped, ran, sleep

URL = os.environ["BENCH_URL"]
app = Celery("bench", broker=URL, backend=os.environ["BENCH_BACKEND"])
app.conf.update(
    task_ignore_result=os.environ.get("BENCH_RESULTS") != "1",
    worker_prefetch_multiplier=128,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
if URL.startswith("amqp"):
    app.conf.broker_transport_options = {"confirm_publish": True}


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


def send() -> None:
    noop.delay(1, 2)


def call() -> None:
    noop.delay(1, 2).get(timeout=10)


def bulk(count: int) -> None:
    with app.producer_pool.acquire() as producer:
        for _ in range(count):
            noop.apply_async((1, 2), producer=producer)


def send_nap(number: int) -> Any:
    nap.delay(number)

"""dramatiq on Redis or RabbitMQ (with confirms): late acknowledgement, 2 processes of 8 threads."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.work import NAP, napped, ran, sleep

URL = os.environ["BENCH_URL"]
RESULTS = os.environ.get("BENCH_RESULTS") == "1"
broker: dramatiq.Broker = (
    RabbitmqBroker(url=URL, confirm_delivery=True)
    if URL.startswith("amqp")
    else RedisBroker(url=URL)
)
if RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


def _noop(x: int, y: int) -> int | None:
    """Do nothing."""
    ran()
    return x + y if RESULTS else None


OPTIONS: dict[str, Any] = {"store_results": True} if RESULTS else {}
noop: Any = dramatiq.actor(_noop, actor_name="noop", **OPTIONS)


@dramatiq.actor
def nap(number: int) -> None:
    """Take some time."""
    sleep(NAP)
    napped(number)


def send() -> None:
    noop.send(1, 2)


def call() -> None:
    noop.send(1, 2).get_result(block=True, timeout=10_000)


def send_nap(number: int) -> None:
    nap.send(number)

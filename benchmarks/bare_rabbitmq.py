"""A bare loop on RabbitMQ: what the server and a client library can do, without a task queue.

umbel's own messages by pika, the quickest of the libraries that were tried: a consumer with a prefetch of 256
that acknowledges every 64 with one word, decodes each with orjson and calls a function. No outcome, no
retries, no crash counts: an upper bound.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson
import pika

from benchmarks.work import ran

BATCH, PREFETCH = 64, 256


def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def drain(url: str) -> None:
    """Consume, decode and call until ended."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    taken = 0

    def run(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal taken
        args, kwargs, _ = orjson.loads(body)
        noop(*args, **kwargs)
        taken += 1
        if taken % BATCH == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)

    channel.basic_consume("celery", run)
    channel.start_consuming()


def publish_rate(url: str, count: int) -> float:
    """Return how often the one message that waits can be published a second, each confirmed in turn."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    _, properties, body = channel.basic_get("celery", auto_ack=True)
    channel.queue_declare("bare", durable=True)
    channel.confirm_delivery()
    started = time.perf_counter()
    for _ in range(count):
        channel.basic_publish("", "bare", body, properties)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    drain(sys.argv[1])

"""streaq on Redis streams; 2 processes of 100 coroutines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streaq import Worker

from benchmarks.work import NAP, napped, ran, sleep_async

worker = Worker(redis_url=os.environ["BENCH_URL"], concurrency=100)
TTL = 3600 if os.environ.get("BENCH_RESULTS") == "1" else 0


@worker.task(ttl=TTL)
async def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@worker.task(ttl=0)
async def nap(number: int) -> None:
    """Take some time."""
    await sleep_async(NAP)
    napped(number)


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    async with worker:
        yield


async def send() -> None:
    await noop.enqueue(1, 2)


async def call() -> None:
    task = await noop.enqueue(1, 2)
    await task.result(10)


async def bulk(count: int) -> None:
    for first in range(0, count, 1000):
        await worker.enqueue_many([noop.enqueue(1, 2) for _ in range(min(1000, count - first))])


async def send_nap(number: int) -> None:
    await nap.enqueue(number)

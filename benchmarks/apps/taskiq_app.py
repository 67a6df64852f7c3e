"""taskiq on a Redis stream, acknowledged when the result is saved; 2 processes of 100 coroutines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.work import NAP, napped, ran, sleep_async

URL = os.environ["BENCH_URL"]
broker = RedisStreamBroker(URL)
if os.environ.get("BENCH_RESULTS") == "1":
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=3600))


@broker.task
async def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@broker.task
async def nap(number: int) -> None:
    """Take some time."""
    await sleep_async(NAP)
    napped(number)


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


async def send() -> None:
    await noop.kiq(1, 2)


async def call() -> None:
    task = await noop.kiq(1, 2)
    await task.wait_result(check_interval=0.001, timeout=10)


async def send_nap(number: int) -> None:
    await nap.kiq(number)

"""arq, two workers that look every 10 ms for up to 100 jobs. It needs a redis-py of its own (< 6)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import func

from benchmarks.work import NAP, napped, ran, sleep_async

SETTINGS = RedisSettings.from_dsn(os.environ["BENCH_URL"])
RESULTS = os.environ.get("BENCH_RESULTS") == "1"
_pool: list[Any] = []


async def noop(ctx: Any, x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


async def nap(ctx: Any, number: int) -> None:
    """Take some time."""
    await sleep_async(NAP)
    napped(number)


class WorkerSettings:
    """What ``arq`` on the command line reads."""

    functions = (
        func(noop, name="noop", keep_result=3600 if RESULTS else 0),
        func(nap, name="nap", keep_result=0),
    )
    redis_settings = SETTINGS
    poll_delay = 0.01
    max_jobs = 100


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    _pool.append(await create_pool(SETTINGS))
    yield
    await _pool.pop().aclose()


async def send() -> None:
    await _pool[0].enqueue_job("noop", 1, 2)


async def call() -> None:
    job = await _pool[0].enqueue_job("noop", 1, 2)
    await job.result(timeout=10, poll_delay=0.001)


async def send_nap(number: int) -> None:
    await _pool[0].enqueue_job("nap", number)

"""procrastinate on PostgreSQL: 2 processes of 10 coroutines. It keeps no results."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import procrastinate

from benchmarks.work import NAP, napped, ran, sleep_async

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]))


@app.task(name="noop")
async def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@app.task(name="nap")
async def nap(number: int) -> None:
    """Take some time."""
    await sleep_async(NAP)
    napped(number)


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    async with app.open_async():
        yield


async def prepare() -> None:
    await app.schema_manager.apply_schema_async()


async def send() -> None:
    await noop.defer_async(x=1, y=2)


async def bulk(count: int) -> None:
    for first in range(0, count, 1000):
        calls = [{"x": 1, "y": 2}] * min(1000, count - first)
        await noop.batch_defer_async(*calls)


async def send_nap(number: int) -> None:
    await nap.defer_async(number=number)

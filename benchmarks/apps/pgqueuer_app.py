"""pgqueuer on PostgreSQL, by asyncpg: 2 processes that take 100 jobs at a time. It keeps no results."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

from benchmarks.work import NAP, napped, ran, sleep_async

_queries: list[Queries] = []


async def main() -> PgQueuer:
    """Return a worker; what ``pgqueuer run`` calls."""
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_URL"])))

    @worker.entrypoint("noop")
    async def noop(job: Job) -> None:
        """Do nothing."""
        json.loads(job.payload or b"")
        ran()

    @worker.entrypoint("nap")
    async def nap(job: Job) -> None:
        """Take some time."""
        await sleep_async(NAP)
        napped(json.loads(job.payload or b""))

    return worker


@asynccontextmanager
async def opened() -> AsyncIterator[None]:
    connection = await asyncpg.connect(os.environ["BENCH_URL"])
    _queries.append(Queries(AsyncpgDriver(connection)))
    yield
    await connection.close()


async def prepare() -> None:
    await _queries[-1].install()


async def send() -> None:
    await _queries[-1].enqueue("noop", b"[1, 2]")


async def bulk(count: int) -> None:
    for first in range(0, count, 1000):
        size = min(1000, count - first)
        await _queries[-1].enqueue(["noop"] * size, [b"[1, 2]"] * size, [0] * size)


async def send_nap(number: int) -> None:
    await _queries[-1].enqueue("nap", json.dumps(number).encode())

"""umbel with tasks for executors that run many at a time; the app is that of `umbel_app`."""

from __future__ import annotations

import asyncio
import time

from benchmarks.apps.umbel_app import app
from benchmarks.work import ran

#: What `benchmarks.driver` may be asked for beside what all apps have.
ACTIONS = ("dozes", "stays", "ends")
#: Seconds that a task dozes, that it stays in flight, and for which one computes beside others.
DOZE, STAY, COMPUTE = 0.1, 600.0, 60.0


@app.task
async def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


@app.task
async def doze(seconds: float) -> None:
    """Wait for a while; say when it begins, and when it ends."""
    ran()
    await asyncio.sleep(seconds)
    ran()


@app.task
async def stay(seconds: float) -> None:
    """Be in flight."""
    ran()
    await asyncio.sleep(seconds)


@app.task
def compute(seconds: float) -> None:
    """Keep the interpreter busy."""
    ran()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@app.task(ignore_result=False)
async def moment() -> float:
    """Return when it ended."""
    return time.monotonic()


@app.task(ignore_result=False)
def moment_in_thread() -> float:
    """Do the same."""
    return time.monotonic()


def send() -> None:
    noop.delay(1, 2)


def call() -> None:
    noop.delay(1, 2).get(timeout=10)


def bulk(count: int) -> None:
    noop.delay_many([(1, 2)] * count)


def dozes(count: int) -> None:
    doze.delay_many([(DOZE,)] * count)


def stays(count: int) -> None:
    stay.delay_many([(STAY,)] * count)


def ends(count: int) -> list[float]:
    """Return the milliseconds from the end of a task to its result, while another one computes."""
    compute.delay(COMPUTE)
    time.sleep(0.5)
    taken = []
    for number in range(count):
        task = (moment, moment_in_thread)[number % 2]
        ended = task.delay().get(timeout=30)
        taken.append((time.monotonic() - ended) * 1000)
    return taken

"""Time limits in real children that run many tasks at a time: one of threads, one of coroutines."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Worker
from umbel import AsyncResult
from umbel.clock import SYSTEM
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
import asyncio
import ctypes
import os
import time
from pathlib import Path

from umbel import Umbel
from umbel.exceptions import SoftTimeLimitExceeded

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))
LONG = 60


@app.task(soft_time_limit=0.3)
def computes():
    while True:
        sum(range(1000))


@app.task(soft_time_limit=0.3)
def cleans_up():
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        time.sleep(0.01)
        return "cleaned up"


@app.task(soft_time_limit=0.3)
async def waits():
    await asyncio.gather(asyncio.sleep(LONG), asyncio.sleep(LONG))


@app.task(soft_time_limit=0.3)
async def cleans_up_later():
    try:
        await asyncio.sleep(LONG)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.001)
        return "cleaned up"


@app.task(soft_time_limit=0.3)
async def computes_on_the_loop():
    while True:
        sum(range(1000))


@app.task(bind=True, soft_time_limit=0.3, autoretry_for=(SoftTimeLimitExceeded,), default_retry_delay=0)
async def tries_again(self):
    if not self.request.retries:
        await asyncio.sleep(LONG)
    return self.request.retries


def note(self, error, *more):
    (here / "failed").write_text(type(error).__name__)


@app.task(time_limit=0.5, on_failure=note)
async def polite():
    try:
        await asyncio.sleep(LONG)
    finally:
        (here / "polite-ended").touch()


@app.task(time_limit=0.5, on_failure=note)
def busy():
    while True:
        sum(range(1000))


@app.task(time_limit=0.5)
def hangs():
    time.sleep(LONG)


@app.task(time_limit=0.5)
async def deaf():
    while True:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            pass


@app.task(time_limit=0.5)
async def blocks():
    time.sleep(LONG)


@app.task(time_limit=0.5)
def stuck():
    ctypes.PyDLL(None).usleep(LONG * 1_000_000)


@app.task
def pid():
    return os.getpid()


@app.task(bind=True)
async def holds(self, name):
    with (here / f"{name}-entered").open("a") as file:
        file.write("x")
    while not (here / name).exists():
        await asyncio.sleep(0.005)
    return [os.getpid(), self.request.crashes]
"""


class Place:
    """A project, its tasks as a client has them, and its workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "tasks.py").write_text(TASKS)
        (path / "run").mkdir()
        spec = importlib.util.spec_from_file_location("tasks", path / "tasks.py")
        assert spec is not None
        assert spec.loader is not None
        self.tasks: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tasks)
        self.workers = {
            name: Worker(
                path, ("-l", "INFO", "-P", name, "-c", "4", "-Q", name, "-n", name), logs_to=name
            )
            for name in ("threads", "asyncio")
        }

    def send(self, name: str, *args: Any, queue: str, **options: Any) -> AsyncResult[Any]:
        sent: AsyncResult[Any] = getattr(self.tasks, name).apply_async(args, queue=queue, **options)
        return sent

    def ask(self, name: str, *args: Any, queue: str) -> Any:
        return self.send(name, *args, queue=queue).get(timeout=PATIENCE)

    def held(self, name: str, queue: str) -> AsyncResult[Any]:
        """Have a task run until a file of this name is there."""
        sent = self.send("holds", name, queue=queue)
        until((self.path / f"{name}-entered").exists)
        return sent

    def runs_of(self, name: str) -> int:
        return len((self.path / f"{name}-entered").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("limits"))
    until(lambda: all(worker.says(" ready.") for worker in place.workers.values()))
    yield place
    for worker in place.workers.values():
        worker.close()
    place.tasks.app.close()


executors = pytest.mark.parametrize("queue", ["threads", "asyncio"])

SOFT = {
    "computes": SoftTimeLimitExceeded,
    "cleans_up": "cleaned up",
    "waits": SoftTimeLimitExceeded,
    "cleans_up_later": "cleaned up",
    "computes_on_the_loop": SoftTimeLimitExceeded,
    "tries_again": 1,
}


@executors
def test_a_task_is_told_of_its_soft_limit(place: Place, queue: str) -> None:
    before = place.ask("pid", queue=queue)
    sent = {name: place.send(name, queue=queue) for name in SOFT}
    found = {name: result.get(timeout=PATIENCE, propagate=False) for name, result in sent.items()}
    assert {
        name: type(value) if isinstance(value, Exception) else value
        for name, value in found.items()
    } == SOFT
    line = f"Soft time limit (0.3s) exceeded for tasks.waits[{sent['waits'].id}]"
    until(lambda: place.workers[queue].says(line))
    assert place.ask("pid", queue=queue) == before


def exceeds(place: Place, name: str, queue: str) -> None:
    """Run a task until its limit has passed; it is recorded in time."""
    late = place.send(name, queue=queue)
    until(lambda: place.workers[queue].says(f"{late.id}] received"))
    begun = SYSTEM.monotonic()
    with pytest.raises(TimeLimitExceeded) as raised:
        late.get(timeout=PATIENCE)
    assert SYSTEM.monotonic() - begun < 0.5 + 1.0
    assert raised.value.args == (0.5,)
    line = f"Hard time limit (0.5s) exceeded for tasks.{name}[{late.id}]"
    until(lambda: place.workers[queue].says(line))
    assert place.workers[queue].text.count(f"{late.id}] received") == 1


@executors
@pytest.mark.parametrize("name", ["polite", "busy"])
def test_what_can_be_stopped_is_and_its_child_goes_on(place: Place, queue: str, name: str) -> None:
    before = place.ask("pid", queue=queue)
    exceeds(place, name, queue)
    if name == "polite":
        until((place.path / "polite-ended").exists)
    assert place.ask("pid", queue=queue) == before
    # Nothing follows what the task does then.
    assert not (place.path / "failed").exists()


@executors
@pytest.mark.parametrize("name", ["hangs", "deaf"])
def test_what_cannot_be_stopped_costs_the_child_but_no_neighbour(
    place: Place, queue: str, name: str
) -> None:
    beside = f"beside-{name}-{queue}"
    neighbour = place.held(beside, queue)
    before = place.ask("pid", queue=queue)
    exceeds(place, name, queue)
    until(lambda: place.ask("pid", queue=queue) != before)
    assert place.workers[queue].says("a task that exceeded its time limit cannot be stopped")
    (place.path / beside).touch()
    assert neighbour.get(timeout=PATIENCE) == [before, 0]
    assert place.runs_of(beside) == 1


@pytest.mark.parametrize(
    ("queue", "name"),
    [("threads", "stuck"), ("asyncio", "stuck"), ("threads", "blocks"), ("asyncio", "blocks")],
)
def test_where_nothing_else_can_go_on_the_neighbours_run_elsewhere_and_count_no_crash(
    place: Place, queue: str, name: str
) -> None:
    beside = f"beside-{name}-{queue}"
    neighbour = place.held(beside, queue)
    before = place.ask("pid", queue=queue)
    exceeds(place, name, queue)
    until(lambda: place.runs_of(beside) == 2)
    (place.path / beside).touch()
    again, crashes = neighbour.get(timeout=PATIENCE)
    assert again != before
    assert crashes == 0
    assert place.tasks.app.queues.depths()[queue].leased == 0

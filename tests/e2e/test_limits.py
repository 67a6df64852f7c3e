"""Limits in real workers: of time, of rates, and of what a child may run and take.

All tests share three workers: one with children, one with a child that soon leaves, and one process alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.support import Worker
from umbel import AsyncResult
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
import asyncio
import ctypes
import os
import socket
import time
from pathlib import Path

from umbel import Umbel
from umbel.exceptions import SoftTimeLimitExceeded

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))
LONG = 60


@app.task(soft_time_limit=0.3)
def sleeps():
    time.sleep(LONG)


@app.task(soft_time_limit=0.3)
def reads():
    ours, theirs = socket.socketpair()
    ours.recv(1)


@app.task(soft_time_limit=0.3)
async def waits():
    await asyncio.gather(asyncio.sleep(LONG), asyncio.sleep(LONG))


@app.task(soft_time_limit=0.3)
def cleans_up():
    try:
        time.sleep(LONG)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@app.task(soft_time_limit=0.3)
async def cleans_up_later():
    try:
        await asyncio.sleep(LONG)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.001)
        return "cleaned up"


@app.task(bind=True, soft_time_limit=0.3, autoretry_for=(SoftTimeLimitExceeded,), default_retry_delay=0)
def tries_again(self):
    if not self.request.retries:
        time.sleep(LONG)
    return self.request.retries


def note(self, error, *more):
    (here / "failed").write_text(type(error).__name__)


@app.task(soft_time_limit=0.3, on_failure=note)
def tells():
    time.sleep(LONG)


@app.task(time_limit=0.5)
def hangs():
    time.sleep(LONG)


@app.task(time_limit=0.5, acks_late=False)
def hangs_once():
    time.sleep(LONG)


@app.task(time_limit=0.5)
def stuck():
    ctypes.PyDLL(None).usleep(LONG * 1_000_000)


@app.task(bind=True)
def limits(self, wait=False):
    if wait:
        time.sleep(LONG)
    return self.request.timelimit


@app.task
def pid():
    return os.getpid()


@app.task
def holds(name):
    (here / f"{name}-entered").touch()
    while not (here / name).exists():
        time.sleep(0.005)
    return os.getpid()


@app.task(rate_limit="20/s")
def seldom(number):
    return time.monotonic(), number


grown = []


@app.task
def grows(megabytes):
    grown.append(bytearray(b"x") * (megabytes * 2**20))
    return os.getpid()
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
        self.tasks: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tasks)
        self.many = self.start("many", "-c", "2")
        self.few = self.start("few", "-c", "1", "--max-tasks-per-child", "3")
        self.alone = self.start("alone", "-P", "solo", "--time-limit", "60")
        self.small = self.start("small", "-c", "1", "--max-memory-per-child", "100000")
        self.workers = (self.many, self.few, self.alone, self.small)

    def start(self, name: str, *words: str) -> Worker:
        """Start a worker that consumes a queue of its name."""
        return Worker(self.path, ("-l", "INFO", "-Q", name, "-n", name, *words), logs_to=name)

    def send(self, name: str, *args: Any, queue: str = "many", **options: Any) -> AsyncResult[Any]:
        task: Any = getattr(self.tasks, name)
        sent: AsyncResult[Any] = task.apply_async(args, queue=queue, **options)
        return sent

    def ask(self, name: str, *args: Any, queue: str = "many", **options: Any) -> Any:
        return self.send(name, *args, queue=queue, **options).get(timeout=PATIENCE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("limits"))
    until(lambda: all(worker.says(" ready.") for worker in place.workers))
    yield place
    for worker in place.workers:
        worker.close()
    place.tasks.app.close()


SOFT = {
    "sleeps": SoftTimeLimitExceeded,
    "reads": SoftTimeLimitExceeded,
    "waits": SoftTimeLimitExceeded,
    "cleans_up": "cleaned up",
    "cleans_up_later": "cleaned up",
    "tries_again": 1,
}


@pytest.mark.parametrize("queue", ["many", "alone"])
def test_a_task_is_told_of_its_soft_limit(place: Place, queue: str) -> None:
    # All but the first two wait for each other in vain: each goes on as soon as it is told.
    sent = {name: place.send(name, queue=queue) for name in SOFT}
    found = {name: result.get(timeout=PATIENCE, propagate=False) for name, result in sent.items()}
    assert {
        name: type(value) if isinstance(value, Exception) else value
        for name, value in found.items()
    } == SOFT
    log = place.many if queue == "many" else place.alone
    line = f"Soft time limit (0.3s) exceeded for tasks.sleeps[{sent['sleeps'].id}]"
    until(lambda: log.says(line))


def test_handlers_hear_of_a_soft_limit(place: Place) -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        place.ask("tells")
    assert (place.path / "failed").read_text() == "SoftTimeLimitExceeded"


@pytest.mark.parametrize("name", ["hangs", "stuck", "hangs_once"])
def test_a_task_that_exceeds_its_hard_limit_is_killed_and_its_neighbours_go_on(
    place: Place, name: str
) -> None:
    neighbour = place.send("holds", f"beside-{name}")
    until((place.path / f"beside-{name}-entered").exists)
    late = place.send(name)
    with pytest.raises(TimeLimitExceeded) as raised:
        late.get(timeout=PATIENCE)
    assert raised.value.args == (0.5,)
    assert late.state == "FAILURE"
    line = f"Hard time limit (0.5s) exceeded for tasks.{name}[{late.id}]"
    until(lambda: place.many.says(line))  # it is stored first, and then told
    (place.path / f"beside-{name}").touch()
    neighbour.get(timeout=PATIENCE)
    assert place.many.text.count(f"{neighbour.id}] received") == 1
    assert place.many.text.count(f"{late.id}] received") == 1
    until(lambda: place.tasks.app.queues.depths()["many"].leased == 0)
    assert place.tasks.app.queues.depths()["many"].ready == 0


def test_limits_of_a_call(place: Place) -> None:
    assert place.ask("limits") == [None, None]
    assert place.ask("limits", time_limit=40, soft_time_limit=30.5) == [40, 30.5]
    with pytest.raises(SoftTimeLimitExceeded):
        place.ask("limits", True, soft_time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        place.ask("limits", True, time_limit=0.2)


def test_a_process_alone_says_that_it_kills_nobody(place: Place) -> None:
    assert place.alone.says("-P solo enforces no hard time limits")
    assert place.many.text.count("enforces no") == 0


def test_a_child_is_replaced_after_so_many_tasks_without_a_loss(place: Place) -> None:
    sent = [place.send("pid", queue="few") for _ in range(10)]
    pids = [result.get(timeout=PATIENCE) for result in sent]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 1]
    assert "ERROR" not in place.few.text
    assert "WARNING" not in place.few.text
    assert place.few.text.count("takes its place: it ran 3 tasks") == 3


def test_a_child_that_has_taken_too_much_memory_is_replaced(place: Place) -> None:
    first = place.ask("grows", 1, queue="small")
    assert place.ask("grows", 100, queue="small") == first
    assert place.ask("grows", 1, queue="small") != first
    assert place.small.says("KiB of 100000 (worker_max_memory_per_child)")
    assert "ERROR" not in place.small.text


def test_a_rate_is_kept_by_all_children_together_and_holds_up_nothing_else(place: Place) -> None:
    sent = [place.send("seldom", number) for number in range(12)]
    place.ask("pid")
    assert not all(result.ready() for result in sent)
    moments = sorted(result.get(timeout=PATIENCE)[0] for result in sent)
    assert moments[-1] - moments[0] >= 11 / 20 - 0.1
    assert place.many.says("is over its rate limit, and comes back at")

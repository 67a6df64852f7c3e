"""Real workers whose children run many tasks at a time: how they stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start, has_ended
from tests.unit.worker.support import take
from umbel import AsyncResult, Umbel, states
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
import asyncio
import sys
from pathlib import Path

from umbel import Umbel

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


def failed(self, *_):
    (here / "failed").touch()


@app.task(on_failure=failed)
async def cleans_up():
    (here / "switches").write_text(str(sys.getswitchinterval()))
    (here / "cleans_up").touch()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        (here / "cleaned").touch()


@app.task
async def ends():
    (here / "ends").touch()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "in time"


@app.task
async def deaf():
    (here / "deaf").touch()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    """The project's app as a client has it."""
    (project / "tasks.py").write_text(TASKS)
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        for name in ("cleans_up", "ends", "deaf"):
            app.task(name=f"tasks.{name}")(lambda: None)
        yield app


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_cold_shutdown_cancels_coroutines_and_gives_them_back(
    start: Start, app: Umbel, project: Path, pool: str
) -> None:
    worker = start("-P", pool, "-c", "4")
    child = worker.child()
    sent: dict[str, AsyncResult[Any]] = {
        name: app.tasks[f"tasks.{name}"].delay() for name in ("cleans_up", "ends", "deaf")
    }
    until(lambda: all((project / name).exists() for name in sent))
    worker.send(signal.SIGQUIT)
    assert worker.wait() == 1
    until(worker.is_gone)
    assert has_ended(child)
    assert (project / "cleaned").exists()
    assert not (project / "failed").exists()
    assert sent["ends"].get(timeout=PATIENCE) == "in time"
    assert {sent[name].state for name in ("cleans_up", "deaf")} == {states.PENDING}
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased, depth.dead) == (2, 0, 0)
    assert [found.crashes for found in take(app)] == [0, 0]
    assert "ERROR" not in worker.text
    for name in ("cleans_up", "deaf"):
        assert worker.says(f"{sent[name].id}] runs again: the worker was stopped before it ended")
    # What ends beside a task that computes waits for its turn no longer than that.
    assert (project / "switches").read_text() == "0.0003"

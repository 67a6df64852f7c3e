"""Tasks that harm their worker's processes after their own end: nobody else pays for it, and it ends."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start, Worker, children_of
from umbel.exceptions import WorkerLostError
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
import logging
import os
import sys
from pathlib import Path

from umbel import Umbel

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


def end_after_poison(record):
    # Said when a task has ended.
    if record.getMessage().startswith("Task tasks.poisons") and " succeeded in " in record.getMessage():
        os._exit(7)
    return True


logging.getLogger("umbel.trace").addFilter(end_after_poison)


def note(name, what):
    with (here / name).open("a") as file:
        file.write(what + "\\n")


@app.task
def poisons():
    # When it has been noted no other thread gets the interpreter, so that none settles this before the
    # process ends.
    sys.setswitchinterval(60)
    note("poisoned", "run")


@app.task
def neighbour(number):
    note("neighbours", str(number))
    return number


def fork(how):
    note("runs", how)
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "exits":
        sys.exit(3)
    if how == "raises":
        raise RuntimeError("only in the copy")
    return "from the copy"


@app.task
def forks(how):
    return fork(how)


@app.task
async def forks_async(how):
    return fork(how)


@app.task
def pid():
    return os.getpid()
"""


class Project:
    """A project, and its tasks as a client has them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "tasks.py").write_text(TASKS)
        spec = importlib.util.spec_from_file_location("tasks", path / "tasks.py")
        assert spec is not None
        assert spec.loader is not None
        self.tasks: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tasks)

    def lines(self, name: str) -> list[str]:
        return (self.path / name).read_text().split()


@pytest.fixture
def harm(project: Path) -> Iterator[Project]:
    found = Project(project)
    yield found
    found.tasks.app.close()


executors = pytest.mark.parametrize("executor", ["prefork", "threads", "asyncio"])


def at_work(start: Start, executor: str) -> Worker:
    return start("-P", executor, "-c", "1" if executor == "prefork" else "4")


@executors
def test_what_its_process_dies_of_after_its_end_becomes_a_dead_letter(
    harm: Project, start: Start, executor: str
) -> None:
    poisoned = harm.tasks.poisons.delay()
    others = [harm.tasks.neighbour.delay(number) for number in range(20)]
    worker = at_work(start, executor)
    with pytest.raises(WorkerLostError, match="exit code 7"):
        poisoned.get(timeout=PATIENCE)
    assert [other.get(timeout=PATIENCE) for other in others] == list(range(20))
    assert harm.lines("poisoned") == ["run"] * 3, worker.text
    depth = harm.tasks.app.queues.depths()["celery"]
    assert (depth.ready, depth.leased, depth.dead) == (0, 0, 1)


@executors
@pytest.mark.parametrize("task", ["forks", "forks_async"])
def test_a_copy_of_its_process_that_a_task_makes_ends_with_the_task(
    harm: Project, start: Start, executor: str, task: str
) -> None:
    worker = at_work(start, executor)
    child = harm.tasks.pid.delay().get(timeout=PATIENCE)
    codes = {"returns": 0, "exits": 3, "raises": 1}
    for how, code in codes.items():
        assert getattr(harm.tasks, task).delay(how).get(timeout=PATIENCE) == code
    assert harm.lines("runs") == list(codes)
    # It is the same process that goes on, and the only one.
    assert harm.tasks.pid.delay().get(timeout=PATIENCE) == child
    assert children_of(child) == []
    assert worker.text.count("went on in a copy of its process (os.fork)") == 2
    assert "RuntimeError: only in the copy" in worker.text
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    until(worker.is_gone)

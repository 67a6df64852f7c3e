"""Real workers of a real project, started by manage.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.django.support import environment, make_project, run
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until


class Worker:
    """A worker, and an app that sends to it and knows nothing of Django."""

    def __init__(self, project: Path, *words: str, **variables: str) -> None:
        self.project = project
        self._log = project / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                cwd=project,
                env=environment(project, **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"sqlite:///{project / 'umbel.db'}"
        self.app = Umbel(broker=url, backend=url, fixups=[], set_as_current=False)
        try:
            until(self._is_ready)
            #: What the first task found.
            self.first = self.call("connections")
        except BaseException:
            self.close()
            raise

    @property
    def text(self) -> str:
        return self._log.read_text()

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.text
        return " ready." in self.text

    def call(self, name: str, *args: Any) -> Any:
        return self.app.send_task(name, args, queue="books").get(timeout=PATIENCE)

    def close(self) -> None:
        self.app.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def prefork(project: Path) -> Iterator[Worker]:
    run(project, "manage.py", "migrate", "--run-syncdb", "-v", "0")
    words = ("manage.py", "umbel", "worker", "-c", "1", "-l", "INFO")
    worker = Worker(project, *words, "--settings=config.settings.local")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def solo(prefork: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    project = make_project(tmp_path_factory.mktemp("solo"))
    shutil.copy(prefork.project / "shop.db", project)
    words = ("-m", "umbel", "-A", "project_name.taskapp", "worker", "-P", "solo", "-l", "INFO")
    worker = Worker(project, *words, SHOP_REUSE="2")
    yield worker
    worker.close()


@pytest.mark.parametrize("task", ["charge", "charge_async"])
def test_a_task_uses_the_database(prefork: Worker, task: str) -> None:
    with contextlib.closing(sqlite3.connect(prefork.project / "shop.db")) as database, database:
        made = database.execute("INSERT INTO books_book (title, charged) VALUES ('Dune', 0)")
        pk = made.lastrowid
    assert prefork.call(task, pk) == "Dune"


@pytest.mark.parametrize("task", ["connections", "connections_async"])
def test_children_have_no_connection_of_who_imported_the_app_and_keep_their_own(
    prefork: Worker, task: str
) -> None:
    assert prefork.call("process") != prefork.process.pid
    assert prefork.first == [False, True]
    prefork.call(task)
    assert prefork.call(task) == [True, True]


def test_the_first_task_finds_no_connection(solo: Worker) -> None:
    """The setting says two tasks, so every other one finds one."""
    assert solo.call("process") == solo.process.pid
    found = [solo.first, *(solo.call("connections") for _ in range(3))]
    assert found == [[False, True], [False, True], [True, True], [False, True]]


def test_nothing_made_the_worker_start_children_from_scratch(prefork: Worker) -> None:
    assert "from scratch" not in prefork.text
    assert "Traceback" not in prefork.text


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_tasks_that_run_at_the_same_time_do_not_close_each_others_connections(
    prefork: Worker, tmp_path: Path, pool: str
) -> None:
    """With CONN_MAX_AGE = 0, Django's default, each task closes what it has used."""
    project = make_project(tmp_path / "project")
    shutil.copy(prefork.project / "shop.db", project)
    with contextlib.closing(sqlite3.connect(project / "shop.db")) as database, database:
        database.execute("DELETE FROM books_book")
        rows = [(f"Dune {number}",) for number in range(3)]
        database.executemany("INSERT INTO books_book (title, charged) VALUES (?, 0)", rows)
    words = ("manage.py", "umbel", "worker", "-c", "4", "-P", pool, "-l", "INFO")
    worker = Worker(project, *words, SHOP_AGE="0")
    try:
        books = worker.app.send_task("read", queue="books")
        assert [worker.call("connections_async")[1] for _ in range(3)] == [True] * 3
        assert worker.call("open_gate")
        assert books.get(timeout=PATIENCE) == 3
        assert [worker.call("connections") for _ in range(8)] == [[False, True]] * 8
        assert "Traceback" not in worker.text
    finally:
        worker.close()

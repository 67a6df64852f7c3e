from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.support import TASKS, Start, Worker
from umbel import Umbel
from umbel.testing.conformance.support import until


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start a worker, and wait until it says that it is ready."""
    started: list[Worker] = []

    def one(
        *words: str,
        ready: bool = True,
        before: str = "",
        options: tuple[str, ...] = (),
        logs_to: str = "log",
        keeps: Sequence[int] = (),
    ) -> Worker:
        worker = Worker(project, ("-l", "INFO", *words), before, options, logs_to, keeps)
        started.append(worker)
        if ready:
            until(lambda: worker.says(" ready."))
        return worker

    yield one
    for worker in started:
        worker.close()


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    """The project's app as a client has it."""
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        for name in ("hold", "where", "crashes"):
            app.task(name=f"tasks.{name}")(lambda: None)
        yield app

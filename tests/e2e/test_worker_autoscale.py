from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.support import Start, children_of
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until


@pytest.mark.parametrize(
    ("words", "tasks", "told"),
    [
        (("--autoscale", "3,1"), 4, "{min=1, max=3} (prefork)"),
        (("-P", "threads", "-c", "2", "--autoscale", "6,1"), 7, "{min=1, max=3} x 2 (threads)"),
    ],
)
def test_children_come_and_go_as_they_are_needed(
    start: Start, app: Umbel, project: Path, words: Sequence[str], tasks: int, told: str
) -> None:
    worker = start(*words, before="export AUTOSCALE_KEEPALIVE=0.5")
    assert f"concurrency: {told}" in worker.text
    assert len(children_of(worker.fork_server())) == 1
    results = [app.tasks["tasks.crashes"].delay() for _ in range(tasks)]
    until(lambda: len(children_of(worker.fork_server())) == 3)
    (project / "gate").touch()
    assert [result.get(timeout=PATIENCE) for result in results] == [0] * tasks
    until(lambda: len(children_of(worker.fork_server())) == 1)
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert "ERROR" not in worker.text

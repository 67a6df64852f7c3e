from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.support import Start, children_of
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until


def test_children_come_and_go_as_they_are_needed(start: Start, app: Umbel, project: Path) -> None:
    worker = start("--autoscale", "3,1", before="export AUTOSCALE_KEEPALIVE=0.5")
    assert "concurrency: {min=1, max=3} (prefork)" in worker.text
    assert len(children_of(worker.fork_server())) == 1
    results = [app.tasks["tasks.crashes"].delay() for _ in range(4)]
    until(lambda: len(children_of(worker.fork_server())) == 3)
    (project / "gate").touch()
    assert [result.get(timeout=PATIENCE) for result in results] == [0, 0, 0, 0]
    until(lambda: len(children_of(worker.fork_server())) == 1)
    assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert "ERROR" not in worker.text

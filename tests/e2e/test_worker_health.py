"""A worker that is probed while it starts, runs, misses its broker and stops."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.support import TASKS, Start
from umbel import Umbel
from umbel.testing.conformance.support import until


def test_a_worker_tells_probes_how_it_is(start: Start, app: Umbel, project: Path) -> None:
    (project / "tasks.py").write_text(TASKS)
    file = project / "health"
    words = ("-c", "1", "--health-file", str(file), "--health-port", "0")
    worker = start(*words, "--", "worker_health_host=127.0.0.1", "worker_unready_after=2")
    address = worker.text.split("Probes are answered at ")[1].split("/livez")[0]

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address + path, timeout=20) as answer:  # noqa: S310 - it is HTTP
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    until(lambda: get("/readyz") == (200, "0 of 1 children are busy.\n"))
    until(lambda: json.loads(file.read_text())["ready"])
    probe = subprocess.run(
        [sys.executable, "-m", "umbel_health", "ready", file], capture_output=True, check=False
    )
    assert (probe.returncode, probe.stdout) == (0, b"0 of 1 children are busy.\n")

    other = sqlite3.connect(project / "umbel.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    until(lambda: get("/readyz")[0] == 503)
    assert "The broker has not answered for" in get("/readyz")[1]
    assert get("/livez")[0] == 200
    other.execute("ROLLBACK")
    other.close()
    until(lambda: get("/readyz")[0] == 200)

    app.tasks["tasks.hold"].delay()
    until((project / "entered").exists)
    until(lambda: get("/readyz") == (200, "1 of 1 children are busy.\n"))
    worker.send(signal.SIGTERM)
    until(lambda: get("/readyz") == (503, "The worker stops.\n"))
    assert get("/livez")[0] == 200
    (project / "gate").touch()
    assert worker.wait() == 0, worker.text
    assert not file.exists()

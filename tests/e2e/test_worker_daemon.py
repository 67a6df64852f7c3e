from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.e2e.support import HOST, TASKS, Start, has_ended, left_behind
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until


def test_a_worker_in_the_background(start: Start, app: Umbel, project: Path) -> None:
    """It is found by its pid file, keeps to it when it is started again, and may not be started twice."""
    words = ("-c", "1", "--detach", "--pidfile", "%n.pid", "-f", "%n.log", "--umask", "077")
    pidfile, log = project / "celery.pid", project / "celery.log"
    assert start(*words, ready=False).wait() == 0
    until(lambda: log.exists() and " ready." in log.read_text())
    pid = int(pidfile.read_text())
    try:
        assert os.getsid(pid) != pid  # no terminal can become its own
        assert log.stat().st_mode & 0o777 == 0o600
        assert app.tasks["tasks.where"].delay().get(timeout=PATIENCE)
        again = start(*words, ready=False, logs_to="second")
        assert again.wait() == 2
        assert f"the process {pid} runs already" in again.text

        os.kill(pid, signal.SIGHUP)
        until(lambda: log.read_text().count(" ready.") == 2)
        assert int(pidfile.read_text()) == pid
        os.kill(pid, signal.SIGTERM)
        until(lambda: has_ended(pid))
        assert not pidfile.exists()
        assert left_behind(project) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_settings_of_a_worker_that_has_a_namesake(start: Start, app: Umbel, project: Path) -> None:
    settings = "\napp.conf.update(worker_umask='077', worker_pidfile=str(here / '%n.pid'))\n"
    (project / "tasks.py").write_text(TASKS + settings)
    worker = start("-c", "1", "-n", "one")
    pid = worker.process.pid
    assert (project / "one.pid").read_text() == f"{pid}\n"
    for process in (pid, worker.fork_server(), worker.child()):
        assert "\nUmask:\t0077\n" in Path(f"/proc/{process}/status").read_text()
    again = start("-c", "1", "-n", "one", ready=False, logs_to="second")
    assert again.wait() == 2
    assert f"one.pid: the process {pid} runs already." in again.text
    assert "has the name" not in worker.text
    other = start("-c", "1", "-n", "one", "--pidfile", "other", logs_to="third")
    assert f"Another worker on this host has the name one@{HOST}, too: pid {pid}. " in other.text
    assert (project / "other").read_text() == f"{other.process.pid}\n"
    for one in (worker, other):
        one.send(signal.SIGTERM)
        assert one.wait() == 0
    assert not list(project.glob("*.pid"))
    assert left_behind(project) == []

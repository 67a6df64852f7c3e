from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.e2e.support import Start, has_ended, left_behind
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

"""``umbel beat`` as a process: what it says, what it sends, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.cli.conftest import TASKS, Command
from umbel import Umbel
from umbel.beat.store import Store
from umbel.exceptions import ImproperlyConfigured
from umbel.testing.conformance.support import until

SCHEDULE = """
app.conf.beat_schedule = {"often": {"task": "add", "schedule": 0.1, "args": (1,)}}
"""


@pytest.fixture
def project(project: Umbel, tmp_path: Path) -> Umbel:
    (tmp_path / "tasks.py").write_text(TASKS.format(url=project.broker_url) + SCHEDULE)
    return project


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "umbel", "-A", "tasks", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": os.getcwd()},
    )


def sent(app: Umbel) -> int:
    return len(app.queues.peek("celery", 1000))


def test_it_sends_until_it_is_told_to_stop(project: Umbel, tmp_path: Path) -> None:
    beat = start("beat", "-l", "INFO", "--pidfile", "beat.pid")
    until(lambda: sent(project) > 2)
    assert int((tmp_path / "beat.pid").read_text()) == beat.pid
    beat.send_signal(signal.SIGTERM)
    text, _ = beat.communicate(timeout=20)
    assert beat.returncode == 0, text
    assert not (tmp_path / "beat.pid").exists()
    for part in (
        "is starting.",
        ". scheduler -> umbel.beat.persistent.PersistentScheduler",
        f". db -> {tmp_path / 'umbel.db'}",
        "beat: Starting...",
        "Scheduler: Sending due task often (add)",
        "beat: Shutting down...",
    ):
        assert part in text


def test_settings_say_where_it_logs_and_where_its_pid_is(project: Umbel, tmp_path: Path) -> None:
    more = 'app.conf.update(beat_pidfile="%n.pid", beat_logfile="beat.log", beat_umask="027")\n'
    with (tmp_path / "tasks.py").open("a") as file:
        file.write(more)
    beat = start("beat", "-l", "INFO")
    until(lambda: sent(project) > 0)
    assert int((tmp_path / "beat.pid").read_text()) == beat.pid
    beat.send_signal(signal.SIGTERM)
    text, _ = beat.communicate(timeout=20)
    assert beat.returncode == 0, text
    assert not (tmp_path / "beat.pid").exists()
    assert "Sending due task often (add)" in (tmp_path / "beat.log").read_text()
    assert "Sending due task" not in text
    assert (tmp_path / "beat.log").stat().st_mode & 0o777 == 0o640


def test_an_app_has_it_as_an_object(project: Umbel, tmp_path: Path) -> None:
    words = "loglevel='INFO', pidfile='object.pid', max_interval=5, no_color=True, quiet=True"
    beat = subprocess.Popen(
        [sys.executable, "-c", f"from tasks import app; app.Beat({words}).run()"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": os.getcwd()},
    )
    until(lambda: sent(project) > 0)
    assert int((tmp_path / "object.pid").read_text()) == beat.pid
    beat.send_signal(signal.SIGTERM)
    _, text = beat.communicate(timeout=20)
    assert (beat.returncode, (tmp_path / "object.pid").exists()) == (0, False), text
    assert "Scheduler: Sending due task often (add)" in text
    with pytest.raises(ImproperlyConfigured, match="no remote commands yet"):
        project.Beat(remote_control=True)


def test_within_a_worker_it_sends_and_the_worker_runs_it(project: Umbel) -> None:
    worker = start("worker", "-B", "-P", "solo", "-l", "INFO")
    store = project.result_store()

    def ran() -> bool:
        ids = [line.task_id for line in Store.of(project).history("often") if line.task_id]
        return len(store.get(ids)) > 2 if ids else False

    until(ran)
    worker.send_signal(signal.SIGTERM)
    text, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0, text
    assert "beat: Starting..." in text


def test_its_options_reach_the_service(umbel: Command) -> None:
    with patch("umbel.cli.beat.run_beat", return_value=0) as run:
        ended = umbel(
            *("beat", "-s", "old", "-S", "django", "--max-interval", "5", "-l", "debug"),
            *("-f", "beat.log", "-n", "b@%h", "--enable-remote-control"),
        )
    wanted: Any = run.call_args[0][1]
    assert ended.code == 0
    assert "--enable-remote-control has no effect yet" in ended.err
    assert (wanted.schedule_filename, wanted.scheduler, wanted.max_interval) == (
        "old",
        "django",
        5.0,
    )
    assert (wanted.loglevel, wanted.logfile) == ("DEBUG", "beat.log")
    assert wanted.hostname.startswith("b@")


def test_what_it_cannot_run_with_is_said(umbel: Command, project: Umbel, tmp_path: Path) -> None:
    ended = umbel("-b", "memory://", "beat")
    assert ended.code == 2
    assert "would reach no worker" in ended.err
    ended = umbel("beat", "-S", "nowhere:Nothing")
    assert ended.code == 2
    assert "There is no 'nowhere:Nothing'" in ended.err
    assert umbel("beat", app=None).code == 2

"""``umbel dev`` as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminal
from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until

pytestmark = pytest.mark.slow

TASKS = """
from pathlib import Path
import threading
from umbel import Umbel
{before}
here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


@app.task(name="version")
def version():
    return {version!r}


@app.task(name="hang")
def hang():
    (here / "entered").touch()
    threading.Event().wait()
"""


class Dev:
    """One ``umbel dev``, the leader of a process group, in which nothing may be left when it ends."""

    def __init__(self, project: Path, *words: str, app: str = "tasks") -> None:
        self._log = project / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "umbel", "-A", app, "dev", *words],
                cwd=project,
                env={
                    **os.environ,
                    "XDG_RUNTIME_DIR": str(project / "run"),
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    def says(self, words: str, times: int = 1) -> None:
        """Wait until it has said something that often."""

        def said() -> bool:
            assert self.process.poll() is None, self.text
            return self.text.count(words) >= times

        until(said)

    def end(self, number: signal.Signals) -> int:
        """End it by a signal; return its exit code once no process of its group is left."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        until(self.is_gone)
        return code

    def is_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def close(self) -> None:
        if not self.is_gone():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    write(tmp_path, 1)
    return tmp_path


def write(project: Path, version: int, before: str = "") -> None:
    (project / "tasks.py").write_text(TASKS.format(version=version, before=before))


Start = Callable[..., Dev]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    started: list[Dev] = []

    def one(*words: str, **more: Any) -> Dev:
        started.append(Dev(project, *words, **more))
        return started[-1]

    yield one
    for dev in started:
        dev.close()


@pytest.fixture
def app(project: Path) -> Iterator[Umbel]:
    """The project's app as a client has it."""
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        for name in ("version", "hang"):
            app.task(name=name)(lambda: None)
        yield app


def ask(app: Umbel) -> Any:
    return app.tasks["version"].delay().get(timeout=PATIENCE)


@pytest.mark.parametrize("words", [("-c", "2"), ("-P", "solo")], ids=" ".join)
def test_it_starts_anew_when_a_file_changes(
    start: Start, app: Umbel, project: Path, words: tuple[str, ...]
) -> None:
    dev = start(*words)
    assert ask(app) == 1
    write(project, 22)
    dev.says("tasks.py changed: starting anew.")
    dev.says(" ready.", 2)
    assert ask(app) == 22
    assert dev.end(signal.SIGTERM) == 0
    assert "Traceback" not in dev.text


def test_a_mistake_is_shown_and_the_next_change_tries_again(
    start: Start, app: Umbel, project: Path
) -> None:
    dev = start()
    dev.says(" ready.")
    write(project, 1, before="x = (")
    dev.says("SyntaxError: '(' was never closed")
    dev.says("The worker ended with exit code 1. Waiting for a change.")
    write(project, 1, before="1 / 0  # mine")
    dev.says("ZeroDivisionError")
    dev.says("Waiting for a change.", 2)
    write(project, 333)
    assert ask(app) == 333
    assert dev.end(signal.SIGINT) == 0


def test_an_app_that_is_not_there_yet(start: Start, app: Umbel, project: Path) -> None:
    (project / "tasks.py").unlink()
    dev = start()
    dev.says("The worker ended with exit code 2. Waiting for a change.")
    write(project, 1)
    assert ask(app) == 1
    assert dev.end(signal.SIGTERM) == 0


def test_a_module_from_elsewhere_is_watched_too(
    start: Start, app: Umbel, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "helper.py").touch()
    write(project, 1, before=f"import sys; sys.path.append({str(elsewhere)!r}); import helper")
    dev = start()
    dev.says(" ready.")
    (elsewhere / "helper.py").write_text("x = 1\n")
    dev.says("helper.py changed: starting anew.")
    dev.says(" ready.", 2)
    assert dev.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("words", [("-c", "2"), ("-P", "solo")], ids=" ".join)
def test_nothing_is_left_when_it_is_killed(
    start: Start, app: Umbel, words: tuple[str, ...]
) -> None:
    dev = start(*words)
    assert ask(app) == 1
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL


def test_nothing_is_left_when_it_is_killed_while_the_app_is_imported(
    start: Start, project: Path
) -> None:
    write(project, 1, before="open('importing', 'w').close(); threading.Event().wait()")
    dev = start()
    until((project / "importing").exists)
    assert dev.end(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.parametrize("words", [("-c", "1"), ("-P", "solo")], ids=" ".join)
def test_a_task_that_hangs_does_not_hinder_it(
    start: Start, app: Umbel, project: Path, words: tuple[str, ...]
) -> None:
    dev = start(*words)
    app.tasks["hang"].delay()
    until((project / "entered").exists)
    (project / "entered").unlink()
    write(project, 22)
    until((project / "entered").exists)  # it was given back, and runs again in the new worker
    dev.says(" ready.", 2)
    assert dev.end(signal.SIGTERM) == 0


def test_tasks_may_be_debugged_in_a_terminal(
    app: Umbel, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "tasks.py"
    file.write_text(file.read_text().replace("    return 1", "    breakpoint()\n    return 1"))
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(project / "run"))
    terminal = Terminal("-A", "tasks", "dev", "-P", "solo")
    result = app.tasks["version"].delay()
    until(lambda: "(Pdb)" in terminal.text)
    terminal.type("c\n")
    assert result.get(timeout=PATIENCE) == 1
    terminal.interrupt()
    assert terminal.end() == 0


def test_ctrl_c_lets_tasks_end_and_a_second_one_does_not(
    start: Start, app: Umbel, project: Path
) -> None:
    dev = start()
    app.tasks["hang"].delay()
    until((project / "entered").exists)
    dev.process.send_signal(signal.SIGINT)
    dev.says("Warm shutdown")
    assert dev.end(signal.SIGINT) == 0
    assert app.queues.depths()["celery"].ready == 1  # it was given back

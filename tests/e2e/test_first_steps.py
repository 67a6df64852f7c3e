"""The first three minutes of the README, as it tells them: its own code, in a project of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel

README = Path(__file__).parents[2] / "README.md"
DEADLINE = 20


def section() -> str:
    """Return the text under "Start in three minutes"."""
    return README.read_text().split("## Start in three minutes")[1].split("\n## ")[0]


def code_after(words: str) -> str:
    """Return the first block of Python after some words."""
    found = re.search(r"```python\n(.*?)```", section().split(words, 1)[1], re.DOTALL)
    assert found is not None
    return found[1]


def command() -> list[str]:
    """Return the arguments of the command that starts the worker."""
    found = re.search(r"^    umbel (.* worker .*)$", section(), re.MULTILINE)
    assert found is not None
    return found[1].split()


@contextmanager
def worker(words: list[str], directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the installed command until the block ends."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("umbel"), *words],
            cwd=directory,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which nothing of this test run is found by chance."""
    left_out = ("PYTHONPATH", "UMBEL_DATA_DIR", "UMBEL_APP")
    return {name: value for name, value in os.environ.items() if name not in left_out} | more


@pytest.mark.parametrize("mark", [None, "pyproject.toml"])
def test_the_worker_runs_what_the_client_sends_wherever_they_are_started(
    tmp_path: Path, mark: str | None
) -> None:
    top = tmp_path / "project #1, 100%?"
    project = top / "src" if mark else top
    elsewhere = tmp_path / "elsewhere"
    project.mkdir(parents=True)
    elsewhere.mkdir()
    if mark:
        (top / mark).touch()
    (project / "tasks.py").write_text(code_after("Put tasks into a file, `tasks.py`"))
    (project / "settings.py").write_text(code_after("into `settings.py`"))
    (project / "client.py").write_text(code_after("for example `client.py`"))
    log = tmp_path / "log"

    # Without a mark all in one directory, with one each somewhere else.
    words = ["--workdir", str(project), *command()] if mark else command()
    with worker(words, elsewhere if mark else project, log):
        client = subprocess.run(
            [sys.executable, str(project / "client.py")],
            cwd=elsewhere,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    assert client.stdout == "5\n", client.stderr + log.read_text()
    assert client.returncode == 0
    assert re.search(r"Task tasks\.add\[[-0-9a-f]+\] succeeded in [.0-9e-]+s: 5", log.read_text())
    data = top / ".umbel"
    assert list(tmp_path.rglob("umbel.db")) == [data / "umbel.db"]
    with Umbel(data_dir=str(data), set_as_current=False) as app:
        depth = app.queues.depths()["shop"]  # of the settings
    assert (depth.ready, depth.scheduled, depth.leased) == (0, 1, 0)  # the charge of a minute later


def test_every_way_to_write_settings_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "settings.py").write_text(
        "SHOP_RESULT_EXPIRES = 30\nSHOP_TASK_DEFAULT_QUEUE = 'shop'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {"Umbel": Umbel}
    exec(code_after("Settings can be written in other ways too"), names)  # noqa: S102
    assert names["app"].conf.changed() == {
        "timezone": "UTC",
        "task_track_started": True,
        "result_expires": 60.0,  # what is written to app.conf counts more than a module
        "task_acks_late": True,
        "task_default_queue": "shop",
    }
    for name in ("proj", "proj.settings"):
        del sys.modules[name]


def test_more_in_a_few_lines_works() -> None:
    with Umbel(broker="memory://readme", backend="memory://readme") as app:
        names: dict[str, Any] = {"app": app, "add": app.task(name="add")(lambda x, y: x + y)}
        exec(code_after("More in a few lines"), names)  # noqa: S102
        assert {message.message.headers["task"] for message in app.queues.peek("celery", 9)} == {
            "add"
        }
        assert app.queues.depths()["celery"].ready == 4
        assert [task.queue for task in (names["add"], names["report"])] == [None, "reports"]
        assert names["report"].is_async

"""docs/command-line.md shows what the commands really print.

``UMBEL_WRITE_DOCS=1 pytest tests/cli/test_documentation.py`` writes it anew.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import bury
from tests.printed import UUID, same_everywhere
from umbel import Umbel
from umbel.cli.base import COMMANDS
from umbel.testing.conformance.support import until

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>.*)\n(?P<output>(?s:.*?))```")
#: What differs between runs and machines here, and what stands for it.
CHANGING = [
    (re.compile(r"(SQLite|click|rich|system|machine|implementation): .*"), r"\1: …"),
    # What is not needed may be installed.
    (re.compile(r"\n  (celery|kombu|billiard|redis|amqp|psycopg|Django): .*"), ""),
    (re.compile(r"\n  (msgpack|PyYAML|zstandard|cryptography): .*"), ""),
]


class Runner:
    """Runs the page's commands in a project that has what the page says."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._last = ""

    def run(self, command: str) -> str:
        text = self._worker(command) if " worker " in command else self._shell(command)
        self._last = (UUID.findall(text) or [self._last])[-1]
        text = text.replace(str(self._project), "/srv/shop")
        return same_everywhere(text, CHANGING).lstrip("\n") or "\n"

    def _shell(self, command: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", command.replace(" ID", f" {self._last}")],
            cwd=self._project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return ended.stdout

    def _worker(self, command: str) -> str:
        log = self._project / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._project,
                env=self._environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: " ready." in log.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        return log.read_text()

    @property
    def _environment(self) -> dict[str, str]:
        scripts = str(Path(sys.executable).parent)
        runtime = str(self._project / "run")
        path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": runtime}


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    for name in ("UMBEL_APP", "APP", "BROKER_URL", "RESULT_BACKEND", "UMBEL_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    project = tmp_path / "shop"
    (project / "run").mkdir(parents=True)
    (project / "shop.py").write_text(code[1])
    (project / "pyproject.toml").touch()
    with Umbel(data_dir=str(project / ".umbel")) as app:
        reason = "NotRegistered: There is no task 'old.sum' in this app."
        bury(app, "a", "b", queue="reports", reason=reason, task="old.sum")
    runner = Runner(project)
    environment = runner._environment
    worker = subprocess.Popen(
        [sys.executable, "-m", "umbel", "-q", "-A", "shop", "worker", "-P", "solo", "-n", "first"],
        cwd=project,
        env=environment,
    )
    yield runner
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


def test_the_page_shows_what_the_commands_print(runner: Runner) -> None:
    page = PAGE.read_text()

    def fresh(block: re.Match[str]) -> str:
        return f"```console\n$ {block['command']}\n{runner.run(block['command'])}```"

    written = BLOCK.sub(fresh, page)
    if os.environ.get("UMBEL_WRITE_DOCS"):
        PAGE.write_text(written)
    assert written == page


def test_every_command_has_its_place_on_the_page() -> None:
    titles = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(titles) == ["In general", *sorted(COMMANDS)]

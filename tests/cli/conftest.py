"""The command line within this process: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from umbel import Umbel
from umbel.cli import main

TASKS = """
from umbel import Umbel, Reject

app = Umbel(broker={url!r}, backend={url!r})


@app.task(name="add")
def add(x: int, y: int = 0) -> int:
    return x + y
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.out)


class Command(Protocol):
    """See the fixture `umbel`."""

    def __call__(self, *arguments: str, app: str | None = "tasks") -> Ended: ...


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Umbel]:
    """A project with a file `tasks.py`, as its own code sees it; it is the working directory."""
    url = f"sqlite:///{tmp_path / 'umbel.db'}"
    (tmp_path / "tasks.py").write_text(TASKS.format(url=url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("UMBEL_APP", raising=False)
    with Umbel(broker=url, backend=url) as app:

        @app.task(name="add")
        def add(x: int, y: int = 0) -> int:
            return x + y

        yield app


@pytest.fixture
def umbel(project: Umbel, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command as the console script does."""

    def run(*arguments: str, app: str | None = "tasks") -> Ended:
        sys.modules.pop("tasks", None)
        given = ["-A", app, *arguments] if app else list(arguments)
        with pytest.raises(SystemExit) as ended:
            main(given)
        if "tasks" in sys.modules:
            sys.modules.pop("tasks").app.close()
        code = ended.value.code
        out, err = capsys.readouterr()
        return Ended(code if isinstance(code, int) else -1, out, err)

    return run

"""The command line within this process: what it prints, and with which code it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from umbel import Umbel
from umbel.cli import main
from umbel.clock import unique_id
from umbel.message import Message, Publication
from umbel.ports import Action, FetchRequest, Owner, Settlement

TASKS = """
from umbel import Umbel, Reject

app = Umbel(broker={url!r}, backend={url!r})


@app.task(name="add")
def add(x: int, y: int = 0) -> int:
    return x + y
"""


def bury(
    app: Umbel,
    *task_ids: str,
    queue: str = "celery",
    reason: str = "No reason.",
    task: str = "gone",
) -> None:
    """Make dead letters, the first one first."""
    consumer = app.broker.consumer(Owner(unique_id(), "n", "h", os.getpid()), 60.0)
    for task_id in task_ids:
        message = Message({"id": task_id, "task": task, "lang": "py"}, {}, b"[[], {}, {}]")
        app.broker.publish([Publication(queue, message, unique_id())], 5.0)
        (delivery,) = consumer.fetch(FetchRequest((queue,), 1), 0.0)
        consumer.settle([Settlement(delivery, Action.DEAD_LETTER, reason=reason)])
    consumer.close()


class Terminal:
    """A command in a process of its own, whose output goes to a terminal of a given width."""

    def __init__(
        self, *words: str, width: int = 80, environment: Mapping[str, str] | None = None
    ) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        kept = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "umbel", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
        )
        os.close(theirs)
        self._ours = ours
        self._raw = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # the other end was closed
                return
            if not more:
                return
            self._raw += more

    @property
    def raw(self) -> str:
        return self._raw.decode().replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """What was printed, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Return the exit code, once all is printed."""
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(5)
            os.close(self._ours)


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
    for name in ("UMBEL_APP", "APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE"):
        monkeypatch.delenv(name, raising=False)
    # Set and taken back, so that it is taken back too when a command sets it for its children.
    monkeypatch.setenv("NO_COLOR", "")
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

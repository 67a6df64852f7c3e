"""What the witnesses share: a project that uses a package written for Celery, a worker of it, and a client.

Each runs in processes of its own, in which umbel-as-celery, with its metadata, stands on the path before real
Celery: so the packages run as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from tests.e2e.support import SOURCE, Worker
from umbel.testing.conformance.support import until

#: How each project begins.
HEAD = """
import json
from pathlib import Path

from celery import Celery

here = Path(__file__).parent
url = f"sqlite:///{here}/umbel.db"
"""
#: How each client begins.
CLIENT = """
import json

from tasks import *
"""
DISTRIBUTION = Path(__file__).parents[2] / "packages" / "umbel-as-celery"
#: Seconds that a client may take.
LONG = 60


def _installed(place: Path) -> str:
    """Lay out in a directory what pip would install of umbel-as-celery; return the path to import from."""
    for metadata in (DISTRIBUTION / "metadata").iterdir():
        said = (metadata / "METADATA").read_text("utf-8")
        version = said.partition("Version: ")[2].partition("Version: ")[2].split()[0]
        shutil.copytree(metadata, place / f"{metadata.name}-{version}.dist-info")
    return os.pathsep.join(map(str, (place, DISTRIBUTION / "src", SOURCE)))


class Project:
    """A project in a directory: its tasks, and what is run beside them."""

    def __init__(self, directory: Path, tasks: str) -> None:
        self.directory = directory
        (directory / "run").mkdir()
        self._path = _installed(directory / "site")
        (directory / "tasks.py").write_text(HEAD + tasks)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run code in a process of its own, in the project."""
        command = [sys.executable, "-W", "ignore", "-c", code]
        found = subprocess.run(
            command,
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a process of Python's in the project; its output can be read."""
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", *words],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def _environment(self) -> dict[str, str]:
        runtime = str(self.directory / "run")
        return {**os.environ, "PYTHONPATH": self._path, "XDG_RUNTIME_DIR": runtime}

    def client(self, code: str) -> Any:
        """Run a client's code; return what it prints last, as JSON."""
        return json.loads(self.python(CLIENT + code).stdout.splitlines()[-1])

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Run a worker with one child, and stop it at the end so that all its processes leave in peace."""
        words = ("-l", "INFO", "-c", "1")
        worker = Worker(self.directory, words, before=f"export PYTHONPATH={quote(self._path)}")
        try:
            until(lambda: worker.says(" ready."), LONG)
            yield worker
            worker.send(signal.SIGTERM)
            assert worker.wait() == 0, worker.text
        finally:
            worker.close()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return what processes wrote into a file, a JSON object a line."""
        return [json.loads(line) for line in (self.directory / name).read_text().splitlines()]

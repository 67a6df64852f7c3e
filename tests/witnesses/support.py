"""What the witnesses share: a project that uses a package written for Celery, a worker of it, and a client.

Each runs in processes of its own, in which umbel is there for ``import celery``: here the real one is too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import SOURCE, Worker
from umbel.testing.conformance.support import until

#: How each project begins.
HEAD = """
import umbel

umbel.install_as_celery()
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
#: Seconds that a client may take.
LONG = 60


def needs(*modules: str) -> None:
    """Skip a file of tests whose package imports parts of Celery that umbel does not have yet."""
    for module in ("umbel.alias", *modules):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"umbel has no {module} yet", allow_module_level=True)


class Project:
    """A project in a directory: its tasks, and what is run beside them."""

    def __init__(self, directory: Path, tasks: str) -> None:
        self.directory = directory
        (directory / "run").mkdir()
        (directory / "tasks.py").write_text(HEAD + tasks)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run code in a process of its own, in the project."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        environment["XDG_RUNTIME_DIR"] = str(self.directory / "run")
        command = [sys.executable, "-W", "ignore", "-c", code]
        found = subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        return found

    def client(self, code: str) -> Any:
        """Run a client's code; return what it prints last, as JSON."""
        return json.loads(self.python(CLIENT + code).stdout.splitlines()[-1])

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Run a worker with one child, and stop it at the end so that all its processes leave in peace."""
        worker = Worker(self.directory, ("-l", "INFO", "-c", "1"))
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

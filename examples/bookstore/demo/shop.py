"""The processes of the demo, and the directory where all their data are."""

from __future__ import annotations

import contextlib
import json
import mailbox
import os
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from umbel import Umbel
from umbel.beat.editing import Schedule

PROJECT = Path(__file__).parents[1]
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
LIBRARIAN = "librarian@bookstore.example"


class GivenUp(Exception):
    """The demo cannot go on; the text says why."""


class Shop:
    """The web site, the worker, and the two services that the shop asks."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.diary = directory / "diary"
        self.maildir = directory / "mail"
        self.worker_log = directory / "worker.log"
        self.site_log = directory / "site.log"
        self._directory = directory
        self._stack = stack
        self.payments, self.site = "", ""
        self.worker: subprocess.Popen[bytes] | None = None

    def open(self, welcome_after: float) -> None:
        """Start everything. The stack ends it all in reverse order, however the demo ends."""
        for file in (self.diary, self.worker_log, self.site_log):
            file.touch()
        self.payments = self._start_server("-m", "demo.services", "payments", "0")
        os.environ.update(
            DJANGO_RUNSERVER_HIDE_WARNING="true",
            PYTHONUNBUFFERED="1",
            BOOKSTORE_DATA=str(self._directory),
            UMBEL_DATA_DIR=str(self._directory),
            XDG_RUNTIME_DIR=str(self._directory),  # where the worker keeps its locks
            BOOKSTORE_DIARY=str(self.diary),
            BOOKSTORE_PAYMENTS=self.payments,
            BOOKSTORE_MAIL=self._start_server(
                "-m", "demo.services", "mail", "0", str(self.maildir)
            ),
            BOOKSTORE_WELCOME_AFTER=str(welcome_after),
        )
        # The project's app lives in other processes; this one finds the same file, and looks at its queues.
        self.app = Umbel()
        self._stack.callback(self.app.close)
        self.start_worker()  # it has nothing to do before the site, which makes the tables, is there
        self.site = self._start_server("-m", "demo.site")

    def start_worker(self) -> None:
        """Start a worker with two children, and a beat within it."""
        arguments = ("umbel", "-A", "demo.watched", "worker", "--concurrency", "2", "--beat")
        self.worker = self._start(self.worker_log, "manage.py", *arguments)

    def schedule_now(self, name: str, task: str) -> None:
        """Add an entry to the schedule that is due at once; whichever beat sends hears of it."""
        moment = datetime.now(UTC) + timedelta(seconds=0.1)
        Schedule(self.app).add(name, {"task": task, "schedule": {"at": moment.isoformat()}})

    def ended(self) -> str | None:
        """Return what is said of the worker if it has ended."""
        code = None if self.worker is None else self.worker.poll()
        return None if code is None else f"The worker ended with exit code {code}."

    def _start_server(self, *arguments: str) -> str:
        """Start a server and return its address, as soon as it prints it."""
        server = self._start(None, *arguments)
        assert server.stdout is not None  # noqa: S101 - it is a pipe
        for line in server.stdout:
            if found := ADDRESS.search(line.decode()):
                return found[0]
        raise GivenUp(f"This did not start: {' '.join(arguments)}.")

    def _start(self, log: Path | None, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with its standard input, so that it never outlives the demo."""
        with (log or self.site_log).open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=errors if log else subprocess.PIPE,
                stderr=errors,
            )
        self._stack.callback(_end, process)
        return process

    # What it has come to

    def ask_payments(self, path: str) -> Any:
        """Return what the payment service answers to a GET."""
        connection = HTTPConnection(self.payments, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def mails(self) -> int:
        """Return how many mails were delivered."""
        return sum(1 for _ in (self.maildir / "new").iterdir())

    def reports(self) -> list[str]:
        """Return the subjects of the librarian's mails."""
        mails = mailbox.Maildir(self.maildir)
        return [str(mail["Subject"]) for mail in mails if str(mail["To"]) == LIBRARIAN]

    def rows(self, query: str) -> list[Any]:
        """Return what the shop's database answers."""
        database = sqlite3.connect(
            f"file:{self._directory / 'bookstore.sqlite3'}?mode=ro", uri=True
        )
        with contextlib.closing(database):
            return database.execute(query).fetchall()

    def logs(self) -> str:
        """Return all that was logged."""
        return "".join(log.read_text(errors="replace") for log in (self.site_log, self.worker_log))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not. A worker lets its children end first."""
    if process.stdin is not None:
        process.stdin.close()
    for end, patience in ((process.terminate, 5.0), (process.kill, 5.0)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            end()
            process.wait(patience)
            return

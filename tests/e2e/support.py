"""What the tests of real workers share: a project, and a worker that is started in it."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import umbel
from umbel.testing.conformance.support import PATIENCE, until

HOST = platform.node()
SOURCE = Path(umbel.__file__).parents[1]

TASKS = """
import threading
from pathlib import Path

from umbel import Umbel

here = Path(__file__).parent
app = Umbel(broker="sqlite:///" + str(here / "umbel.db"), backend="sqlite:///" + str(here / "umbel.db"))


def wait_for(name):
    while not (here / name).exists():
        threading.Event().wait(0.005)


@app.task(bind=True)
def hold(self):
    (here / "entered").touch()
    wait_for("gate")
    return self.request.hostname


@app.task(bind=True)
def where(self):
    return [self.request.hostname, self.request.delivery_info["routing_key"]]


@app.task(bind=True)
def crashes(self):
    (here / "entered").touch()
    wait_for("gate")
    return self.request.crashes
"""


def _heed_hangups() -> None:
    """Take HUP as ever, though the tests may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Worker:
    """One ``umbel worker``, the leader of a process group of its own.

    `before` is what a shell does before it becomes the worker, `options` what stands before the command,
    `keeps` the open files that it is given.
    """

    def __init__(
        self,
        project: Path,
        words: Sequence[str],
        before: str = "",
        options: Sequence[str] = (),
        logs_to: str = "log",
        keeps: Sequence[int] = (),
    ) -> None:
        self.log = project / logs_to
        environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(project / "run"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(SOURCE),
        }
        umbel_command = str(Path(sys.executable).with_name("umbel"))
        command = [umbel_command, "-A", "tasks", *options, "worker", *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", f'{before}\nexec "$0" "$@"', *command],
                cwd=project,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=keeps,
                preexec_fn=_heed_hangups,  # noqa: PLW1509 - it takes no lock
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def says(self, words: str) -> bool:
        if words in self.text:
            return True
        assert self.process.poll() is None, self.text
        return False

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Return the exit code, once the process has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(self.text)

    def is_gone(self) -> bool:
        """Tell whether no process of its group is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def fork_server(self) -> int:
        """Return the pid of the fork server."""
        return until(lambda: children_of(self.process.pid))[0]

    def child(self) -> int:
        """Return the pid of a child that was forked."""
        return until(lambda: children_of(self.fork_server()))[0]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Worker]


def processes() -> Iterator[tuple[int, int]]:
    """Give pid and parent of every process that has not ended."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                yield int(entry.name), int(parent)


def children_of(parent: int) -> list[int]:
    return [pid for pid, other in processes() if other == parent]


def has_ended(pid: int) -> bool:
    return pid not in dict(processes())


def left_behind(project: Path) -> list[Path]:
    """Return what is left in the runtime directory, but for the user's own."""
    return [path for path in (project / "run").rglob("*") if path.name != f"umbel-{os.getuid()}"]

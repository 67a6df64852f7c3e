"""Real beats in processes of their own, and a record of what they sent, for tests that harm them.

Who bears witness takes messages off the queue and runs nothing; or, where only workers can tell copies of a
run apart, it is a worker, whose task writes a line for each run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.fleet import SOURCE, _die_with_parent, wait_until
from umbel import Umbel
from umbel.clock import SYSTEM, unique_id
from umbel.engines.sqlite import files
from umbel.ports import FetchRequest, Owner, Settlement

#: A project whose entries are each due so often.
PROJECT = """
import json
import os
import time

from umbel import Umbel

app = Umbel("beats", **{settings!r})
for name, value in json.loads(os.environ.get("BEATS_SETTINGS", "{{}}")).items():
    app.conf[name] = value


@app.task(name="note", ignore_result=True, bind=True)
def note(self):
    headers = self.request.headers
    line = [headers["periodic_task_name"], headers["periodic_task_due"], self.request.origin]
    text = json.dumps([*line, time.monotonic(), self.request.id, self.request.sent_at])
    file = os.open("runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, text.encode() + b"\\n")
    os.close(file)
    time.sleep({nap})


app.conf.beat_schedule = {{
    f"entry {{number}}": {{"task": "note", "schedule": {every}, "catch_up": {catch_up!r}}}
    for number in range({entries})
}}
"""


@dataclass(frozen=True)
class Run:
    """A run that was sent: of which entry, when it was due, by which process, and when it came.

    That is a time of the monotonic clock; `sent` is when the sender says that it was sent.
    """

    entry: str
    due: float
    pid: int
    came: float
    id: str
    sent: float


class Beats:
    """A project, its beats, and what takes all they send off the queue; use it in a ``with`` statement."""

    def __init__(
        self,
        directory: Path,
        url: str,
        *,
        entries: int = 50,
        every: float = 1.0,
        drains: bool = True,
        worker: bool = False,
        catch_up: str = "all",
        nap: float = 0.0,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.every = every
        self._queue = settings.get("task_default_queue", "celery")
        directory.mkdir(parents=True, exist_ok=True)
        chosen = {"broker_url": url, **settings}
        text = PROJECT.format(
            settings=chosen, every=every, entries=entries, catch_up=catch_up, nap=nap
        )
        (directory / "tasks.py").write_text(text)
        self.app = Umbel("beats", set_as_current=False, **chosen)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.runs: list[Run] = []
        self.strikes = directory / "strikes"
        self._ends = threading.Event()
        self._environment = dict(environment or {})
        self._workers: list[subprocess.Popen[bytes]] = []
        reads = self._read_lines if worker else self._read
        self._reader = threading.Thread(target=reads, daemon=True)
        if worker:
            self.start_worker()
        if drains or worker:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.set()
        if self._reader.is_alive():
            self._reader.join(20)
        for process in [*self.processes, *self._workers]:
            process.kill()  # also one that is stopped
            process.wait()
        self.app.close()
        if error is not None:
            error.add_note(self.text()[-4000:])

    # Beats

    def start(self, *plans: str, **environment: str) -> list[subprocess.Popen[bytes]]:
        """Start a beat for each plan of fail points; an empty one has none."""
        started = []
        for plan in plans:
            points = {"UMBEL_FAILPOINTS": plan, "UMBEL_FAILPOINTS_ONCE": str(self.strikes)}
            started.append(
                self._run("beat", "-l", "INFO", **environment, **(points if plan else {}))
            )
        self.processes += started
        return started

    def start_with(self, **settings: Any) -> subprocess.Popen[bytes]:
        """Start a beat with settings of its own, such as another way to the server."""
        return self.start("", BEATS_SETTINGS=json.dumps(settings))[0]

    def start_worker(self, **environment: str) -> None:
        """Start a worker that runs what is sent, one at a time."""
        name = f"w{len(self._workers)}@%h"
        words = ("worker", "-P", "solo", "-l", "INFO", "-n", name)
        self._workers.append(self._run(*words, **environment))

    def _run(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        log = self.directory / f"{len(list(self.directory.glob('*.log')))}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("UMBEL_")}
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "umbel", "-A", "tasks", *words],
                cwd=self.directory,
                env={**clean, "PYTHONPATH": str(SOURCE), **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread is in C code here
            )

    def text(self) -> str:
        """Return all that the beats have logged."""
        return "\n".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def leader(self) -> int:
        """Return the pid of whoever sent last."""
        return self.runs[-1].pid

    def harm(self, number: int) -> float:
        """Send the leader a signal; return after how many seconds another one has sent."""
        leader = self.leader()
        return self.harmed_by(lambda: os.kill(leader, number))

    def freeze(self) -> float:
        """Freeze the leader; return the same.

        Not in the middle of a write to a file: that keeps everybody from it until the process goes on.
        """
        leader = self.leader()

        def freeze() -> None:
            os.kill(leader, signal.SIGSTOP)
            while self._writes(leader):
                os.kill(leader, signal.SIGCONT)
                SYSTEM.sleep(0.002)
                os.kill(leader, signal.SIGSTOP)

        return self.harmed_by(freeze)

    def _writes(self, pid: int) -> bool:
        """Tell whether a process has locked a file of ours, once it has really stopped."""
        wait_until(lambda: files._is_stopped(pid), 5.0, f"process {pid} to stop")
        return any(files._lock_holder(path) == pid for path in self.directory.glob("*.db"))

    def harmed_by(self, harm: Callable[[], object]) -> float:
        """Harm the leader; return after how many seconds another one has sent."""
        leader, count = self.leader(), len(self.runs)
        before, wall = SYSTEM.monotonic(), SYSTEM.time()
        harm()
        wait_until(
            lambda: any(run.pid != leader for run in self.runs[count:]),
            30.0,
            "another beat to send",
        )
        first = next(run for run in self.runs[count:] if run.pid != leader)
        # How long a message waits for the worker, which has many to make up for, is no matter of beats.
        return first.sent - wall if self._workers else first.came - before

    def wait_for(self, runs: int, seconds: float = 30.0) -> None:
        """Wait until so many more runs have been sent."""
        wanted = len(self.runs) + runs
        wait_until(lambda: len(self.runs) >= wanted, seconds, f"{runs} more runs")

    def stop(self) -> None:
        """End all beats that live, in order, and read what they have sent to the end."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)
        if self._workers:
            wait_until(self._is_empty, 180.0, "the worker to run what was sent")
        for worker in self._workers:
            worker.terminate()
            worker.wait(20)
        self._ends.set()
        if self._reader.is_alive():
            self._reader.join(20)
        else:
            self._read()

    def _is_empty(self) -> bool:
        found = self.app.queues.depths()[self._queue]
        return not (found.ready or found.leased)

    # What they sent

    def _read(self) -> None:
        """Take messages off the queue at once: a broker that forgets them shall not hide a double."""
        consumer = self.app.broker.consumer(Owner(unique_id(), "test", "host", os.getpid()), 600.0)
        while True:
            ends = self._ends.is_set()
            found = consumer.fetch(FetchRequest([self._queue], 100), 0.0 if ends else 0.2)
            if not found and ends:
                break
            now = SYSTEM.monotonic()
            self.runs += [_run(one.message.headers, now) for one in found]
            consumer.settle([Settlement(one) for one in found])
        consumer.close()

    def _read_lines(self) -> None:
        """Read what the worker's tasks have written."""
        path, at = self.directory / "runs", 0
        while True:
            ends = self._ends.wait(0.05)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(at)
                    whole = file.read().rpartition(b"\n")[0]
                at += len(whole) + 1 if whole else 0
                self.runs += [_made(*json.loads(line)) for line in whole.splitlines()]
            if ends:
                break

    def sent_without(self, pid: int) -> int:
        """Return how many runs other processes have sent."""
        waiting = [] if self._reader.is_alive() else self.app.queues.peek(self._queue, 10_000)
        found = [*self.runs, *(_run(one.message.headers, 0.0) for one in waiting)]
        return sum(run.pid != pid for run in found)

    def double(self) -> dict[tuple[str, float], int]:
        """Return which due times of which entries were sent more than once, and how often."""
        counts = Counter((run.entry, run.due) for run in self.runs)
        return {key: count for key, count in counts.items() if count > 1}

    def missing(self) -> list[tuple[str, float]]:
        """Return which due times were not sent, between the first and the last of each entry."""
        found: list[tuple[str, float]] = []
        for entry in {run.entry for run in self.runs}:
            times = sorted({run.due for run in self.runs if run.entry == entry})
            found += _gaps(entry, times, self.every)
        return found


def _run(headers: Mapping[str, Any], came: float) -> Run:
    name, due = headers["periodic_task_name"], headers["periodic_task_due"]
    return _made(name, due, headers["origin"], came, headers["id"], headers["sent_at"])


def _made(entry: str, due: str, origin: str, came: float, task_id: str, sent: float) -> Run:
    pid = int(origin.partition("@")[0].removeprefix("gen"))
    return Run(entry, datetime.fromisoformat(due).timestamp(), pid, came, task_id, sent)


def _gaps(entry: str, times: Sequence[float], every: float) -> list[tuple[str, float]]:
    return [
        (entry, before + every)
        for before, after in pairwise(times)
        if abs(after - before - every) > 0.001
    ]


@contextlib.contextmanager
def all_of(*beats: Beats) -> Any:
    """Have several projects at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in beats]

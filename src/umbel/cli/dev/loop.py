"""The process of ``umbel dev`` that stays: it starts the worker, watches the files, and starts it anew.

Two pipes join it to the worker. The worker sees the end of the first when this process dies, however
it dies, and ends too. Through the second the worker tells which files it imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from umbel.cli.dev.watch import Watch
from umbel.clock import SYSTEM

#: Seconds between two looks at the files.
INTERVAL = 0.5
#: Seconds without a further change after which a change is over: editors and git write several files.
SETTLED = 0.1
#: What a worker is told to end, and the seconds it is given after each.
STEPS = ((signal.SIGTERM, 3.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None))


@dataclass(frozen=True, slots=True)
class Spec:
    """What the worker is to be; the settings travel through a pipe, since they may hold passwords."""

    app: str
    workdir: str
    settings: dict[str, Any]
    config: str | None
    queues: list[str]
    concurrency: int
    pool: str | None
    loglevel: str
    color: bool


class Worker:
    """The worker's process, and our ends of the two pipes."""

    def __init__(self, spec: Spec) -> None:
        theirs_in, self._life = os.pipe()
        self.report, theirs_out = os.pipe()
        words = [sys.executable, "-m", "umbel.cli.dev.worker", str(theirs_in), str(theirs_out)]
        self.process = subprocess.Popen(words, pass_fds=[theirs_in, theirs_out])
        os.close(theirs_in)
        os.close(theirs_out)
        self._text = b""
        with contextlib.suppress(BrokenPipeError):  # it ended already; its exit code says so
            os.write(self._life, json.dumps(dataclasses.asdict(spec)).encode() + b"\n")

    def imported(self) -> list[str]:
        """Return the files that it told to have imported, once it told all of them."""
        self._text += os.read(self.report, 65536)
        line, end, _ = self._text.partition(b"\n")
        if not end:
            return []
        self._text = b""
        found: list[str] = json.loads(line)
        return found

    def stop(self) -> None:
        """End it: first so that running tasks can end, then at once."""
        for number, seconds in STEPS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.send_signal(number)
                self.process.wait(seconds)
                break
        self.close()

    def close(self) -> None:
        """Close our ends of the pipes."""
        os.close(self._life)
        os.close(self.report)


class Loop:
    """See the module's text."""

    def __init__(self, spec: Spec, directory: Path, say: Callable[[str], object]) -> None:
        self._spec = spec
        self._directory = directory
        self._say = say
        self._watch = Watch(directory)
        self._interrupts = 0
        self._terminated = False
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    def run(self) -> int:
        """Run until a signal says to stop; return the exit code."""
        self._listen()
        count = len(self._watch)
        self._say(
            f"umbel dev: {self._spec.app}, watching {count} file{'' if count == 1 else 's'} below"
            f" {self._directory}"
        )
        while not self._stopping:
            worker = Worker(self._spec)
            try:
                self._until_change(worker)
            except BaseException:
                worker.stop()
                raise
            self._end(worker)
        return 0

    @property
    def _stopping(self) -> bool:
        return self._terminated or self._interrupts > 0

    def _until_change(self, worker: Worker) -> None:
        """Return when a file has changed or a signal came; a worker that ended by itself is told."""
        told, pause = False, INTERVAL
        while not self._stopping:
            for ready in self._wait(pause, worker.report):
                if ready == worker.report:
                    self._watch.add(worker.imported())
            code = worker.process.poll()
            if code is not None and not told:
                told = True
                self._say(f"The worker ended with exit code {code}. Waiting for a change.")
            begun = SYSTEM.monotonic()
            changed = self._watch.changed()
            # A look at very many files takes long; it must not take more than a twentieth of the time.
            pause = max(INTERVAL, 20 * (SYSTEM.monotonic() - begun))
            if changed:
                self._say(f"{', '.join(map(self._short, changed[:3]))} changed: starting anew.")
                while self._wait(SETTLED) or self._watch.changed():
                    if self._stopping:
                        break
                return

    def _end(self, worker: Worker) -> None:
        """End the worker. After Ctrl+C its running tasks are let end, until the second one."""
        told = False
        while self._interrupts == 1 and not self._terminated and worker.process.poll() is None:
            self._wait(2 * INTERVAL)
            if not told and worker.process.poll() is None:
                told = True  # a terminal has sent Ctrl+C to the worker as well; `kill` has not
                worker.process.send_signal(signal.SIGTERM)
        worker.stop()

    def _wait(self, seconds: float, *also: int) -> list[int]:
        """Wait for signals, ends of children and what else is readable; return what is."""
        ready, _, _ = select.select([self._wake_out, *also], [], [], seconds)
        if self._wake_out in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_out, 4096)
        return [number for number in ready if number in also]

    def _short(self, file: str) -> str:
        return os.path.relpath(file, self._directory)

    def _listen(self) -> None:
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
        elif number != signal.SIGCHLD:
            self._terminated = True

"""The sides of a comparison: each fills a queue and drains it with two processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.work import drain_rate

ROOT = Path(__file__).parents[1]


class Place:
    """A directory for one measurement: data on disk, the ledger in memory."""

    def __init__(self, durability: str, results: bool) -> None:
        self.directory = Path(
            tempfile.mkdtemp(prefix="umbel-bench-", dir=os.environ.get("BENCH_DIR"))
        )
        memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else self.directory  # noqa: S108
        self.ledger = memory / f"{self.directory.name}.ledger"
        self.file = self.directory / "umbel.db"
        self.durability = durability
        self.environment = {
            **os.environ,
            "BENCH_LEDGER": str(self.ledger),
            "BENCH_DURABILITY": durability,
            "BENCH_RESULTS": "1" if results else "0",
            "BENCH_HUEY_FILE": str(self.directory / "huey.db"),
            "UMBEL_DATA_DIR": str(self.directory),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, code: str) -> str:
        """Run Python code in a process of its own; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def process(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``python -m ...`` until the end of the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.ledger.unlink(missing_ok=True)


UMBEL_FILL = "from benchmarks.umbel_app import noop; noop.delay_many([(1, 2)] * {tasks})"
UMBEL_WORKER = ("umbel", "-A", "benchmarks.umbel_app", "worker", "-l", "WARNING", "-c", "2")


def drain_umbel(place: Place, tasks: int) -> float:
    """Tasks per second of a worker with two children."""
    place.run(UMBEL_FILL.format(tasks=tasks))
    with place.process(*UMBEL_WORKER):
        return drain_rate(place.ledger, tasks)


def drain_bare(place: Place, tasks: int) -> float:
    """Tasks per second of two bare loops, on umbel's own messages."""
    place.run(UMBEL_FILL.format(tasks=tasks))
    arguments = ("benchmarks.bare", str(place.file), place.durability)
    with place.process(*arguments), place.process(*arguments):
        return drain_rate(place.ledger, tasks)


def drain_huey(place: Place, tasks: int) -> float:
    """Tasks per second of huey's consumer with two processes."""
    # huey has no bulk call: one transaction a task, so the filling is done without fsync.
    durable, place.environment["BENCH_DURABILITY"] = place.durability, "normal"
    place.run(f"from benchmarks.huey_app import noop\nfor _ in range({tasks}): noop(1, 2)")
    place.environment["BENCH_DURABILITY"] = durable
    consumer = ("huey.bin.huey_consumer", "benchmarks.huey_app.huey", "-k", "process", "-w", "2")
    with place.process(*consumer, "-q", "-d", "0.005"):
        return drain_rate(place.ledger, tasks)

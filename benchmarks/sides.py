"""The sides of a comparison: which app each runs, with which workers, and how much it is given to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from benchmarks import bare_postgres
from benchmarks.place import ROOT, Place
from benchmarks.work import drain_rate

#: arq needs an older redis-py than the others, so it has an environment of its own.
ARQ = str(ROOT / ".venv" / "arq" / "bin" / "python")
ONLY_TASKS = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class Side:
    """A queue with two processes.

    `app` is a module of `benchmarks.apps`, `workers` are what stands behind ``python -m``, `tasks` are those
    that it drains in some seconds.
    """

    name: str
    app: str
    workers: Sequence[Sequence[str]]
    tasks: int
    python: str = sys.executable

    def client(self, place: Place, action: str, number: int) -> Any:
        """Run the client (`benchmarks.driver`); return what it found."""
        return json.loads(
            place.run("benchmarks.driver", self.app, action, str(number), python=self.python)
        )

    def working(self, place: Place) -> AbstractContextManager[list[Popen[bytes]]]:
        """Run the workers until the end of the block."""
        return place.processes(self.workers, self.python)

    def drain(self, place: Place, tasks: int | None = None) -> float:
        """Fill the queue and empty it; return tasks per second."""
        tasks = tasks or self.tasks
        durable = place.environment["BENCH_DURABILITY"]
        if self.app == "huey_sqlite":
            # It has no bulk call, and a transaction a task: the filling is done without fsync.
            place.environment["BENCH_DURABILITY"] = "normal"
        self.client(place, "fill", tasks)
        place.environment["BENCH_DURABILITY"] = durable
        with self.working(place):
            return drain_rate(place.ledger, tasks)


@dataclass(frozen=True)
class BareLoop:
    """Two processes that run umbel's own messages with nothing around: what the engine can do."""

    name: str
    module: str
    tasks: int
    prepare: Callable[[str], None] | None = None

    def drain(self, place: Place, tasks: int | None = None) -> float:
        """Let umbel fill the queue, and empty it; return tasks per second."""
        tasks = tasks or self.tasks
        UMBEL.client(place, "fill", tasks)
        if self.prepare is not None and place.url is not None:
            self.prepare(place.url)
        where = place.url if place.url is not None else str(place.file)
        command = (self.module, where, place.durability)
        with place.processes([command, command]):
            return drain_rate(place.ledger, tasks)


def _celery(*words: str) -> tuple[str, ...]:
    app = ("-A", "benchmarks.apps.celery_app")
    return ("celery", *app, "worker", "-l", "WARNING", *ONLY_TASKS, *words)


def _umbel(*words: str) -> tuple[str, ...]:
    return ("umbel", "-A", "benchmarks.apps.umbel_app", "worker", "-l", "WARNING", *words)


def umbel_many(*words: str) -> tuple[str, ...]:
    """Return a worker of the app whose tasks are for executors of many."""
    return ("umbel", "-A", "benchmarks.apps.umbel_many", "worker", "-l", "WARNING", *words)


UMBEL = Side("umbel", "umbel_app", [_umbel("-c", "2")], 60_000)
#: The other executors: two processes, too, each of which runs eight, or a hundred, tasks at a time.
UMBEL_THREADS = Side(
    "umbel threads", "umbel_app", [_umbel("-P", "threads", "-c", "8", "--processes", "2")], 40_000
)
UMBEL_ASYNCIO = Side(
    "umbel asyncio",
    "umbel_many",
    [umbel_many("-P", "asyncio", "-c", "100", "--processes", "2")],
    40_000,
)
CELERY_THREADS = Side(
    "Celery threads x 2",
    "celery_app",
    [_celery("-P", "threads", "-c", "8", "-n", f"{name}@%h") for name in ("one", "two")],
    3_000,
)
CELERY = Side("Celery prefork", "celery_app", [_celery("-P", "prefork", "-c", "2")], 3_000)

SQLITE: tuple[Side | BareLoop, ...] = (
    UMBEL,
    BareLoop("bare loop", "benchmarks.bare_sqlite", 60_000),
    Side(
        "huey",
        "huey_sqlite",
        [
            (
                "huey.bin.huey_consumer",
                "benchmarks.apps.huey_sqlite.huey",
                *("-k", "process", "-w", "2", "-q", "-d", "0.005"),
            )
        ],
        8_000,
    ),
)

PEERS = (
    CELERY,
    CELERY_THREADS,
    Side(
        "Celery solo x 2",
        "celery_app",
        [_celery("-P", "solo", "-n", f"{name}@%h") for name in ("one", "two")],
        5_000,
    ),
    Side(
        "dramatiq",
        "dramatiq_app",
        [("dramatiq", "benchmarks.apps.dramatiq_app", "-p", "2", "-t", "8")],
        12_000,
    ),
    Side(
        "huey",
        "huey_redis",
        [
            (
                "huey.bin.huey_consumer",
                "benchmarks.apps.huey_redis.huey",
                *("-k", "process", "-w", "2", "-q"),
            )
        ],
        12_000,
    ),
    Side(
        "rq",
        "rq_app",
        [("benchmarks.apps.rq_worker",)] * 2,
        1_500,
    ),
    Side("arq", "arq_app", [("arq", "benchmarks.apps.arq_app.WorkerSettings")] * 2, 4_000, ARQ),
    Side(
        "taskiq",
        "taskiq_app",
        [
            (
                *("taskiq", "worker", "benchmarks.apps.taskiq_app:broker"),
                *("--workers", "2", "--max-async-tasks", "100", "--log-level", "WARNING"),
            )
        ],
        12_000,
    ),
    Side(
        "streaq",
        "streaq_app",
        [("streaq", "run", "benchmarks.apps.streaq_app:worker", "-w", "2")],
        12_000,
    ),
)

REDIS: tuple[Side | BareLoop, ...] = (
    UMBEL,
    UMBEL_THREADS,
    UMBEL_ASYNCIO,
    BareLoop("bare loop", "benchmarks.bare_redis", 100_000),
    *PEERS,
)


#: Libraries that make their tables themselves, by the module that does it: before anything is measured.
POSTGRES_APPS = ("umbel_app", "procrastinate_app", "pgqueuer_app")
POSTGRES: tuple[Side | BareLoop, ...] = (
    UMBEL,
    BareLoop("bare loop", "benchmarks.bare_postgres", 60_000, bare_postgres.prepare),
    Side(
        "procrastinate",
        "procrastinate_app",
        [
            (
                *("procrastinate", "--app", "benchmarks.apps.procrastinate_app.app"),
                *("worker", "--concurrency", "10"),
            )
        ]
        * 2,
        2_000,
    ),
    Side(
        "pgqueuer",
        "pgqueuer_app",
        [("benchmarks.apps.pgqueuer_worker",)] * 2,
        5_000,
    ),
)


RABBITMQ: tuple[Side | BareLoop, ...] = (
    UMBEL,
    BareLoop("bare loop", "benchmarks.bare_rabbitmq", 60_000),
    *(one for one in PEERS if one.app in ("celery_app", "dramatiq_app")),
)


def executable(side: Side | BareLoop) -> bool:
    """Tell whether what a side needs is installed."""
    return not isinstance(side, Side) or Path(side.python).exists()

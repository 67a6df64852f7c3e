"""Where a measurement happens: a directory, an empty engine, and processes of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.work import wait_until

if TYPE_CHECKING:
    from redis import Redis

ROOT = Path(__file__).parents[1]


class Place:
    """A directory for one measurement: data on disk, the ledger in memory; and an engine's URL.

    Without a `url` the engine is umbel's default, a file in that directory.
    """

    def __init__(
        self, *, url: str | None = None, durability: str = "full", results: bool = False
    ) -> None:
        self.directory = Path(
            tempfile.mkdtemp(prefix="umbel-bench-", dir=os.environ.get("BENCH_DIR"))
        )
        memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else self.directory  # noqa: S108
        self.ledger = memory / f"{self.directory.name}.ledger"
        self.file = self.directory / "umbel.db"
        self.url = url
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
        if url is not None:
            self.environment["BENCH_URL"] = url
            # RabbitMQ keeps no results: there they are replies to who asked.
            self.environment["BENCH_BACKEND"] = "rpc://" if url.startswith("amqp") else url

    def run(self, *command: str, python: str = sys.executable) -> str:
        """Run ``python -m ...`` to its end; return what it printed."""
        done = subprocess.run(
            [python, "-m", *command],
            env=self.environment,
            cwd=self.directory,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if "BENCH_LOUD" not in os.environ else None,
            text=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def processes(
        self, commands: Sequence[Sequence[str]], python: str = sys.executable
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Run some ``python -m ...`` until the end of the block."""
        quiet = None if "BENCH_LOUD" in os.environ else subprocess.DEVNULL
        started = [
            subprocess.Popen(
                [python, "-m", *command],
                env=self.environment,
                cwd=self.directory,
                stdout=quiet,
                stderr=quiet,
                start_new_session=True,
            )
            for command in commands
        ]
        try:
            yield started
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                kill(process)

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.ledger.unlink(missing_ok=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class PostgresServer:
    """A PostgreSQL server of our own on a free port, with its data on disk; one for a whole run.

    Its configuration is that of Debian's package but for the number of connections. `apps` are modules of
    `benchmarks.apps` that make their tables; an empty place is a copy of the database that has all of them.
    """

    def __init__(self, apps: Sequence[str]) -> None:
        import psycopg  # noqa: PLC0415 - the environments of some peers have none

        self._psycopg = psycopg
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
        self._directory = Path(
            tempfile.mkdtemp(prefix="umbel-postgres-", dir=os.environ.get("BENCH_DIR"))
        )
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        data = str(self._directory / "data")
        subprocess.run(
            [str(binaries / "initdb"), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8"],
            user=self._user,
            cwd=self._directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self._process = subprocess.Popen(
            [str(binaries / "postgres"), "-D", data, "-p", str(port), "-k", ""],
            user=self._user,
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._at = f"postgresql://bench@127.0.0.1:{port}"
        self.url = f"{self._at}/bench"
        wait_until(self._answers, 20)
        self._ask("CREATE DATABASE prepared")
        for app in apps:
            place = Place(url=f"{self._at}/prepared")
            place.run("benchmarks.driver", app, "prepare", "0")
            place.remove()

    def _ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        url = f"{self._at}/{database}"
        with self._psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def _answers(self) -> bool:
        try:
            return bool(self._ask("SELECT 1"))
        except self._psycopg.OperationalError:
            return False

    @property
    def version(self) -> str:
        """Its version, as a text."""
        return str(self._ask("SHOW server_version")[0][0])

    def empty(self) -> None:
        """Make the database anew."""
        self._ask("DROP DATABASE IF EXISTS bench WITH (FORCE)")
        self._ask("CREATE DATABASE bench TEMPLATE prepared")
        self._ask("CHECKPOINT")

    def close(self) -> None:
        """Stop it: by its own way first, or it leaves memory behind that it shares."""
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        kill(self._process)
        shutil.rmtree(self._directory, ignore_errors=True)


class RedisServer:
    """A Redis server of our own on a free port, without persistence; one for a whole run."""

    def __init__(self) -> None:
        from redis import Redis  # noqa: PLC0415 - the environments of some peers have another one

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.client: Redis = Redis.from_url(self.url)
        wait_until(self._answers, 10)

    def _answers(self) -> bool:
        from redis import ConnectionError as NoConnection  # noqa: PLC0415

        try:
            return bool(self.client.ping())
        except NoConnection:
            return False

    @property
    def version(self) -> str:
        """Its version, as a text."""
        return str(self.client.info("server")["redis_version"])

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Let it have a core, and its clients another one until the end of the block.

        Rates of one client go up to twice as high where the system puts both on one core, by chance.
        """
        cores = os.sched_getaffinity(0)
        first, *others = sorted(cores)
        os.sched_setaffinity(self._process.pid, {first})
        os.sched_setaffinity(0, others or cores)
        try:
            yield
        finally:
            os.sched_setaffinity(self._process.pid, cores)
            os.sched_setaffinity(0, cores)

    def empty(self) -> None:
        """Delete all that is there, and what was counted."""
        self.client.flushall()
        self.client.config_resetstat()

    def close(self) -> None:
        """Stop it."""
        self.client.close()
        kill(self._process)

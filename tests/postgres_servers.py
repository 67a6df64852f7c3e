"""PostgreSQL servers for tests: the one that runs here, a schema of it for each; private ones; pgbouncer."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.missing import missing
from tests.redis_servers import free_port
from umbel.clock import unique_id
from umbel.testing.conformance.support import until

SHARED = "postgresql://postgres@127.0.0.1:5432/test"
#: Where Debian keeps the programs; the newest version.
BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))


@contextmanager
def shared_space() -> Iterator[tuple[str, str]]:
    """Give the URL of the database that is here, and a schema with umbel's tables, which goes at the end."""
    schema = f"umbel_test_{unique_id()}"
    try:
        with psycopg.connect(SHARED, connect_timeout=5):
            pass
    except psycopg.Error as error:
        missing("postgres", f"no PostgreSQL answers at {SHARED} ({error})")
    try:
        yield f"{SHARED}?schema={schema}", schema
    finally:
        with suppress(psycopg.Error), psycopg.connect(SHARED, autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def empty(schema: str) -> None:
    """Delete everything that is in umbel's tables, as if they had just been made: faster than making them."""
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(_EMPTY.replace("SCHEMA", schema))


#: Of a table that is empty, nothing is written.
_EMPTY = """
DO $$
DECLARE
    one text;
BEGIN
    SET LOCAL search_path TO "SCHEMA";
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind = 'r' AND relname <> 'migration'
    LOOP
        EXECUTE format('DELETE FROM %I', one);
    END LOOP;
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind = 'S'
    LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', one);
    END LOOP;
    INSERT INTO watch DEFAULT VALUES;
    INSERT INTO agenda DEFAULT VALUES;
    INSERT INTO chore (name) VALUES ('tidy'), ('vacuum');
END $$
"""


class PrivateServer:
    """A server on a free port of this machine, which a test may stop, freeze and restart.

    It runs as another user where the tests run as root, since PostgreSQL refuses that. With `primary` it is
    that one's standby; with `log_at` its write-ahead log is in another directory.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        primary: PrivateServer | None = None,
        log_at: Path | None = None,
    ) -> None:
        self.port = free_port()
        self.directory = directory
        self._data = directory / "postgres"
        self.options = ["-c", "max_connections=200", "-c", "unix_socket_directories=", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "postgres.log"
        self._user = _other_user()
        self._give(self._data)
        if primary is not None:
            where = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "umbel")
            how = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
            self._data.chmod(0o700)
            self._run("pg_basebackup", "-D", str(self._data), *where, *how)
        else:
            if log_at is not None:
                self._give(log_at)
            words = ["-U", "umbel", "-A", "trust", "-E", "UTF8", "--no-sync"]
            words += [] if log_at is None else [f"--waldir={log_at}"]
            self._run("initdb", "-D", str(self._data), *words)
        self.start()

    def _give(self, directory: Path) -> None:
        """Make a directory in which the server may write."""
        directory.mkdir()
        if self._user is None:
            return
        _let_in(directory)
        os.chown(directory, self._user, -1)

    def own(self, file: Path) -> None:
        """Let a file be the server's, and nobody else's."""
        file.chmod(0o600)
        if self._user is not None:
            os.chown(file, self._user, -1)

    @property
    def url(self) -> str:
        """The URL of a database of it."""
        return f"postgresql://umbel@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(BINARIES / program), *words],
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd="/",
        )

    def start(self) -> None:
        """Start, and return when it answers."""
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                [
                    str(BINARIES / "postgres"),
                    "-D",
                    str(self._data),
                    "-p",
                    str(self.port),
                    *self.options,
                ],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        until(lambda: process.poll() is not None or self._answers())
        if process.poll() is not None:
            pytest.fail(f"PostgreSQL does not start: {self._log.read_text()[-2000:]}")

    def _answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def space(self) -> Iterator[str]:
        """Give the URL of a schema of its own, which goes at the end."""
        schema = f"umbel_{unique_id()}"
        yield f"{self.url}?schema={schema}"
        self.ask(f'SET client_min_messages = error; DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: at once and without writing anything (SIGQUIT), or as a shutdown does (SIGINT)."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait()

    def restart(self) -> None:
        """End it as a crash does, and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let nothing of it answer, with all connections open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(one, number)

    def end_sessions(self, where: str = "true") -> int:
        """End the sessions of clients at the server's end; return how many."""
        [(count,)] = self.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {where}"
        )
        return int(count)

    def close(self) -> None:
        """End it for good."""
        self.stop()


@contextmanager
def private_server(
    directory: Path,
    *options: str,
    primary: PrivateServer | None = None,
    log_at: Path | None = None,
) -> Iterator[PrivateServer]:
    """Start a server for a test; without a program to start the test is skipped, or fails if required."""
    if not (BINARIES / "postgres").exists():
        missing("postgres", "no PostgreSQL is installed")
    with closing(PrivateServer(directory, *options, primary=primary, log_at=log_at)) as server:
        yield server


@contextmanager
def pgbouncer(directory: Path, url: str, mode: str = "transaction", size: int = 4) -> Iterator[str]:
    """Start pgbouncer before the server of a URL; give the URL that leads through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    parts, port = conninfo_to_dict(url), free_port()
    file = directory / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n{parts['dbname']} = host={parts['host']} port={parts['port']} user={parts['user']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 100\n"
    )
    file.chmod(0o644)
    user = _other_user()
    if user is not None:
        _let_in(directory)
    with (directory / "pgbouncer.log").open("wb") as log:
        command = [program, str(file)]
        process = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd="/")
    through = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"

    def answers() -> bool:
        with suppress(psycopg.Error), psycopg.connect(through, connect_timeout=2):
            return True
        return process.poll() is not None

    try:
        until(answers)
        yield through
    finally:
        process.kill()
        process.wait()


def _let_in(directory: Path) -> None:
    """Let another user reach a directory: those of pytest let nobody else in."""
    for one in (directory, *directory.parents):
        if one.owner() == "root" and not one.stat().st_mode & 0o001:
            one.chmod(one.stat().st_mode | 0o011)


def _other_user() -> int | None:
    """Return the id of a user that PostgreSQL may run as, if it may not run as this one."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None

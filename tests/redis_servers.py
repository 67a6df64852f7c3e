"""Redis servers for tests: private ones that a test may hurt, and the one that runs on this machine."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.missing import missing
from umbel.clock import unique_id
from umbel.testing.conformance.support import until

SHARED = ("127.0.0.1", 6379)
#: A database of the shared server that is seldom used for anything.
DATABASE = 9
PROGRAMS = ("redis-server", "valkey-server")


class PrivateServer:
    """A server on a free port of this machine, which a test may stop, freeze, configure and restart.

    It keeps its port across restarts. `config` is a file of settings, which sentinels need.
    """

    def __init__(self, directory: Path, *options: str, config: Path | None = None) -> None:
        self.port = free_port()
        self._directory = directory
        self._options = options
        self._config = config
        self._program = _program() or PROGRAMS[0]
        self._process: subprocess.Popen[bytes] | None = None
        #: Who asks the server about itself; needs a password when a test sets one.
        self.admin = _client("127.0.0.1", self.port, 0)
        for _ in range(5):
            if self._starts():
                return
            self.admin.close()  # somebody else has taken the port
            self.port = free_port()
            self.admin = _client("127.0.0.1", self.port, 0)
        pytest.fail(f"{self._program} does not start with {options}")

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start, with these options too, and return when it answers (or asks for a password)."""
        self._options += options
        if not self._starts():
            pytest.fail(f"{self._program} does not start on port {self.port}")

    def _starts(self) -> bool:
        command = [self._program, *([str(self._config)] if self._config else [])]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        if self._config is None:  # a sentinel has one, and nothing to save
            command += ["--save", ""]
        command += self._options
        process = self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: process.poll() is not None or self._answers())
        return process.poll() is None

    def _answers(self) -> bool:
        """Tell whether it is there: it, and not another one that was given the port."""
        try:
            found = self.admin.info("server")["process_id"]
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return self._process is not None and bool(found == self._process.pid)

    def stop(self) -> None:
        """End it, as a shutdown does: without saving anything."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def restart(self) -> None:
        """End it and start it again, empty."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it answer nothing, with all connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill_clients(self, kind: str) -> int:
        """Close the connections of a kind (normal, pubsub) at the server's end; return how many."""
        return int(self.admin.client_kill_filter(_type=kind, skipme=True))

    def count_clients(self, kind: str) -> int:
        """Return how many connections of a kind there are."""
        return len(self.admin.client_list(_type=kind))

    def close(self) -> None:
        """End it for good."""
        self.admin.close()
        self.stop()


@contextmanager
def private_server(
    directory: Path, *options: str, config: Path | None = None
) -> Iterator[PrivateServer]:
    """Start a server for a test; without a program to start the test is skipped, or fails if required."""
    if _program() is None:
        missing("redis", f"none of {', '.join(PROGRAMS)} is installed")
    with closing(PrivateServer(directory, *options, config=config)) as server:
        yield server


@contextmanager
def shared_space() -> Iterator[tuple[str, str]]:
    """Give the URL of the server that runs here, and a prefix for keys, which are deleted at the end."""
    host, port = SHARED
    client = _client(host, port, DATABASE)
    prefix = f"umbel-test-{unique_id()}:"
    try:
        client.ping()
    except redis.RedisError as error:
        missing("redis", f"no Redis answers on {host}:{port} ({error})")
    try:
        yield f"redis://{host}:{port}/{DATABASE}", prefix
    finally:
        with suppress(redis.RedisError):
            found = list(client.scan_iter(f"{prefix}*", count=1000))
            for start in range(0, len(found), 1000):
                client.delete(*found[start : start + 1000])
        client.close()


def _client(host: str, port: int, database: int) -> redis.Redis:
    """Return a client that repeats nothing."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(host, port, database, protocol=2, socket_timeout=10, retry=retry)


def _program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def free_port() -> int:
    """Return a port that nobody listens on now; somebody may a moment later."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

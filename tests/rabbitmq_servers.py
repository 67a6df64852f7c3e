"""RabbitMQ for tests: the one that runs on this machine, and private ones that a test may hurt.

``UMBEL_TEST_RABBITMQ_URL`` names another server, and ``UMBEL_TEST_RABBITMQ_PROGRAMS`` the directory of the
programs for private ones, to run the tests on another version.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.missing import missing
from tests.redis_servers import free_port
from umbel.clock import unique_id
from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.delays import Delays
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.topology import DEAD
from umbel.engines.rabbitmq.wire import method
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import until

URL = os.environ.get("UMBEL_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
#: What queues and exchanges of this process's tests begin with: delay queues are dear to make for each test.
PREFIX = f"umbel-test-{unique_id()}."
#: Where the programs themselves are, which run as whoever starts them.
_PROGRAMS = os.environ.get("UMBEL_TEST_RABBITMQ_PROGRAMS", "/usr/lib/rabbitmq/bin")
#: Seconds that a server, or a command to it, may take on a busy machine.
STARTING = 180.0
#: Queues of the conformance suite.
SUITE = ("queue", "a", "b", "other", "ball", "answer", "busy", "fetched from", "published to")


@contextmanager
def connected(url: str = URL) -> Iterator[Link]:
    """Give a connection; without a server the test is skipped, or fails if required."""
    try:
        link = Link(address_of(url, {}), 5.0, "test")
    except OperationalError as error:
        missing("rabbitmq", str(error))
    try:
        yield link
    finally:
        link.close()


@contextmanager
def shared_space(more: str = "") -> Iterator[tuple[str, str]]:
    """Give the URL of the server that runs here and a prefix; the suite's queues are deleted at the end."""
    with connected():
        pass
    prefix = PREFIX + more
    try:
        yield URL, prefix
    finally:
        with connected() as link:
            for name in (*SUITE, DEAD):
                delete_queue(link, prefix + name)
        purge_delays(prefix)


@contextmanager
def own_vhost() -> Iterator[str]:
    """Give the URL of a virtual host of the server that runs here, which is deleted with all it has."""
    with connected():
        pass
    name = f"umbel-test-{unique_id()}"
    made = _control("add_vhost", name)
    if made.returncode:
        missing("rabbitmq", f"rabbitmqctl cannot make a virtual host: {made.stderr.strip()[:200]}")
    try:
        _control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield f"amqp://guest:guest@127.0.0.1:5672/{name}"
    finally:
        _control("delete_vhost", name)


def _control(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("rabbitmqctl") or "rabbitmqctl"
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=300, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess([program], 1, "", str(error))


def delete_queue(link: Link, name: str) -> None:
    """Delete a queue, if it is there."""
    link.call(
        method(wire.QUEUE_DELETE, "Bsbbb", 0, name, False, False, False), wire.QUEUE_DELETE_OK
    )


def purge_delays(prefix: str) -> None:
    """Delete what is parked."""
    with (
        connected() as link,
        suppress(OperationalError),
    ):  # there are none until something is parked
        for name in Delays(prefix).names():
            link.call(method(wire.QUEUE_PURGE, "Bsb", 0, name, False), wire.QUEUE_PURGE_OK)


def delete_all(prefix: str, queues: Iterable[str] = SUITE) -> None:
    """Delete exchanges and queues of a prefix."""
    delays = Delays(prefix)
    exchanges = [*delays.names(), delays.delivery, f"{prefix}umbel.broadcast"]
    exchanges += [prefix + queue for queue in queues]
    with connected() as link:
        for name in (*(prefix + queue for queue in queues), *delays.names(), prefix + DEAD):
            delete_queue(link, name)
        for name in exchanges:
            link.call(method((40, 20), "Bsbb", 0, name, False, False), (40, 21))


class PrivateServer:
    """A server of this test's own, which it may stop, freeze, fill and restart. It keeps its port.

    Servers of one `home`, with one daemon that knows their ports (`epmd`), can be a cluster. `plugins` are
    joined by commas.
    """

    def __init__(
        self,
        directory: Path,
        *config: str,
        home: Path | None = None,
        epmd: int | None = None,
        plugins: str = "",
    ) -> None:
        self.port, distribution = free_port(), free_port()
        self._directory = directory
        self.node = f"umbel{self.port}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.console = false", *config]
        (directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (directory / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 500}]}].\n")
        (directory / "plugins").write_text(f"[{plugins}].\n")
        self._environment = {
            **os.environ,
            "HOME": str(home or directory),  # where Erlang's cookie is
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        if epmd is not None:
            self._environment |= {
                "ERL_EPMD_PORT": str(epmd),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            }

    @property
    def url(self) -> str:
        """The URL of its default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start, and return when it takes connections."""
        self.launch()
        self.await_start()

    def launch(self) -> None:
        """Start."""
        log = (self._directory / "out").open("ab")
        self._process = subprocess.Popen(
            [f"{_PROGRAMS}/rabbitmq-server"],
            env=self._environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def await_start(self) -> None:
        """Return when it takes connections."""
        process = self._process
        assert process is not None
        until(lambda: process.poll() is not None or self._answers(), STARTING)
        if process.poll() is not None:
            pytest.fail(f"rabbitmq-server ended: {(self._directory / 'out').read_text()[-2000:]}")

    @property
    def is_running(self) -> bool:
        """Tell whether it was started, and not ended."""
        return self._process is not None

    def _answers(self) -> bool:
        try:
            Link(address_of(self.url, {}), 5.0, "test").close()
        except OperationalError:
            return False
        return True

    def join(self, other: PrivateServer) -> None:
        """Become one cluster with another."""
        self.control("stop_app")
        self.control("join_cluster", other.node)
        self.control("start_app")

    def control(self, *words: str) -> str:
        """Tell it something (rabbitmqctl)."""
        done = subprocess.run(
            [f"{_PROGRAMS}/rabbitmqctl", "-n", self.node, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=STARTING,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def freeze(self) -> None:
        """Stop all its processes."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once."""
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def private_server(
    directory: Path, *config: str, home: Path | None = None, plugins: str = ""
) -> Iterator[PrivateServer]:
    """Start a server for a test; without a program to start the test is skipped, or fails if required."""
    _check_programs()
    server = PrivateServer(directory, *config, home=home, plugins=plugins)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def private_cluster(directory: Path, count: int = 3) -> Iterator[list[PrivateServer]]:
    """Start servers that are one cluster, apart from all others on this machine."""
    _check_programs()
    # They have to know each other before they meet.
    cookie = directory / ".erlang.cookie"
    cookie.write_text(unique_id())
    cookie.chmod(0o400)
    with ExitStack() as stack:
        epmd = stack.enter_context(_port_mapper())
        servers = []
        for number in range(count):
            place = directory / f"server-{number}"
            place.mkdir()
            servers.append(PrivateServer(place, home=directory, epmd=epmd))
            stack.callback(servers[-1].kill)
            servers[-1].launch()
        for server in servers:
            server.await_start()
        for server in servers[1:]:
            server.join(servers[0])
        yield servers


@contextmanager
def _port_mapper() -> Iterator[int]:
    """Run what tells Erlang's nodes each other's ports; give its own."""
    port = free_port()
    program = shutil.which("epmd")
    if program is None:
        missing("rabbitmq", "epmd, which is part of Erlang, is not installed")
    with subprocess.Popen([program, "-address", "127.0.0.1", "-port", str(port)]) as process:
        try:
            yield port
        finally:
            process.kill()


def _check_programs() -> None:
    if not Path(f"{_PROGRAMS}/rabbitmq-server").exists():
        missing("rabbitmq", f"rabbitmq-server is not in {_PROGRAMS}")

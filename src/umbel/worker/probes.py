"""Probes of a node by HTTP and by file, as the settings ask for them. None of them runs code of users."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from umbel._version import __version__
from umbel.clock import Clock
from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import node_format
from umbel.settings import Settings
from umbel.worker.health import Health, HealthFile

logger = logging.getLogger("umbel.worker")

Ask = Callable[[], Health]

#: What is asked at which path; the last is what others call it.
PATHS: dict[str, Callable[[Health], bool]] = {
    "/livez": lambda health: health.live,
    "/readyz": lambda health: health.ready,
    "/healthz": lambda health: health.live,
}


class _Handler(BaseHTTPRequestHandler):
    """Answers probes: 200 or 503, and a sentence."""

    server: _Server
    server_version = f"umbel/{__version__}"
    sys_version = ""
    timeout = 5.0  # seconds that a probe may take to say what it wants

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        good = PATHS.get(self.path.partition("?")[0])
        if good is None:
            status, text = HTTPStatus.NOT_FOUND, f"There are {', '.join(PATHS)}."
        else:
            health = self.server.ask()
            status = HTTPStatus.OK if good(health) else HTTPStatus.SERVICE_UNAVAILABLE
            text = health.why
        data = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a probe comes every few seconds."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, ask: Ask) -> None:
        self.ask = ask
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Without looking up this host's name, which may take long.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave a probe that hung up to itself."""


@contextlib.contextmanager
def answering(host: str, port: int, ask: Ask) -> Iterator[int]:
    """Answer probes by HTTP in this block; gives the port, which `port` 0 leaves to the system.

    Raises ImproperlyConfigured when there is no such address, or somebody else has it.
    """
    try:
        server = _Server(host, port, ask)
    except OSError as error:
        raise ImproperlyConfigured(
            f"worker_health_port {port} cannot be opened on {host}: {error.strerror or error}. Choose another"
            " port or worker_health_host."
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="umbel-health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def _written(path: str, hostname: str, clock: Clock, ask: Ask) -> Iterator[None]:
    """Keep the file of a node's health in this block. Raises ImproperlyConfigured when that fails."""
    file = HealthFile(Path(node_format(path, hostname)), hostname, clock, ask)
    try:
        file.open()
    except OSError as error:
        raise ImproperlyConfigured(
            f"worker_health_file {path} cannot be written: {error.strerror or error}."
        ) from error
    try:
        yield
    finally:
        file.close()


@contextlib.contextmanager
def probes(settings: Settings, hostname: str, clock: Clock, ask: Ask) -> Iterator[None]:
    """Answer in this block what probes ask, in all ways that the settings want."""
    with contextlib.ExitStack() as stack:
        if settings.worker_health_port is not None:
            host, port = settings.worker_health_host, settings.worker_health_port
            found = stack.enter_context(answering(host, port, ask))
            logger.info("Probes are answered at http://%s:%d/livez and /readyz.", host, found)
        if settings.worker_health_file is not None:
            stack.enter_context(_written(settings.worker_health_file, hostname, clock, ask))
        yield

"""A RabbitMQ server of our own for a whole run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.place import kill
from benchmarks.work import wait_until

#: Where the programs themselves are, which run as whoever starts them.
PROGRAMS = "/usr/lib/rabbitmq/bin"
#: The queues of the apps.
QUEUES = ("celery", "bare", "default", "default.DQ", "default.XQ")


class RabbitServer:
    """A server on free ports, configured as it is installed, with its data on disk."""

    def __init__(self) -> None:
        self._directory = Path(
            tempfile.mkdtemp(prefix="umbel-rabbitmq-", dir=os.environ.get("BENCH_DIR"))
        )
        port, distribution = _free_port(), _free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
        (self._directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = false\n"
        )
        (self._directory / "plugins").write_text("[].\n")
        self._environment = {
            **os.environ,
            "HOME": str(self._directory),  # where Erlang's cookie is
            "RABBITMQ_NODENAME": f"bench{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self._directory / "data"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        self._process = subprocess.Popen(
            [f"{PROGRAMS}/rabbitmq-server"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(self._answers, 120, every=0.1)
        except BaseException:
            self.close()
            raise

    def _channel(self) -> Any:
        import pika  # noqa: PLC0415 - the environments of some peers have none

        return pika.BlockingConnection(pika.URLParameters(self.url)).channel()

    def _answers(self) -> bool:
        from pika.exceptions import AMQPError  # noqa: PLC0415

        try:
            self._channel().connection.close()
        except AMQPError:
            return False
        return True

    @property
    def version(self) -> str:
        """Its version, as a text."""
        channel = self._channel()
        found = channel.connection._impl.server_properties["version"]
        channel.connection.close()
        return str(found)

    def empty(self) -> None:
        """Delete the queues."""
        channel = self._channel()
        for queue in QUEUES:
            channel.queue_delete(queue)
        channel.connection.close()

    def close(self) -> None:
        """Stop it."""
        kill(self._process)
        shutil.rmtree(self._directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

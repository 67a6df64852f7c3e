"""A fleet of umbel's nodes and Celery's workers on one Redis, and a witness of what the server is told."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis

from tests.faults.fleet import Node, wait_until
from tests.faults.oracles import Evidence
from tests.faults.redis_fleet import RedisFleet
from tests.redis_servers import PrivateServer
from umbel.clock import SYSTEM, unique_id

#: The lists of the fleet's queue, as ``MONITOR`` shows a command that puts something there.
_PUSH = re.compile(r"(?:LPUSH|RPUSH) celery(?:\\x06\\x16\d)? ", re.IGNORECASE)
_MARK, _END = "witness", "end"
_TASK = re.compile(r"\\?\"correlation_id\\?\": ?\\?\"([0-9a-f-]{36})")


@dataclass(frozen=True)
class Seen:
    """The last that the server was told of a task's message, and when on the ledger's clock."""

    command: str
    t: float

    @property
    def is_on_its_list(self) -> bool:
        """Tell whether it was put on its list."""
        return bool(_PUSH.match(self.command))


class Witness:
    """Hears each command that a server runs, also those in scripts."""

    def __init__(self) -> None:
        self.last: dict[str, Seen] = {}
        #: The latest of the marks that are set to see how far it is.
        self.mark = ""

    def catch_up(self, server: PrivateServer) -> None:
        """Return when all has been heard that the server has run by now."""
        mark = unique_id()
        server.admin.set(_MARK, mark, px=1)
        wait_until(lambda: self.mark == mark, 10.0, "the witness")

    def hear(self, command: str) -> None:
        """Note which messages a command is about."""
        # What a script was given comes before what it does.
        if command[:4].upper() == "EVAL":
            return
        if command.startswith(f"SET {_MARK} "):
            self.mark = command.split()[2]
        seen = Seen(command, SYSTEM.monotonic())
        for id in _TASK.findall(command):
            self.last[id] = seen


class MixedFleet(RedisFleet):
    """A fleet with Celery's workers, which end with it."""

    def __init__(self, directory: Path, server: PrivateServer, **settings: Any) -> None:
        super().__init__(directory, server, **settings)
        self._celerys: set[int] = set()

    def start_celery(self, name: str) -> Node:
        """Start a worker of two processes, and wait until it is ready."""
        log = self.directory / f"{name}-{len(self.nodes)}.log"
        words = ("worker", "-l", "INFO", "-n", name, "-c", "2")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_tasks", *words],
                cwd=self.directory,
                env=self.environment({}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = Node(self, name, process, log)
        self.nodes.append(node)
        wait_until(node.is_ready, 60.0, f"{name} to be ready")
        self._celerys.update(node.members())
        return node

    def kill_celery(self, node: Node) -> float:
        """Kill every process of a worker of Celery's; return when they are dead."""
        self._celerys.update(node.members())
        node.kill_all()
        node.process.wait()
        return SYSTEM.monotonic()

    def send_by_celery(self, tasks: int) -> None:
        """Send tasks by a client of Celery's."""
        command = [sys.executable, "celery_tasks.py", str(tasks)]
        subprocess.run(command, cwd=self.directory, env=self.environment({}), check=True)

    def is_quiet(self) -> bool:
        """Look at what Celery's workers hold, too."""
        return super().is_quiet() and not self._admin.hlen("unacked")

    def evidence(self) -> Evidence:
        """Collect what is known at the end, and who cannot know of earlier runs."""
        return replace(super().evidence(), deaf=frozenset(self._celerys))

    def runs_of_celery(self) -> int:
        """Return how many runs there were in Celery's processes."""
        return sum(start.pid in self._celerys for start in self.history().starts)

    def lost_by_celery(self, witness: Witness, kills: Sequence[float]) -> set[str]:
        """Return the tasks that Celery has lost by its own way of taking messages.

        It takes one off its list by BRPOP, and writes down that it has it by a second command. When it is
        killed between the two, the message is gone. The server was told nothing of it since it was put on its
        list, and that was before a kill.
        """
        witness.catch_up(self.server)
        history = self.history()
        left = history.sent.keys() - {end.id for end in history.ends} - self._in_broker().keys()
        return {
            id
            for id in left
            if (seen := witness.last.get(id)) and seen.is_on_its_list and seen.t < max(kills)
        }


@contextmanager
def witnessed(server: PrivateServer) -> Iterator[Witness]:
    """Hear what a server does."""
    witness, ready = Witness(), threading.Event()

    def listen() -> None:
        client: Any = redis.Redis(port=server.port, socket_timeout=None)
        with closing(client), client.monitor() as monitor:
            ready.set()
            while witness.mark != _END:
                witness.hear(monitor.next_command()["command"])

    thread = threading.Thread(target=listen, name="witness")
    thread.start()
    assert ready.wait(10.0)
    try:
        yield witness
    finally:
        server.admin.set(_MARK, _END, px=1)
        thread.join(10.0)

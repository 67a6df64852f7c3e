"""A fleet whose broker and results are on a Redis server that the experiment started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.fleet import Fleet
from tests.redis_servers import PrivateServer


class RedisFleet(Fleet):
    """A fleet on a server, into which it looks by itself."""

    def __init__(self, directory: Path, server: PrivateServer, **settings: Any) -> None:
        at = {"broker_url": server.url, "result_backend": server.url}
        super().__init__(directory, **at | settings)
        #: The server that has its messages: another one after a failover.
        self.server = server

    @property
    def _admin(self) -> Any:
        return self.server.admin

    def _owners(self) -> list[tuple[str, int]]:
        found = [self._admin.hmget(key, "node", "pid") for key in self._admin.keys("umbel:owner:*")]
        return [(node.decode(), int(pid)) for node, pid in found if node is not None]

    def _leased_by_nobody(self) -> list[str]:
        owners = {key.rpartition(b":")[2] for key in self._admin.keys("umbel:owner:*")}
        return [
            f"held by nobody: {key!r}"
            for key in self._admin.keys("umbel:held:*")
            if key.rpartition(b":")[2] not in owners
        ]

    def _in_broker(self) -> dict[str, str]:
        queues = self.app.queues
        return {
            str(item.message.task_id): item.where
            for name in queues.depths()
            for item in queues.peek(name, 1000)
        }

"""A fleet whose broker and results are on a Redis server that the experiment started."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.fleet import Fleet
from tests.redis_servers import PrivateServer

#: How many messages there are at one moment: on the lists, in inboxes, leased and parked.
COUNT = r"""
local count = redis.call('LLEN', 'celery') + redis.call('ZCARD', 'umbel:parked')
local places = { ['celery\6\22*'] = 'LLEN', ['umbel:inbox:*'] = 'LLEN', ['umbel:held:*'] = 'HLEN' }
for pattern, command in pairs(places) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    count = count + redis.call(command, key)
  end
end
return count
"""
#: How many things each key holds.
SIZES = r"""
local sizes = { string = 'EXISTS', list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN' }
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = { key, redis.call(sizes[redis.call('TYPE', key).ok], key) }
end
return found
"""


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

    def is_quiet(self) -> bool:
        """Look at all places at one moment, too.

        When they are looked at one after the other, a message that goes back meanwhile is seen nowhere; and
        a fleet that is stopped then leaves it there.
        """
        return super().is_quiet() and not self._admin.eval(COUNT, 0)

    def stored(self) -> dict[str, int]:
        """Return how much each kind of key holds, but for tags, which are kept for a minute."""
        found: Counter[str] = Counter()
        for key, size in self._admin.eval(SIZES, 0):
            found[key.decode("utf-8", "replace").rpartition(":")[0]] += size
        del found["umbel:tags"]
        return dict(found)

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

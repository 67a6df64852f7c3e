"""Where a spread broker has its keys: a place for each queue, and one that is the home of the fleet.

A place is a broker in one slot of a cluster, with all that belongs to a queue: its lists, who leases from
it, what is parked, dead and remembered. So what is done to one queue is done at once, as on a server of its
own, and queues are at different servers. What is no queue's is in the home: the names of all queues, the
state store, and who lives. Nobody holds messages there, but its leases decide: who is gone there is gone
everywhere.

An owner says in the home that it goes to a place before it does so (lua/broker_enter.lua). Whoever reclaims
it takes it out of the home first, from when on it can go nowhere else, and then out of its places.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from umbel.engines.redis.broker import RedisBroker
from umbel.engines.redis.calls import Calls
from umbel.engines.redis.consumer import RedisConsumer, lost
from umbel.engines.redis.keys import Names, names
from umbel.engines.redis.server import Server
from umbel.ports import EngineOptions, Owner

#: What a prefix has in place of the name of a queue.
SIGN = "{queue}"
#: Most places that a process remembers. Each keeps a connection.
KEPT = 200


def is_spread(prefix: str) -> bool:
    """Tell whether a prefix asks for a slot for each queue: the first tag in it counts."""
    return 0 <= prefix.find(SIGN) == prefix.find("{")


def prefix_of(template: str, queue: str) -> str:
    """Return the prefix of a queue's keys. A tag ends at its first brace, and an empty one is none."""
    name = queue.replace("%", "%25").replace("}", "%7D") or "%"
    return template.replace(SIGN, f"{{{name}}}")


def home_prefix(template: str) -> str:
    """Return the prefix of what is no queue's. No queue has it: theirs go on with their names."""
    return f"{template.replace(SIGN, '{umbel}')}fleet:"


class Place:
    """A broker in one slot."""

    def __init__(self, queue: str, server: Server, named: Names) -> None:
        self.queue = queue
        self.server = server
        self.names = named
        self.calls = Calls(server, named)
        self.broker = RedisBroker(server, named)

    def owners(self, timeout: float) -> set[str]:
        """Return the ids of all owners."""
        found = self.server.call("ZRANGE", f"{self.names.own}owners", 0, -1, timeout=timeout)
        return {name.decode() for name in found}


class Places:
    """All places of one broker; threads may share them."""

    def __init__(self, server: Server, options: EngineOptions) -> None:
        self._server = server
        self._options = options
        #: Of all places, to close their connections.
        self._servers: weakref.WeakSet[Server] = weakref.WeakSet()
        self.clock = server.clock
        self.home = self._place("", home_prefix(server.prefix))
        #: The place of a queue.
        self.of = lru_cache(KEPT)(
            lambda queue: self._place(queue, prefix_of(self._server.prefix, queue))
        )
        #: Places where owners were seen of whom the home knows nothing (any more).
        self.seen: dict[str, set[str]] = {}

    def _place(self, queue: str, prefix: str) -> Place:
        server = self._server.beside(prefix)
        self._servers.add(server)
        named = names({**self._options, "global_keyprefix": prefix})
        # No Celery worker comes here, who would return what is parked after that time.
        return Place(queue, server, replace(named, visibility_timeout=0.0))

    # Queues

    def known(self, timeout: float | None = None) -> list[str]:
        """Return the names of all queues that were used in the last thirty days."""
        queues = f"{self.home.names.own}queues"
        found = self.home.server.call("ZRANGE", queues, 0, -1, timeout=timeout)
        return [name.decode() for name in found]

    def note(self, queues: Collection[str], timeout: float | None = None) -> None:
        """Note that queues are used, unless that has been done of late."""
        calls = self.home.calls
        new = calls.unnoted(queues)
        if not new:
            return
        try:
            calls.publish((), new, self.home.server.timeout if timeout is None else timeout)
        except BaseException:
            calls.forget_noted(new)
            raise

    # Owners

    def attach(self, owner: Owner, queue: str, ttl: float) -> RedisConsumer:
        """Let an owner take leases from a queue. Raises LeaseLost for one that is not in the home."""
        left = self.home.calls.run("enter", owner.id, queue)
        if left is None:
            raise lost(owner)
        # Not for longer than in the home: what comes later may come to somebody who was taken for dead.
        return self.of(queue).broker.attach(owner, int(left) / 1000, ttl)

    def lives(self, owner: str) -> bool:
        """Tell whether an owner is in the home, or waits there to be reclaimed."""
        return bool(self.home.server.call("EXISTS", f"{self.home.names.own}owner:{owner}"))

    def queues_of(self, owners: Sequence[str], timeout: float | None = None) -> list[set[str]]:
        """Return for each owner the queues where it may hold something."""
        home = self.home
        wanted = [("SMEMBERS", f"{home.names.own}places:{owner}") for owner in owners]
        found = home.server.calls(wanted, timeout=timeout) if wanted else []
        return [
            {name.decode() for name in queues} | self.seen.get(owner, set())
            for owner, queues in zip(owners, found, strict=True)
        ]

    def stray(self, owner: str, queues: set[str]) -> Owner | None:
        """Return an owner that was seen in some places only, and remember where; None where it is gone."""
        place = self.of(min(queues))
        key = f"{place.names.own}owner:{owner}"
        node, host, pid = place.server.call("HMGET", key, "node", "host", "pid")
        if node is None:
            return None
        self.seen.setdefault(owner, set()).update(queues)
        return Owner(owner, node.decode(), host.decode(), int(pid))

    def forget(self, owner: str) -> None:
        """Forget where an owner was."""
        self.home.server.call("DEL", f"{self.home.names.own}places:{owner}")
        self.seen.pop(owner, None)

    def close(self) -> None:
        """Close what is idle; the next use opens connections again."""
        for server in list(self._servers):
            server.close()

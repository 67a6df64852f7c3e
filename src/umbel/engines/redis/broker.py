"""The broker on Redis: publishing, and the owners of leases."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from umbel.engines.redis.calls import Calls
from umbel.engines.redis.consumer import BATCH, RedisConsumer
from umbel.engines.redis.keys import Names
from umbel.engines.redis.leftovers import Leftovers
from umbel.engines.redis.order import Cycle, RoundRobin
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Argument, Server
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.ports import Broker, Features, Owner, ResultStore

#: Most owners that one call forgets. Each is one attempt at a server that may have been away.
GHOSTS = 1000


def features(names: Names) -> Features:
    """Return what the engine offers."""
    return Features(
        shared=True,
        joint_results=True,
        atomic_settle=True,
        scheduling=True,
        fencing=True,
        leases=True,
        dedupes=True,
        remembers=30.0,
        counts=True,
        batch=BATCH,
        priorities=len(names.steps),
        lowest_first=not names.highest_first,
        queues_in_order=False,
        peek=True,
        find=True,
    )


class RedisBroker(Broker):
    """See `umbel.ports.Broker`; the keys are described in lua/broker_common.lua."""

    def __init__(
        self, server: Server, names: Names, order: Callable[[], Cycle] = RoundRobin
    ) -> None:
        self.features = features(names)
        self._server = server
        self._names = names
        self._order = order
        self._calls = Calls(server, names)
        self._leftovers = Leftovers(self._calls)
        #: The latest owners that may have been attached by calls that were not answered.
        self._ghosts: deque[str] = deque(maxlen=GHOSTS)

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Publish with one call of a script, which does all or nothing."""
        if not publications:
            return
        calls = self._calls
        values: list[Argument] = []
        for item in publications:
            values += calls.publication(item)
        notes = calls.unnoted([item.queue for item in publications])
        deadline = calls.clock.monotonic() + timeout
        fail_point("redis.publish.before")
        try:
            waiting = calls.run("publish", len(notes), *notes, *values, timeout=timeout)
        except BaseException:
            calls.forget_noted(notes)
            raise
        fail_point("redis.publish.after")
        calls.wake(waiting, deadline - calls.clock.monotonic())

    def consumer(self, owner: Owner, ttl: float) -> RedisConsumer:
        """Write the owner down, with a prefix that makes its keys its own.

        Where no answer comes, nobody knows of an owner that is there perhaps, and that its node would
        renew for ever: the next call forgets it.
        """
        ghosts = list(self._ghosts)
        try:
            prefix: bytes = self._calls.run(
                "attach",
                owner.id,
                owner.node,
                owner.host,
                owner.pid,
                _milliseconds(ttl),
                os.urandom(6).hex(),
                *ghosts,
            )
        except BaseException:
            self._ghosts.append(owner.id)
            raise
        for ghost in ghosts:
            with suppress(ValueError):  # another thread's call has forgotten it, too
                self._ghosts.remove(ghost)
        return RedisConsumer(self._calls, owner, prefix.decode(), self._order(), ttl)

    def shares(self, results: ResultStore) -> bool:
        """Results on the same server can be stored by the same script, whatever the database."""
        return isinstance(results, RedisResults) and results.location == self._server.location

    def join(self, results: ResultStore) -> None:
        """Take keys and database of the results from the store."""
        if not isinstance(results, RedisResults) or not self.shares(results):
            raise ValueError("Results are settled only with a store on the broker's own server.")
        self._calls.results = results

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        """Move the end of the leases, and look after what others left behind."""
        alive, waiting = self._calls.run("renew", node, _milliseconds(ttl))
        self._calls.wake(waiting)
        self._leftovers.look_after()
        return frozenset(name.decode() for name in alive)

    def expired(self) -> list[Owner]:
        """Read the owners whose time is over, and look after who waits: every node asks once a second."""
        base = self._names.base("")
        suffixes = [name.removeprefix(base) for name in self._names.lists("")]
        owners, waiting = self._calls.run("expired", *suffixes)
        self._calls.wake(waiting)
        return [
            Owner(name.decode(), node.decode(), host.decode(), int(pid))
            for name, node, host, pid in owners
        ]

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        """Put envelopes back on their lists."""
        if not keys:
            return 0
        fail_point("redis.take_back.before")
        count, waiting = self._calls.run("release", owner, 0, 0, "", *keys)
        fail_point("redis.take_back.after")
        self._calls.wake(waiting)
        return int(count)

    def ever_consumed(self) -> bool:
        """Look for the mark that a consumer leaves for a month."""
        return bool(self._calls.run("consumed"))

    def close(self) -> None:
        """Nothing: connections are the engine's to close."""


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)

"""The broker on Redis: publishing, and the owners of leases."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter

from umbel.engines.redis.calls import Calls
from umbel.engines.redis.consumer import BATCH, RedisConsumer
from umbel.engines.redis.keys import Names
from umbel.engines.redis.leftovers import Leftovers
from umbel.engines.redis.order import Cycle, RoundRobin
from umbel.engines.redis.pushing import Pushing
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Argument, Server
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.ports import Broker, Change, Features, Owner, ResultStore

_QUEUE = attrgetter("queue")


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
        joint_state=True,
        tells_revocations=True,
    )


class RedisBroker(Broker):
    """See `umbel.ports.Broker`; the keys are described in lua/broker_base.lua."""

    def __init__(
        self, server: Server, names: Names, order: Callable[[], Cycle] = RoundRobin
    ) -> None:
        self.features = features(names)
        self._server = server
        self._names = names
        self._order = order
        self._calls = Calls(server, names)
        self._pushing = Pushing(self._calls)
        self._leftovers = Leftovers(self._calls)
        #: How many of them have to have what is published.
        self._replicas = server.address.wait_replicas

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Publish with one packet of plain commands, or one call of a script: either does all or nothing.

        Where replicas have to have it, it is by a script, which knows it if it is published once more.
        """
        if not publications:
            return
        calls, pushing = self._calls, self._pushing
        now = calls.clock.monotonic()
        deadline = now + timeout
        repeated = pushing.is_repeated(publications)
        notes = calls.unnoted(set(map(_QUEUE, publications)), now)
        try:
            by_script = repeated or notes or self._replicas
            if by_script or not pushing.push(publications, timeout, deadline):
                self._publish_by_script(publications, notes, deadline, repeated)
            if self._replicas:
                self._await_replicas(deadline)
        except BaseException:
            calls.forget_noted(notes)
            pushing.note_unsure(publications)
            raise

    def _publish_by_script(
        self, items: Sequence[Publication], notes: Sequence[str], deadline: float, repeated: bool
    ) -> None:
        """Publish with one call of a script, which knows tags; without one what was pushed before."""
        calls = self._calls
        timeout = calls.left(deadline)
        if not (repeated and self._pushing.was_pushed(items, timeout)):
            timeout = calls.left(deadline)
            if len(items) == 1 and items[0].due is None and not notes:
                waiting = calls.push(items[0], timeout)
            else:
                waiting = calls.publish(items, notes, timeout)
            if waiting:
                calls.wake(waiting, deadline - calls.clock.monotonic())
        if repeated:
            self._pushing.forget_unsure(items)

    def _await_replicas(self, deadline: float) -> None:
        """Wait until enough replicas have what was published. Raises OperationalError if they do not in time.

        WAIT is about all that the server had done by its connection's last command, which a PING brings up to
        date: https://redis.io/docs/latest/commands/wait/
        """
        left = self._calls.left(deadline)
        # The server looks ten times a second whether that is over, and its answer has to come in time.
        wait = _milliseconds(max(left * 0.9 - 0.1, left * 0.5))
        _, have = self._server.calls([("PING",), ("WAIT", self._replicas, wait)], timeout=left)
        if have < self._replicas:
            raise OperationalError(
                f"Redis at {self._server.address.place} has the message, but {have} of the"
                f" {self._replicas} replicas that wait_replicas asks for had it within {left:.1f} s: a"
                " failover may lose it. The same call may be made again, and is not sent twice then."
            )

    def change(
        self, changes: Sequence[Change], timeout: float, kind: Callable[[str], tuple[str, ...]]
    ) -> list[bool]:
        """Make changes of the state store, for `RedisState.change`; `kind` returns the keys of a kind."""
        calls = self._calls
        values: list[Argument] = [len(changes)]
        for one in changes:
            values += (*kind(one.kind), one.key, *_given(one.was), *_given(one.value))
            values.append(len(one.puts))
            for put in one.puts:
                values += (*kind(put.kind), put.key, put.value)
            values.append(len(one.publish))
            for item in one.publish:
                values += calls.publication(item)
        notes = calls.unnoted([item.queue for one in changes for item in one.publish])
        deadline = calls.clock.monotonic() + timeout
        fail_point("redis.change.before")
        try:
            made, waiting = calls.run("change", len(notes), *notes, *values, timeout=timeout)
        except BaseException:
            calls.forget_noted(notes)
            raise
        fail_point("redis.change.after")
        calls.wake(waiting, deadline - calls.clock.monotonic())
        return [bool(one) for one in made]

    def consumer(self, owner: Owner, ttl: float) -> RedisConsumer:
        """Write the owner down, with a prefix that makes its keys its own."""
        return self.attach(owner, ttl, ttl)

    def attach(self, owner: Owner, left: float, ttl: float) -> RedisConsumer:
        """Do so for an owner whose leases end in `left` seconds, and last `ttl` when it is renewed."""
        with self._calls.ghosts.attaching(owner.id) as ghosts:
            prefix: bytes = self._calls.run(
                "attach",
                owner.id,
                owner.node,
                owner.host,
                owner.pid,
                _milliseconds(left),
                os.urandom(6).hex(),
                *ghosts,
            )
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
        alive, waiting, is_known = self._calls.run("renew", node, _milliseconds(ttl))
        self._calls.look_after(waiting, bool(is_known))
        self._leftovers.look_after()
        return frozenset(name.decode() for name in alive)

    def expired(self) -> list[Owner]:
        """Read the owners whose time is over, and look after who waits: every node asks once a second."""
        owners, waiting, is_known, version = self._calls.run("expired", *self._names.suffixes())
        self._calls.look_after(waiting, bool(is_known))
        self.revocations = int(version)
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


def _given(value: str | None) -> tuple[int, str]:
    return (0, "") if value is None else (1, value)


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)

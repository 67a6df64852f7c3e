"""The broker's scripts as functions: what is the same in every call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from umbel.engines.ghosts import Ghosts
from umbel.engines.redis.envelope import write
from umbel.engines.redis.keys import Names
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Argument, Script, Server
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.message import Publication
from umbel.records import ResultRecord

#: Seconds for which the names of queues count as noted; the server keeps them for thirty days.
NOTED_FOR = 3600.0
#: Most names that are remembered as noted: who publishes to ever new queues notes some of them again.
NOTED_AT_MOST = 1000

#: Seconds that waking may take: whoever waits is looked after once a second.
WAKING = 1.0
#: What connections that wait are called at the server, unless `redis_client_name` says so of all of them.
WAITERS = "umbel"


class Calls:
    """Runs scripts on one server, with the constants that all of them begin with."""

    def __init__(self, server: Server, names: Names) -> None:
        self.server = server
        self.names = names
        self.clock = server.clock
        #: The result store on the same server that `settle` stores results in.
        self.results: RedisResults | None = None
        self._constants = names.constants()
        #: Named by every call, though scripts make names by themselves. A cluster refuses a call before it
        #: runs whose keys lie in different slots, and one with a key that is not there (the last never is)
        #: while their slot moves to another server. Else it would fail half-way: what was noted first would
        #: make a message that was never put on its list look like a repetition.
        self.keys = (
            f"{names.own}owners",
            names.prefix + names.unacked,
            f"{names.own}nothing",
        )
        #: What a script is given before its arguments, as EVALSHA takes it.
        self.first = (len(self.keys), *self.keys, *self._constants)
        self._scripts: dict[str, Script] = {}
        self._noted: dict[str, float] = {}
        self.ghosts = Ghosts(server.clock)
        #: What connections that wait are called at the server.
        self.waiters = server.address.client_name or WAITERS
        #: Returns the list of a queue for a priority of ours, and the length of its base in bytes.
        self.place = lru_cache(NOTED_AT_MOST)(
            lambda queue, priority: names.list_for(queue, names.turned(priority))
        )

        #: Returns the step of kombu's that a priority of ours belongs to.
        self.step = lru_cache(256)(lambda priority: names.step(names.turned(priority)))

    def script(self, name: str) -> Script:
        """Return a script of the broker."""
        found = self._scripts.get(name)
        if found is None:
            found = self._scripts[name] = self.server.script(f"broker_{name}")
        return found

    def run(self, name: str, *arguments: Argument, timeout: float | None = None) -> Any:
        """Run a script and return its answer."""
        values = self._constants + arguments
        return self.server.run(self.script(name), self.keys, values, timeout=timeout)

    def left(self, deadline: float) -> float:
        """Return the seconds that are left until then, for a call: the least where there are none."""
        return max(deadline - self.clock.monotonic(), 0.001)

    def follow(self, arguments: Sequence[Argument]) -> Any:
        """Settle a step of a chain and lease the next (lua/broker_follow.lua)."""
        return self.server.run(self.script("follow"), self.keys, (self.names.own, *arguments))

    # Publishing

    def push(self, item: Publication, timeout: float) -> Any:
        """Put one message on its list at once; return the connections to wake."""
        values = (
            self.names.own,
            *self.place(item.queue, item.priority),
            item.tag,
            write(item, self.names),
        )
        fail_point("redis.publish.before")
        waiting = self.server.run(self.script("push"), self.keys, values, timeout=timeout)
        fail_point("redis.publish.after")
        return waiting

    def publish(self, items: Iterable[Publication], notes: Sequence[str], timeout: float) -> Any:
        """Publish any messages, and note names of queues; return the connections to wake."""
        values: list[Argument] = []
        for item in items:
            values += self.publication(item)
        fail_point("redis.publish.before")
        waiting = self.run("publish", len(notes), *notes, *values, timeout=timeout)
        fail_point("redis.publish.after")
        return waiting

    def wake(self, connections: Sequence[bytes], timeout: float = WAKING) -> None:
        """Unblock connections that wait. They are looked after once a second, so nothing depends on it.

        It takes `timeout` seconds at most, of which whoever is in a hurry has fewer.
        """
        if not connections or timeout <= 0:
            return
        with suppress(OperationalError):
            self.server.unblock(connections, min(timeout, WAKING))

    def look_after(self, waiting: Sequence[bytes], is_known: bool) -> None:
        """Wake connections for a node; all that wait where the server did not know of any node.

        Then it was emptied, perhaps, and nobody else would ring for them.
        """
        self.wake(waiting)
        if not is_known:
            with suppress(OperationalError):
                clients = self.server.call("CLIENT", "LIST", "TYPE", "normal", timeout=WAKING)
                self.wake(_blocked(clients.decode(), self.waiters))

    def end(self, owner: str, stays: bool = False) -> bool:
        """Let an owner leave; tell whether it stays to be reclaimed, for what it may not give back."""
        waiting, left = self.run("close", owner, int(stays))
        self.wake(waiting)
        return bool(left)

    def unnoted(self, queues: Iterable[str], now: float | None = None) -> list[str]:
        """Return the names of queues that have not been noted of late; note that they are `now`."""
        now = self.clock.monotonic() if now is None else now
        noted, new = self._noted, set()
        for queue in queues:
            if noted.get(queue, -1.0) < now:
                new.add(queue)
        if not new:
            return []
        if len(noted) + len(new) > NOTED_AT_MOST:
            noted.clear()
        for queue in new:
            noted[queue] = now + NOTED_FOR
        return list(new)

    def forget_noted(self, queues: Iterable[str]) -> None:
        """Note queues again, since the call that should have done it failed."""
        for queue in queues:
            self._noted.pop(queue, None)

    def result(self, record: ResultRecord) -> tuple[Argument, ...]:
        """Return a result as arguments. Raises EncodeError for what cannot be written."""
        if self.results is None:
            raise ValueError("A result is settled with a broker that has not joined its store.")
        return self.results.fields(record, self.server.database)

    def publication(self, item: Publication) -> tuple[str, int, str, Argument, str]:
        """Return a publication as five arguments. Raises EncodeError for what cannot be written."""
        envelope = write(item, self.names)
        due = "" if item.due is None else item.due
        return (*self.place(item.queue, item.priority), item.tag, due, envelope)


def _blocked(clients: str, name: str) -> list[bytes]:
    """Return the connections of a name that wait for a list, of those that CLIENT LIST tells."""
    found = []
    for line in clients.splitlines():
        told = dict(field.split("=", 1) for field in line.split(" ") if "=" in field)
        if told.get("name") == name and told.get("cmd") == "blmove":
            found.append(told["id"].encode())
    return found

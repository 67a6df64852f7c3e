"""The broker's scripts as functions: what is the same in every call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from umbel.engines.redis.envelope import write
from umbel.engines.redis.keys import Names
from umbel.engines.redis.results import RedisResults
from umbel.engines.redis.server import Argument, Script, Server
from umbel.exceptions import OperationalError
from umbel.message import Publication
from umbel.records import ResultRecord

#: Seconds for which the names of queues count as noted; the server keeps them for thirty days.
NOTED_FOR = 3600.0
#: Most names that are remembered as noted: who publishes to ever new queues notes some of them again.
NOTED_AT_MOST = 1000

#: Seconds that waking may take: whoever waits is looked after once a second.
WAKING = 1.0


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
        self._scripts: dict[str, Script] = {}
        self._noted: dict[str, float] = {}

    def script(self, name: str) -> Script:
        """Return a script of the broker."""
        found = self._scripts.get(name)
        if found is None:
            found = self._scripts[name] = self.server.script(f"broker_{name}")
        return found

    def arguments(self, *arguments: Argument) -> tuple[Argument, ...]:
        """Return the arguments of a script, behind the constants."""
        return self._constants + arguments

    def run(self, name: str, *arguments: Argument, timeout: float | None = None) -> Any:
        """Run a script and return its answer."""
        values = self._constants + arguments
        return self.server.run(self.script(name), self.keys, values, timeout=timeout)

    def wake(self, connections: Sequence[bytes], timeout: float = WAKING) -> None:
        """Unblock connections that wait. They are looked after once a second, so nothing depends on it.

        It takes `timeout` seconds at most, of which whoever is in a hurry has fewer.
        """
        if not connections or timeout <= 0:
            return
        with suppress(OperationalError):
            self.server.unblock(connections, min(timeout, WAKING))

    def unnoted(self, queues: Iterable[str]) -> list[str]:
        """Return the names of queues that have not been noted of late; note that they are now."""
        now = self.clock.monotonic()
        noted = self._noted
        new = {queue for queue in queues if noted.get(queue, -1.0) < now}
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

    def publication(self, item: Publication) -> tuple[Argument, ...]:
        """Return a publication as five arguments. Raises EncodeError for what cannot be written."""
        envelope = write(item, self.names)
        due = "" if item.due is None else item.due
        place = self.names.list_for(item.queue, self.names.turned(item.priority))
        return (*place, item.tag, due, envelope)

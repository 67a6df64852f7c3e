"""Connections to one Redis server, shared by all ports: a pool, scripts, limits and forks.

A call takes a connection out of the pool, or opens one, and is over within its timeout. It is never
repeated here unless the caller says that it may be. Forks are safe: a child closes its copies of the
parent's connections, and opens its own.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from random import random
from typing import Any, TypeVar

from umbel.clock import SYSTEM, Clock
from umbel.engines.forks import tell_of_forks
from umbel.engines.redis.address import Address, address_of
from umbel.engines.redis.errors import is_elsewhere, may_pass
from umbel.engines.redis.link import Argument, Link
from umbel.engines.redis.scripts import Script, load
from umbel.exceptions import OperationalError
from umbel.ports import EngineOptions

__all__ = ["Address", "Argument", "Link", "Script", "Server"]

T = TypeVar("T")

#: Idle connections that are kept: threads of one process seldom need more at a time.
KEPT = 8


class Server:
    """One server, database and user; of a cluster, the server that has our slot. Threads may share it."""

    def __init__(self, url: str, options: EngineOptions, clock: Clock = SYSTEM) -> None:
        self.address: Address = address_of(url, options)
        self.clock = clock
        self._lock = threading.RLock()
        self._idle: list[Link] = []
        #: Every open connection, whoever uses it: a child of a fork closes its copies of them.
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        tell_of_forks(self)

    @property
    def location(self) -> str:
        """Where the server is: two with the same location reach the same databases."""
        return self.address.location

    @property
    def database(self) -> int:
        """The number of the database."""
        return self.address.database

    @property
    def prefix(self) -> str:
        """What all keys begin with."""
        return self.address.prefix

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return self.address.shown

    @property
    def timeout(self) -> float:
        """Seconds that a call may take when it does not say."""
        return self.address.timeout

    # Calls

    def script(self, name: str) -> Script:
        """Return the script of ``lua/NAME.lua``."""
        return load("umbel.engines.redis", name)

    def run(
        self,
        script: Script,
        keys: Sequence[Argument],
        args: Sequence[Argument] = (),
        timeout: float | None = None,
        repeat: bool = False,
    ) -> Any:
        """Run a script; text comes back as bytes.

        Raises OperationalError after `timeout` seconds in total. With `repeat` a call whose outcome is
        unknown, or that found no server, is made again within that time.
        """
        return self._attempt(lambda link, left: link.run(script, keys, args, left), timeout, repeat)

    def call(self, *command: Argument, timeout: float | None = None, repeat: bool = False) -> Any:
        """Send one command and return its answer; else like `run`."""
        return self._attempt(lambda link, left: link.call(*command, timeout=left), timeout, repeat)

    def calls(
        self,
        commands: Sequence[Sequence[Argument]],
        timeout: float | None = None,
        repeat: bool = False,
    ) -> list[Any]:
        """Send commands in one go and return their answers; else like `run`."""
        return self._attempt(lambda link, left: link.calls(commands, left), timeout, repeat)

    def _attempt(
        self, function: Callable[[Link, float], T], timeout: float | None, repeat: bool
    ) -> T:
        limit = self.timeout if timeout is None else timeout
        deadline = self.clock.monotonic() + limit
        pause = 0.01
        while True:
            try:
                with self._link(deadline) as link:
                    left = deadline - self.clock.monotonic()
                    # Setting another limit costs two calls of the system: not for a millisecond.
                    return function(link, limit if left > limit * 0.99 else max(left, 0.001))
            except OperationalError as error:
                left = deadline - self.clock.monotonic()
                if not repeat or left <= pause or not may_pass(error):
                    raise
            self.clock.sleep(pause * (0.5 + random()))
            pause = min(pause * 2, 0.5)

    def unblock(self, connections: Sequence[bytes | int], timeout: float) -> None:
        """End the blocking commands of connections, by the numbers that CLIENT ID told them."""
        self.calls([("CLIENT", "UNBLOCK", name) for name in connections], timeout=timeout)

    # Connections

    @contextlib.contextmanager
    def _link(self, deadline: float) -> Iterator[Link]:
        """Lend a connection of the pool; one that failed does not come back."""
        link = self._take() or self._open(max(deadline - self.clock.monotonic(), 0.001))
        try:
            yield link
        except OperationalError as error:
            link.busy = True
            if is_elsewhere(error):  # the next call looks for the right server anew
                self._drop_idle()
            raise
        finally:
            self._give_back(link)

    def _take(self) -> Link | None:
        """Return an idle connection that still works, the one that was used last."""
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle else None
            if link is None or link.is_fit:
                return link
            link.close()

    def _give_back(self, link: Link) -> None:
        with self._lock:
            if not link.busy and len(self._idle) < KEPT:
                self._idle.append(link)
                return
        link.close()

    def _open(self, timeout: float, wakeable: bool = False, hears: bool = False) -> Link:
        link = Link(self.address, timeout, wakeable, hears)
        with self._lock:
            self._links.add(link)
        return link

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def dedicated(self, timeout: float | None = None, hears: bool = False) -> Link:
        """Open a connection for one user alone, who closes it: for blocking commands and listening."""
        return self._open(self.timeout if timeout is None else timeout, True, hears)

    def close(self) -> None:
        """Close what is idle; the next use opens connections again."""
        self._drop_idle()

    # Forks

    def before_fork(self) -> None:
        """Wait until no other thread has the lock."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Close the copies of the parent's connections, also those that threads of it use.

        Else the server would think, after the parent's death, that it still waits there.
        """
        self._lock = threading.RLock()
        links, self._idle = list(self._links), []
        self._links = weakref.WeakSet()
        for link in links:
            link.let_go()

"""Connections to one Redis server, shared by all ports: a pool, scripts, limits and forks.

A call takes a connection out of the pool, or opens one, and is over within its timeout. It is never
repeated here unless the caller says that it may be. Forks are safe: a child closes its copies of the
parent's connections, and opens its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from random import random
from typing import Any, TypeVar

from umbel.clock import SYSTEM, Clock
from umbel.engines.pool import Pool
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
        self._pool: Pool[Link] = Pool(clock, KEPT)

    def beside(self, prefix: str) -> Server:
        """Return the server that has the keys with another prefix: of a cluster, perhaps another one."""
        other = copy(self)
        other.address = replace(self.address, prefix=prefix)
        other._pool = Pool(self.clock, KEPT)
        return other

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
        if not repeat:
            return self.lend(function, timeout)
        left = self.timeout if timeout is None else timeout
        deadline = self.clock.monotonic() + left
        pause = 0.01
        while True:
            try:
                return self.lend(function, left)
            except OperationalError as error:
                left = deadline - self.clock.monotonic()
                if left <= pause or not may_pass(error):
                    raise
            self.clock.sleep(pause * (0.5 + random()))
            left = max(deadline - self.clock.monotonic(), 0.001)
            pause = min(pause * 2, 0.5)

    def lend(self, function: Callable[[Link, float], T], timeout: float | None = None) -> T:
        """Return what a function makes of a connection and the seconds that it has left.

        Raises OperationalError after `timeout` seconds in total.
        """
        limit = self.timeout if timeout is None else timeout
        link = self._pool.take()
        left = limit
        if link is None:
            began = self.clock.monotonic()
            link = self._open(limit)
            # Setting another limit costs two calls of the system: not for a millisecond.
            took = self.clock.monotonic() - began
            left = limit if took < limit * 0.01 else max(limit - took, 0.001)
        try:
            return function(link, left)
        except OperationalError as error:
            link.busy = True
            if is_elsewhere(error):  # the next call looks for the right server anew
                self._pool.close_idle()
            raise
        finally:
            self.give_back(link)

    def unblock(self, connections: Sequence[bytes | int], timeout: float) -> None:
        """End the blocking commands of connections, by the numbers that CLIENT ID told them."""
        self.calls([("CLIENT", "UNBLOCK", name) for name in connections], timeout=timeout)

    # Connections

    def borrow(self, timeout: float | None = None) -> Link:
        """Return a connection that nobody else uses until it is given back. Raises OperationalError."""
        return self._pool.take() or self._open(self.timeout if timeout is None else timeout)

    def give_back(self, link: Link) -> None:
        """Let others use a connection, unless it is `busy`: then it is of no use any more."""
        self._pool.give_back(link)

    def _open(self, timeout: float, hears: bool = False) -> Link:
        return self._pool.add(Link(self.address, timeout, hears))

    def dedicated(self, timeout: float | None = None, hears: bool = False) -> Link:
        """Open a connection for one user alone, who closes it, and can be interrupted: for listening."""
        link = self._open(self.timeout if timeout is None else timeout, hears)
        link.be_wakeable()
        return link

    def close(self) -> None:
        """Close what is idle; the next use opens connections again."""
        self._pool.close_idle()

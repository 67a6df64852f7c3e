"""Connections to one Redis server, shared by all ports: a pool, scripts, limits and forks.

A call takes a connection out of the pool, or opens one, and is over within its timeout. It is never
repeated here unless the caller says that it may be. Forks are safe: a child closes its copies of the
parent's connections, and opens its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from random import random
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from umbel.clock import SYSTEM, Clock
from umbel.engines.redis.address import Address, address_of
from umbel.engines.redis.errors import THEIRS, may_pass, translated
from umbel.engines.redis.link import Argument, Link, connection_parameters, keepalive
from umbel.engines.redis.scripts import Script, load
from umbel.exceptions import OperationalError
from umbel.ports import EngineOptions

__all__ = ["Address", "Argument", "Link", "Script", "Server"]

T = TypeVar("T")

#: Idle connections that are kept: threads of one process seldom need more at a time.
KEPT = 8

_servers: weakref.WeakSet[Server] = weakref.WeakSet()
#: Held across a fork, so that no thread changes the set meanwhile.
_fork_lock = threading.RLock()
_forking: list[Server] = []


class Server:
    """One server, database and user. Objects may be shared by threads."""

    def __init__(self, url: str, options: EngineOptions, clock: Clock = SYSTEM) -> None:
        self.address: Address = address_of(url, options)
        self.clock = clock
        self._lock = threading.RLock()
        self._idle: list[Link] = []
        #: Every open connection, whoever uses it: a child of a fork closes its copies of them.
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._client: redis.Redis | None = None
        #: Called in the child after a fork.
        self.after_fork: list[Callable[[], None]] = []
        with _fork_lock:
            _servers.add(self)

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

    def unblock(self, connections: Sequence[bytes | int]) -> None:
        """End the blocking commands of connections, by the numbers that CLIENT ID told them."""
        self.calls([("CLIENT", "UNBLOCK", name) for name in connections])

    # Connections

    @contextlib.contextmanager
    def _link(self, deadline: float) -> Iterator[Link]:
        """Lend a connection of the pool; one that failed does not come back."""
        link = self._take() or self._open(max(deadline - self.clock.monotonic(), 0.001))
        try:
            yield link
        except OperationalError as error:
            link.busy = True
            if "replica" in str(error):  # the server is not the master any more: look for that anew
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

    def _open(self, timeout: float, wakeable: bool = False) -> Link:
        link = Link(self.address, timeout, wakeable)
        with self._lock:
            self._links.add(link)
        return link

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def dedicated(self, timeout: float | None = None) -> Link:
        """Open a connection for one user alone, who closes it: for blocking commands and listening."""
        return self._open(self.timeout if timeout is None else timeout, wakeable=True)

    def client(self) -> redis.Redis:
        """Return redis-py's client, with connections of its own: for looking around, not for hot paths.

        Its errors are redis-py's: use it within `translating`.
        """
        with self._lock:
            if self._client is None:
                self._client = _client(self.address)
            return self._client

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Raise our errors for those of redis-py."""
        try:
            yield
        except THEIRS as error:
            raise translated(error, self.shown, self.timeout) from error

    def close(self) -> None:
        """Close what is idle; the next use opens connections again."""
        self._drop_idle()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    # Forks

    def _after_fork_in_child(self) -> None:
        """Close the copies of the parent's connections, also those that threads of it use.

        Else the server would think, after the parent's death, that it still waits there.
        """
        self._lock = threading.RLock()
        links, self._idle = list(self._links), []
        self._links = weakref.WeakSet()
        if self._client is not None:
            self._client.connection_pool.reset()
            self._client = None
        for link in links:
            link.close()
        for callback in self.after_fork:
            callback()


def _client(address: Address) -> redis.Redis:
    """Return a client of redis-py that repeats nothing."""
    given: dict[str, Any] = connection_parameters(address) | {
        "socket_timeout": address.timeout,
        "socket_connect_timeout": address.connect_timeout,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.tls is not None:
        given |= {"ssl": True, **address.tls}
    if address.path is not None:
        return redis.Redis(unix_socket_path=address.path, **given)
    given |= keepalive(address)
    if address.master_name is not None:
        found: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts),
            min_other_sentinels=address.min_other_sentinels,
            sentinel_kwargs={"socket_timeout": address.connect_timeout, **address.sentinel},
            **given,
        )
        master: redis.Redis = found.master_for(address.master_name)
        return master
    host, port = address.hosts[0]
    return redis.Redis(host=host, port=port, **given)


def _before_fork() -> None:
    _fork_lock.acquire()
    for server in list(_servers):
        server._lock.acquire()
        _forking.append(server)


def _after_fork_in_parent() -> None:
    for server in _forking:
        server._lock.release()
    _forking.clear()
    _fork_lock.release()


def _after_fork_in_child() -> None:
    global _fork_lock  # noqa: PLW0603 - other threads of the parent may have been waiting for it
    _fork_lock = threading.RLock()
    for server in _forking:
        server._after_fork_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

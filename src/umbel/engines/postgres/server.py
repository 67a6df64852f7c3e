"""Connections to one PostgreSQL database, shared by all ports: a pool, retries, limits and forks.

Each call is one statement, and so a transaction of its own: no transaction is ever left open by a process
that dies, and none depends on what a session was told before. A call takes a connection out of the pool, or
opens one, and is over within its timeout.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import random
from typing import Any, TypeVar

from umbel.clock import SYSTEM, Clock
from umbel.engines.pool import Pool
from umbel.engines.postgres.address import Address, address_of
from umbel.engines.postgres.checks import spare_connections, warnings_of
from umbel.engines.postgres.errors import CLASHES, may_pass, sqlstate
from umbel.engines.postgres.link import LEAST_CONNECT, Link, Row
from umbel.engines.postgres.migrations import Migrations
from umbel.engines.sql import statements
from umbel.exceptions import OperationalError
from umbel.ports import EngineOptions, Spare

logger = logging.getLogger("umbel.postgres")

T = TypeVar("T")

#: Seconds after which a server that was connected to in vain was silent: one that refuses does so at once.
LEAST_SILENCE = 1.0
#: Idle connections that are kept: threads of one process seldom need more at a time.
KEPT = 4


class Server:
    """One database, schema and user. Threads may share it."""

    def __init__(self, url: str, options: EngineOptions, clock: Clock = SYSTEM) -> None:
        self.address: Address = address_of(url, options)
        self.clock = clock
        self.migrations = Migrations(self.address)
        self._pool: Pool[Link] = Pool(clock, KEPT)
        #: What is learned at the first connection: is a pooler between, and has a transaction to say
        #: its isolation.
        self.pooled: bool | None = None
        self._says_isolation = False
        #: The error of a server that did not answer when it was last connected to, and until when it counts.
        self._silent: tuple[OperationalError, float] | None = None

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return self.address.shown

    @property
    def timeout(self) -> float:
        """Seconds that a call may take when it does not say."""
        return self.address.timeout

    def statements(self, filename: str) -> Mapping[str, str]:
        """Return the statements of a file by name, with the name of the schema in them."""
        found = statements(__package__, filename)
        return {name: text.replace("{s}", self.address.quoted) for name, text in found.items()}

    # Calls

    def call(
        self,
        statement: str,
        *values: Any,
        timeout: float | None = None,
        repeat: bool = False,
    ) -> list[Row]:
        """Run a statement and return its rows.

        Raises OperationalError after `timeout` seconds in total. With `repeat` a call whose outcome is
        unknown, or that found no server, is made again within that time. What the server undid, because
        others did the same at the same time, is always made again.
        """
        return self._attempt(
            lambda link, left: self.run(link, statement, values, left), timeout, repeat
        )

    def run(self, link: Link, statement: str, values: Sequence[Any], timeout: float) -> list[Row]:
        """Run a statement on a connection. Raises OperationalError."""
        if self._says_isolation:
            return link.execute_all([(statement, values)], timeout)
        return link.execute(statement, values, timeout)

    def run_again(
        self, link: Link, statement: str, values: Sequence[Any], timeout: float | None = None
    ) -> list[Row]:
        """Run a statement on a connection, and again where the server undid it."""
        limit = self.timeout if timeout is None else timeout
        deadline = self.clock.monotonic() + limit
        while True:
            left = max(deadline - self.clock.monotonic(), 0.001)
            try:
                return self.run(link, statement, values, left)
            except OperationalError as error:
                if sqlstate(error) not in CLASHES or left <= 0.01:
                    raise

    def transaction(
        self,
        parts: Sequence[tuple[str, Sequence[Any]]],
        timeout: float | None = None,
        repeat: bool = False,
    ) -> list[Row]:
        """Run statements as one transaction; else like `call`."""
        return self._attempt(lambda link, left: link.execute_all(parts, left), timeout, repeat)

    def alone(self, statement: str, timeout: float) -> None:
        """Run a statement that may be in no transaction. Raises OperationalError."""
        with self._lent(self.clock.monotonic() + self.timeout) as link:
            link.execute(statement, (), timeout)

    def _attempt(
        self, function: Callable[[Link, float], T], timeout: float | None, repeat: bool
    ) -> T:
        limit = self.timeout if timeout is None else timeout
        deadline = self.clock.monotonic() + limit
        pause = 0.01
        while True:
            try:
                with self._lent(deadline) as link:
                    return function(link, max(deadline - self.clock.monotonic(), 0.001))
            except OperationalError as error:
                left = deadline - self.clock.monotonic()
                again = sqlstate(error) in CLASHES or (repeat and may_pass(error))
                if not again or left <= (pause if self._pool else LEAST_CONNECT):
                    raise
            self.clock.sleep(pause * (0.5 + random()))
            pause = min(pause * 2, 0.5)

    # Connections

    @contextlib.contextmanager
    def _lent(self, deadline: float) -> Iterator[Link]:
        """Lend a connection of the pool; one that failed does not come back."""
        link = self._pool.take() or self.dedicated(max(deadline - self.clock.monotonic(), 0.001))
        try:
            yield link
        finally:
            self._pool.give_back(link)

    def dedicated(self, timeout: float | None = None) -> Link:
        """Open a connection for one user alone, who closes it.

        The first one learns what the server is like, and looks at the tables: see `Migrations.check`.
        """
        link = self._pool.add(self._connected(self.timeout if timeout is None else timeout))
        try:
            self._learn(link)
        except BaseException:
            link.close()
            raise
        return link

    def _connected(self, timeout: float) -> Link:
        """Connect. Just after a server was silent, who has less time than a try takes is told that again."""
        began = self.clock.monotonic()
        if self._silent is not None and timeout < LEAST_CONNECT and began < self._silent[1]:
            raise self._silent[0].with_traceback(None)
        try:
            link = Link(self.address, timeout)
        except OperationalError as error:
            ended = self.clock.monotonic()
            self._silent = (error, ended + LEAST_CONNECT) if ended - began > LEAST_SILENCE else None
            raise
        self._silent = None
        return link

    def _learn(self, link: Link) -> None:
        pooled = link.find_pooler()
        if self.pooled is None:
            level = link.execute("SHOW default_transaction_isolation", (), self.timeout)[0][0]
            self._says_isolation = level != "read committed"
            self.migrations.check(link)
        if pooled and self.pooled is None:
            logger.info(
                "Something like pgbouncer is between here and PostgreSQL at %s: nobody can be notified, so"
                " who waits looks every %g s.",
                self.shown,
                self.address.poll_interval,
            )
        self.pooled = pooled

    def problem(self) -> str | None:
        """Return why the tables cannot be used as they are; a server that is away is none."""
        try:
            with self._unchecked() as link:
                return self.migrations.problem(link)
        except OperationalError:
            return None

    def migrate(self) -> list[int]:
        """Bring the tables up to date; return the versions that were new. Raises OperationalError."""
        with self._unchecked() as link:
            return self.migrations.migrate(link)

    def warnings(self) -> list[str]:
        """Return a sentence on what endangers what is stored there; nothing where it cannot be reached."""
        try:
            with self._unchecked() as link:
                return warnings_of(link, self.shown)
        except OperationalError:
            return []

    def spare_connections(self) -> Spare | None:
        """Return how many connections more the server takes; None where it cannot be reached."""
        try:
            with self._unchecked() as link:
                return spare_connections(link, self.shown)
        except OperationalError:
            return None

    @contextlib.contextmanager
    def _unchecked(self) -> Iterator[Link]:
        """Lend a new connection without looking at the tables."""
        link = self._pool.add(Link(self.address, self.timeout))
        try:
            yield link
        finally:
            link.close()

    def close(self) -> None:
        """Close what is idle; the next use opens connections again."""
        self._pool.close_idle()
